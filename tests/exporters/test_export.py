"""The command: names, what is refused, and that what was there before stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import CHANNELS, without_split

from tledge.errors import ArtifactError, InputError
from tledge.exporters import chosen, formats
from tledge.files import sha256_file
from tledge.progress import Silent
from tledge.run import Run, open_run
from tledge.stages import export
from tledge.training.build import build
from tledge.training.resolve import resolve

from .conftest import Build

CONVERTED = [name for name, form in formats().items() if not form.is_trained]
TRAINED = [name for name in formats() if name not in CONVERTED]


def test_all_is_every_format_that_is_not_made_on_request_only_and_a_name_counts_once() -> None:
    usual = [form.name for form in chosen(["all", "onnx-int8"])]
    assert usual == [name for name, form in formats().items() if not form.on_request]
    assert {"tflite-int8", "onnx-float16"} <= set(usual)
    assert not {"tflite-int16x8", "onnx-dynamic", *TRAINED} & set(usual)
    assert [form.name for form in chosen(["tflite-int8-qat", "all"])] == [*usual, "tflite-int8-qat"]
    assert [form.name for form in chosen(["onnx-int8", "onnx-int8"])] == ["onnx-int8"]


@pytest.mark.long
def test_a_format_that_is_slow_on_a_cpu_is_made_with_a_warning_that_says_why(run_copy: Run) -> None:
    progress = Silent()
    export(run_copy, ["onnx-dynamic", "onnx-float32"], progress=progress)
    (warning,) = progress.warnings
    assert warning == f"onnx-dynamic: {formats()['onnx-dynamic'].on_request}"
    assert "longer than float32" in warning


def test_the_formats_of_the_readme_are_there() -> None:
    assert set(formats()) >= {
        "tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8", "onnx-float32", "onnx-int8",
        "tflite-int8-qat", "tflite-int8-pruned", "tflite-int8-clustered", "tflite-int8-pruned-clustered",
        "onnx-int8-qat", "tflite-int16x8", "onnx-float16", "onnx-dynamic",
    }  # fmt: skip


def test_an_unknown_format_offers_the_nearest_and_is_exit_code_2(run_copy: Run, tledge: Callable[..., Any]) -> None:
    ended = tledge("export", "--format", "tflite-int9", "--artifacts", run_copy.folder.parent)
    assert ended.code == 2
    assert "Did you mean 'tflite-int8'?" in ended.err


def test_no_format_is_an_error_that_lists_them(built: Run) -> None:
    with pytest.raises(InputError, match="tflite-int8"):
        export(built, [])


def test_export_before_build_is_exit_code_2_and_names_the_command(tmp_path: Path, tledge: Callable[..., Any]) -> None:
    ended = tledge("export", "--format", "all", "--artifacts", tmp_path)
    assert ended.code == 2
    assert "tledge build" in ended.err


def test_a_model_that_changed_since_it_was_built_is_not_exported(run_copy: Run, tledge: Callable[..., Any]) -> None:
    with (run_copy.folder / "model" / "saved_model.pb").open("ab") as file:
        file.write(b"\0")
    ended = tledge("export", "--format", "tflite-float32", "--artifacts", run_copy.folder.parent)
    assert ended.code == 3
    assert "saved_model.pb: changed or cut short" in ended.err


@pytest.fixture(scope="module")
def with_sine(built_on: Build) -> Run:
    """A run whose backbone has an operator that TFLite and ONNX have only in float."""
    import tensorflow as tf

    return built_on("sine", tf.sin)


@pytest.fixture(scope="module")
def with_digamma(built_on: Build) -> Run:
    """A run whose backbone has an operator that neither TFLite nor ONNX has."""
    import tensorflow as tf

    return built_on("digamma", lambda x: tf.math.digamma(x + 1))


def _files(run: Run) -> dict[str, str]:
    exports = run.folder / "exports"
    return {path.relative_to(exports).as_posix(): sha256_file(path) for path in exports.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("format_name", "operator"),
    [("tflite-int8", "SIN (float32"), ("tflite-int16x8", "SIN (float32"), ("onnx-int8", "Sin (float32")],
)
def test_an_operator_that_stays_float_is_named_with_exit_code_1_and_the_earlier_artifact_stays(
    with_sine: Run, tledge: Callable[..., Any], format_name: str, operator: str
) -> None:
    folder = with_sine.export_folder(format_name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / formats()[format_name].file).write_bytes(b"an earlier artifact")
    before = _files(with_sine)
    ended = tledge("export", "--format", format_name, "--artifacts", with_sine.folder.parent)
    assert ended.code == 1
    assert operator in ended.err
    assert "CONV_2D" not in ended.err
    assert _files(with_sine) == before
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("format_name", CONVERTED)
def test_an_operator_that_a_converter_does_not_know_is_named_with_exit_code_1_and_nothing_is_written(
    with_digamma: Run, tledge: Callable[..., Any], format_name: str
) -> None:
    ended = tledge("export", "--format", format_name, "--artifacts", with_digamma.folder.parent)
    assert ended.code == 1
    assert f"{format_name} has no operator for Digamma" in ended.err
    assert _files(with_digamma) == {}


def test_a_float_format_of_the_same_backbone_is_exported(with_sine: Run, tledge: Callable[..., Any]) -> None:
    ended = tledge("export", "--format", "tflite-float32", "--artifacts", with_sine.folder.parent)
    assert ended.code == 0
    assert "tflite-float32" in ended.out
    assert "tflite-float32" in with_sine.exports(["tflite-float32"])


@pytest.mark.long
@pytest.mark.parametrize("format_name", CONVERTED)
def test_a_backbone_that_captured_a_constant_has_it_inside_the_artifact(with_constant: Run, format_name: str) -> None:
    (made,) = export(with_constant, [format_name])
    assert len(made.audit.inputs) == 1


@pytest.fixture(scope="module")
def with_constant(built_on: Build) -> Run:
    """A run whose backbone adds a tensor that is neither a variable nor written in its graph."""
    import tensorflow as tf

    captured = tf.constant(np.linspace(0, 1, CHANNELS, dtype=np.float32))
    return built_on("constant", lambda features: features + captured)


@pytest.mark.parametrize("format_name", TRAINED)
def test_a_format_that_trains_layers_of_which_nothing_is_known_is_exit_code_2_and_nothing_is_written(
    small_run: Run, tledge: Callable[..., Any], format_name: str
) -> None:
    before = _files(small_run)
    formats_asked = ["--format", "tflite-float32", "--format", format_name]
    ended = tledge("export", *formats_asked, "--artifacts", small_run.folder.parent)
    assert ended.code == 2
    assert f"{format_name} trains the layers of the network, and can't here" in ended.err
    assert _files(small_run) == before


@pytest.mark.long
def test_a_network_with_layers_that_cannot_be_trained_in_integers_is_exit_code_2_and_they_are_named(
    photo_folder: Callable[..., Path], tmp_path: Path, tledge: Callable[..., Any]
) -> None:
    photos, root = str(photo_folder({"cat": 12, "dog": 12})), tmp_path / "artifacts"
    recipe = resolve("scratch", {"max_epochs": 1, "batch_size": 8})
    build(photos, backbone="keras:MobileNetV3Small", input_size=32, weights="none", recipe=recipe, artifacts=root)
    ended = tledge("export", "--format", "tflite-int8-qat", "--artifacts", root)
    assert ended.code == 2
    assert "tflite-int8-qat trains the layers of the network, and can't here" in ended.err
    assert "multiply (Multiply)" in ended.err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--sparsity", "1.5", "--sparsity 1.5: give the share of weights"),
        ("--sparsity", "0", "above 0 and below 1"),
        ("--sparsity", "nan", "--sparsity nan: give the share of weights"),
        ("--sparsity", "2:4", "Invalid value for '--sparsity'"),
        ("--clusters", "0", "--clusters 0: use 4 to 256"),
        ("--calibration", "mes", "Did you mean 'mse'"),
        ("--calibration", "entropy", "Known: min-max, mse"),
        ("--epochs", "0", "--epochs 0: use 1 to 1000"),
        ("--learning-rate", "0", "--learning-rate 0: use a rate above 0"),
        ("--learning-rate", "nan", "--learning-rate nan"),
        ("--calibration-samples", "0", "--calibration-samples 0: use at least 1"),
    ],
)
def test_an_option_that_cannot_be_is_exit_code_2_with_the_way_out(
    built: Run, tledge: Callable[..., Any], option: str, value: str, said: str
) -> None:
    ended = tledge("export", "--format", "tflite-int8-pruned", option, value, "--artifacts", built.folder.parent)
    assert ended.code == 2
    assert said in ended.err
    assert built.export_names() == []


@pytest.mark.parametrize(
    ("split", "asked", "said"),
    [
        ("train", ["tflite-int8"], "the training split is empty, and representative photos are taken from it"),
        ("validation", ["tflite-int8-qat"], "is empty, and the epoch is chosen by it"),
    ],
)
def test_what_an_empty_split_can_not_give_is_exit_code_2_before_anything_is_made(
    lenet_copy: Run, tledge: Callable[..., Any], split: str, asked: list[str], said: str
) -> None:
    run = without_split(lenet_copy, split)
    formats = ["--jobs", "1", "--format", "tflite-float32", "--format"]
    ended = tledge("export", *formats, *asked, "--run", run.name, "--artifacts", run.folder.parent)
    assert ended.code == 2
    assert said in ended.err
    assert run.export_names() == []


def test_a_sparsity_that_no_layer_can_have_is_told_before_other_formats_are_made(
    lenet_copy: Run, tledge: Callable[..., Any]
) -> None:
    asked = ["--format", "tflite-float32", "--format", "tflite-int8-pruned", "--sparsity", "1e-9", "--jobs", "1"]
    ended = tledge("export", *asked, "--run", lenet_copy.name, "--artifacts", lenet_copy.folder.parent)
    assert ended.code == 2
    assert "--sparsity 1e-09 makes no weight of this network zero" in ended.err
    assert lenet_copy.export_names() == []


def test_an_artifact_from_another_build_is_refused(run_copy: Run) -> None:
    from tledge.records import ExportRecord

    path = run_copy.export_folder("onnx-int8") / "export.json"
    ExportRecord.load(path, "").model_copy(update={"source_manifest_sha256": "0" * 64}).save(path)
    with pytest.raises(ArtifactError, match="exported from another build of digits. Run tledge export"):
        open_run(run_copy.folder.parent, "digits").exports()


def test_an_edited_record_is_refused(run_copy: Run) -> None:
    path = run_copy.export_folder("onnx-int8") / "export.json"
    path.write_text(path.read_text().replace('"format": "onnx-int8"', '"format": "onnx-int4"'))
    with pytest.raises(ArtifactError, match="changed since tledge wrote it"):
        run_copy.exports()


@pytest.mark.parametrize(
    ("format_name", "option", "value", "readers"),
    [
        ("tflite-float32", "--calibration-samples", "8", "tflite-int8, "),
        ("tflite-int16x8", "--calibration", "min-max", "tflite-int8, "),
        ("tflite-int8", "--epochs", "3", "tflite-int8-qat, "),
        ("onnx-int8", "--learning-rate", "1e-3", "tflite-int8-qat, "),
        ("tflite-int8-clustered", "--sparsity", "0.3", "tflite-int8-pruned, tflite-int8-pruned-clustered"),
        ("tflite-int8-pruned", "--clusters", "8", "tflite-int8-clustered, tflite-int8-pruned-clustered"),
    ],
)
def test_an_option_that_no_format_reads_is_exit_code_2_and_names_those_that_do(
    built: Run, tledge: Callable[..., Any], format_name: str, option: str, value: str, readers: str
) -> None:
    ended = tledge("export", "--format", format_name, option, value, "--artifacts", built.folder.parent)
    assert ended.code == 2
    assert f"{option} is for {readers}" in ended.err


def test_an_option_of_a_format_that_a_search_never_makes_is_exit_code_2(built: Run, tledge: Callable[..., Any]) -> None:
    asked = ["--format", "tflite-int8", "--max-drop", "1", "--sparsity", "0.3", "--artifacts", built.folder.parent]
    ended = tledge("export", *asked)
    assert ended.code == 2
    assert "--sparsity is for tflite-int8-pruned" in ended.err


def test_of_unknown_layers_only_the_ranges_of_the_converters_can_be_had(
    small_run: Run, tledge: Callable[..., Any]
) -> None:
    formats = ["--format", "tflite-float32", "--format", "tflite-int8", "--jobs", "1"]
    asked = [*formats, "--calibration-samples", "8", "--artifacts", small_run.folder.parent]
    assert tledge("export", *asked, "--calibration", "min-max").code == 0
    path = small_run.export_folder("tflite-float32") / "export.json"
    made = path.read_bytes()  # with the time: it is told before a format that needs no calibration is made again
    ended = tledge("export", *asked, "--calibration", "mse")
    assert ended.code == 2
    assert path.read_bytes() == made
    assert "--calibration mse needs the network's layers" in ended.err
