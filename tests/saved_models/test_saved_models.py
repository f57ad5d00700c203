"""A SavedModel is read before it is loaded, and refused where it holds more than an image network needs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.errors import InputError
from tledge.saved_models import GRAPH, DamagedSavedModel, load_saved_model, require_image_network

SaveModule = Callable[..., Path]


def _mean(pixels: Any) -> Any:
    import tensorflow as tf

    return tf.reduce_mean(pixels, (1, 2))


def _spies(loot: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    import tensorflow as tf

    raw = tf.raw_ops
    yield "WriteFile", lambda: tf.io.write_file(loot, "x")
    yield "ReadFile", lambda: tf.io.read_file(loot)
    yield "MatchingFiles", lambda: tf.io.matching_files(loot)
    yield "SaveV2", lambda: raw.SaveV2(prefix=loot, tensor_names=["x"], shape_and_slices=[""], tensors=[tf.zeros(1)])
    yield "Save", lambda: raw.Save(filename=loot, tensor_names=["x"], data=[tf.zeros(1)])
    yield "MergeV2Checkpoints", lambda: raw.MergeV2Checkpoints(checkpoint_prefixes=[loot], destination_prefix=loot)
    yield (
        "RestoreV2",
        lambda: raw.RestoreV2(prefix=loot, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]),
    )
    yield "Abort", lambda: raw.Abort(error_msg="", exit_without_error=True)
    yield "EagerPyFunc", lambda: tf.py_function(lambda: 0.0, [], tf.float32)
    yield "PrintV2", lambda: tf.print("x")
    yield "PyFunc", lambda: tf.numpy_function(lambda: np.float32(0), [], tf.float32)


NAMES = [name for name, _ in _spies("")]


@pytest.mark.parametrize(
    ("name", "where"),
    [*((name, "at the top") for name in NAMES), *((name, "in a branch of a function") for name in NAMES[:1])],
)
def test_an_operator_outside_the_list_is_refused_by_name_wherever_it_stands(
    save_module: SaveModule, tmp_path: Path, name: str, where: str
) -> None:
    import tensorflow as tf

    spy = dict(_spies(str(tmp_path / "loot")))[name]

    def spying(pixels: Any) -> Any:
        with tf.control_dependencies([spy()]):
            return tf.identity(pixels)

    def function(pixels: Any) -> Any:
        if where == "at the top":
            return _mean(spying(pixels))
        return _mean(tf.cond(tf.reduce_sum(pixels) > 1e9, lambda: spying(pixels), lambda: pixels))

    folder = save_module(function)
    with pytest.raises(
        InputError, match=rf"the model is refused: its graph holds .*\b{name}\b.*no image network needs"
    ):
        load_saved_model(folder, "the model")
    assert not (tmp_path / "loot").exists()


@pytest.fixture
def changed(tiny_module: Path, tmp_path: Path) -> Callable[[Callable[[Any], object]], Path]:
    """A copy of a small module with a variable, whose parsed MetaGraph a function has changed."""

    def change(how: Callable[[Any], object]) -> Path:
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        folder = tmp_path / "changed"
        shutil.copytree(tiny_module, folder)
        parsed = SavedModel.FromString((folder / GRAPH).read_bytes())
        how(parsed.meta_graphs[0])
        (folder / GRAPH).write_bytes(parsed.SerializeToString())
        return folder

    return change


@pytest.fixture(scope="module")
def tiny_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tensorflow as tf

    class Scaled(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 3])])
        def __call__(self, pixels: Any) -> Any:
            return _mean(pixels) * self.scale

    folder = tmp_path_factory.mktemp("scaled")
    module = Scaled()
    tf.saved_model.save(module, str(folder), module.__call__)
    return folder


def _function(meta_graph: Any, part: str) -> Any:
    (found,) = (one for one in meta_graph.graph_def.library.function if part in one.signature.name)
    return found


def test_the_saver_of_a_module_is_no_reason_to_refuse_it(changed: Callable[..., Path]) -> None:
    folder = changed(lambda meta_graph: None)
    loaded = load_saved_model(folder, "the model")
    assert np.array_equal(loaded(np.ones((1, 4, 4, 3), np.float32)), 2 * np.ones((1, 3)))


def _call_it_in_inference(meta_graph: Any) -> None:
    saver = _function(meta_graph, "traced_restore").signature.name
    node = _function(meta_graph, "__inference___call__").node_def.add(name="spy", op="StatefulPartitionedCall")
    node.attr["f"].func.name = saver


def _call_it_by_its_name(meta_graph: Any) -> None:
    saver = _function(meta_graph, "traced_save").signature.name
    _function(meta_graph, "__inference___call__").node_def.add(name="spy", op=saver)


def _call_it_in_a_list_of_branches(meta_graph: Any) -> None:
    saver = _function(meta_graph, "traced_save").signature.name
    node = _function(meta_graph, "__inference___call__").node_def.add(name="spy", op="Case")
    node.attr["branches"].list.func.add(name=saver)


def _show_it_to_python(meta_graph: Any) -> None:
    saver = _function(meta_graph, "traced_save").signature.name
    shown = meta_graph.object_graph_def.nodes.add()
    shown.bare_concrete_function.concrete_function_name = saver


def _take_it_for_a_gradient(meta_graph: Any) -> None:
    saver = _function(meta_graph, "traced_save").signature.name
    meta_graph.graph_def.library.registered_gradients.add(gradient_func=saver, registered_op_type="x")


def _call_it_at_the_top(meta_graph: Any) -> None:
    node = meta_graph.graph_def.node.add(name="spy", op="StatefulPartitionedCall")
    node.attr["f"].func.name = _function(meta_graph, "traced_save").signature.name


def _take_its_result(meta_graph: Any) -> None:
    named = meta_graph.saver_def.save_tensor_name.partition(":")[0]
    meta_graph.graph_def.node.add(name="spy", op="Identity", input=[named])


def _serve_its_result(meta_graph: Any) -> None:
    meta_graph.signature_def["spy"].outputs["x"].name = meta_graph.saver_def.save_tensor_name


def _ask_to_be_called_instead(meta_graph: Any) -> None:
    for part in ("traced_save", "__inference___call__"):
        _function(meta_graph, part).attr["api_implements"].s = b"the same"


@pytest.mark.parametrize(
    "how",
    [
        _ask_to_be_called_instead,
        _call_it_in_inference,
        _call_it_by_its_name,
        _call_it_in_a_list_of_branches,
        _show_it_to_python,
        _take_it_for_a_gradient,
        _call_it_at_the_top,
        _take_its_result,
        _serve_its_result,
    ],
)
def test_a_saver_that_anything_else_can_call_is_refused(
    changed: Callable[..., Path], how: Callable[[Any], object]
) -> None:
    with pytest.raises(InputError, match="calls the functions that write and read the variables' files"):
        require_image_network(changed(how), "the model")


def test_the_savers_operators_are_refused_where_saver_def_does_not_name_their_function(
    changed: Callable[..., Path],
) -> None:
    folder = changed(lambda meta_graph: meta_graph.saver_def.Clear())
    with pytest.raises(InputError, match="MergeV2Checkpoints, RestoreV2, SaveV2, ShardedFilename"):
        require_image_network(folder, "the model")


def test_an_inference_that_saver_def_names_as_the_saver_is_refused(changed: Callable[..., Path]) -> None:
    def rename(meta_graph: Any) -> None:
        meta_graph.saver_def.save_tensor_name = meta_graph.signature_def["serving_default"].outputs["output_0"].name

    with pytest.raises(InputError, match="refused"):
        require_image_network(changed(rename), "the model")


def test_a_function_that_bears_the_name_of_a_forbidden_operator_does_not_open_the_door_to_it(
    changed: Callable[..., Path],
) -> None:
    def hide(meta_graph: Any) -> None:
        meta_graph.graph_def.library.function.add().signature.name = "WriteFile"
        _function(meta_graph, "__inference___call__").node_def.add(name="spy", op="WriteFile")

    with pytest.raises(InputError, match="WriteFile"):
        require_image_network(changed(hide), "the model")


def test_a_second_function_of_a_name_does_not_hide_behind_the_first(changed: Callable[..., Path]) -> None:
    def twice(meta_graph: Any) -> None:
        inference = _function(meta_graph, "__inference___call__")
        hidden = meta_graph.graph_def.library.function.add()
        hidden.CopyFrom(inference)
        inference.node_def.add(name="spy", op="WriteFile")

    with pytest.raises(InputError, match="a name in its graph occurs twice"):
        require_image_network(changed(twice), "the model")


def test_objects_that_run_code_when_they_are_loaded_are_refused(changed: Callable[..., Path]) -> None:
    folder = changed(lambda meta_graph: meta_graph.object_graph_def.nodes.add().resource.SetInParent())
    with pytest.raises(InputError, match="its objects hold resource"):
        require_image_network(folder, "the model")


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "..", "a/b"])
def test_an_asset_outside_the_folder_is_refused(changed: Callable[..., Path], name: str) -> None:
    folder = changed(lambda meta_graph: meta_graph.asset_file_def.add(filename=name))
    with pytest.raises(InputError, match="outside its folder"):
        require_image_network(folder, "the model")


def test_what_reading_would_wait_for_is_refused(changed: Callable[..., Path]) -> None:
    folder = changed(lambda meta_graph: None)
    (folder / "variables" / "variables.index").unlink()
    os.mkfifo(folder / "variables" / "variables.index")
    with pytest.raises(InputError, match=r"variables\.index is no regular file"):
        require_image_network(folder, "the model")


def test_a_graph_too_large_for_any_network_is_refused_before_it_is_read(changed: Callable[..., Path]) -> None:
    folder = changed(lambda meta_graph: None)
    os.truncate(folder / GRAPH, 20 * 10**9)  # sparse: it takes no disk
    with pytest.raises(InputError, match=r"has 20\.0 GB"):
        require_image_network(folder, "the model")


@pytest.mark.parametrize("data", [b"", b"\xff" * 100])
def test_a_graph_that_can_not_be_read_is_told_apart(changed: Callable[..., Path], data: bytes) -> None:
    folder = changed(lambda meta_graph: None)
    (folder / GRAPH).write_bytes(data)
    with pytest.raises(DamagedSavedModel, match=str(folder)):
        require_image_network(folder, "the model")


def test_tensorflow_1s_format_is_refused(changed: Callable[..., Path]) -> None:
    folder = changed(lambda meta_graph: meta_graph.ClearField("object_graph_def"))
    with pytest.raises(InputError, match="TensorFlow 1's format"):
        require_image_network(folder, "the model")


def test_no_other_place_opens_a_saved_model() -> None:
    import tledge

    package = Path(tledge.__file__).parent
    loaders = (
        "saved_model.load(",
        "hub.load(",
        "from_saved_model(",
        "load_model(",
        "hub.KerasLayer(handle",
        "import_meta_graph",
    )
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(loader in path.read_text(encoding="utf-8") for loader in loaders)
    }
    # Keras' own loaders get files that were checked before, and folders by way of this package.
    assert found == {"importing/formats/keras2.py", "importing/keras_models/library.py"}
