"""Models that Keras 3 and tf_keras saved answer as their own framework does, and what can't be taken is named."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.conftest import Once
from tledge.backbones.described import DescribedNetwork, from_files
from tledge.compression.folding import fold
from tledge.importing.foreign import Refused
from tledge.importing.formats import keras2, keras3
from tledge.importing.keras_models.allowed import require_plain
from tledge.importing.keras_models.files import keras_version_of_hdf5, keras_version_of_zip
from tledge.importing.tidy import tidy, with_input
from tledge.workers.process import WorkerProcess
from tledge.workers.worker import Job

from .small_classifiers import REAL_MODELS

HERE = Path(__file__).parent
MATRIX = ("nested", "functional", "residual", "depthwise", "concat", "squeeze_excite")
ENDS = {"functional": "logits", "concat": "sigmoid"}
ANSWERING = (
    *(f"{name}{suffix}" for name in MATRIX for suffix in (".keras", ".h5", "")),
    *("by_keras3.h5", "by_tf_keras.keras", "caffe.keras", "caffe.h5", "shared.keras", "shared.h5", "hard_swish.keras"),
    *("two_classes.keras", "two_classes.h5", "open_size.keras", "teachable.keras", "teachable.h5"),
)
TOLERANCE = 1e-4  # of the range of the logits: two ways through the same float32 layers differ by rounding


def _run(program: str, *arguments: str | Path) -> None:
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": str(HERE.parents[1]),
    }
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]


pytestmark = pytest.mark.long  # minutes in all; tests/importing/test_import.py reads a file of each kind


@pytest.fixture(scope="session")
def models(once: Once) -> Path:
    """The models that make_keras_models.py makes, each opened as by an import."""

    def make(folder: Path) -> None:
        folder.mkdir()
        _run("make_keras_models.py", folder)
        found = sorted(folder.iterdir())
        of_keras3 = [path for path in found if keras3.FORMAT.claims(path)]
        of_keras2 = [path for path in found if keras2.FORMAT.claims(path)]
        assert not set(of_keras3) & set(of_keras2)
        _run("open_models.py", "keras3", *of_keras3)
        _run("open_models.py", "keras2", *of_keras2)

    return once("keras_models", make)


def _told(models: Path, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((models / f"{name}.json").read_text())
    return told


def _opened(models: Path, name: str) -> tuple[DescribedNetwork, Any, Any, Any]:
    """Return the described network, the noise, the answers of the reader and those of the framework itself."""
    noise = np.load(models / f"{name}.npz")
    with np.load(models / f"{name}.opened.npz") as held:
        network = from_files(held["network"].tobytes(), held)
        return network, noise["noise"], held["answers"], noise["own"]


def _answers(network: DescribedNetwork, images: Any) -> Any:
    return np.asarray(network.graph()(images, training=False))


def _assert_same(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE * np.ptp(expected)


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ANSWERING)
def test_the_described_and_the_tidy_network_answer_as_the_framework(models: Path, name: str) -> None:
    network, noise, answers, _ = _opened(models, name)
    _assert_same(_answers(network, noise), answers)
    made = tidy(with_input(network, (255.0,) * 3, (0.0,) * 3, is_bgr=False))
    _assert_same(_answers(made, noise / 255), answers)
    assert made.layers[-1].name == "logits"
    assert "Rescaling" not in {layer.kind for layer in made.layers}


@pytest.mark.parametrize("name", [f"{name}{suffix}" for name in MATRIX for suffix in (".keras", ".h5", "")])
def test_the_ending_is_cut_and_leads_to_the_models_own_answers(models: Path, name: str) -> None:
    told = _told(models, name)
    assert told["ending"] == ENDS.get(name.partition(".")[0], "softmax")
    assert (told["num_outputs"], told["channels"], told["input_size"]) == (5, 3, 32)
    _, _, answers, own = _opened(models, name)
    ended = {"logits": lambda x: x, "softmax": _softmax, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}[told["ending"]](
        answers
    )
    assert np.abs(ended - own).max() <= 1e-5 * max(1.0, np.ptp(own))
    assert np.ptp(answers) > 0.1


@pytest.mark.parametrize("name", ["two_classes.keras", "two_classes.h5"])
def test_one_sigmoid_becomes_two_classes(models: Path, name: str) -> None:
    told = _told(models, name)
    assert (told["num_outputs"], told["ending"]) == (2, "sigmoid")
    assert any("two classes" in note for note in told["notes"])
    _, _, answers, own = _opened(models, name)
    assert np.abs(_softmax(answers)[:, 1:] - own).max() <= 1e-5


def test_a_grey_model_is_described_for_colour_photos(models: Path) -> None:
    told = _told(models, "grey.keras")
    assert told["channels"] == 1
    network, noise, answers, _ = _opened(models, "grey.keras")
    colour = np.repeat(noise, 3, axis=-1)
    _assert_same(_answers(network, colour), answers)
    made = with_input(tidy(network), (255.0,) * 3, (0.0,) * 3, is_bgr=False)
    _assert_same(_answers(made, colour / 255), answers)
    assert [layer.kind for layer in made.layers[:2]] == ["Conv2D", "Conv2D"]
    photos = np.random.default_rng(5).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    grey = photos @ np.asarray([[0.299], [0.587], [0.114]], np.float32)
    _assert_same(_answers(made, photos / 255), _answers(network, np.repeat(grey, 3, axis=-1)))


@pytest.mark.parametrize("name", ["functional.keras", "depthwise.h5", "residual.keras"])
def test_channels_in_another_order_go_into_the_first_kernel(models: Path, name: str) -> None:
    network, noise, answers, _ = _opened(models, name)
    scale, offset = (200.0, 250.0, 255.0), (3.0, -2.0, 1.0)
    prepared = with_input(tidy(network), scale, offset, is_bgr=True)
    photos = (noise[..., ::-1] - np.asarray(offset, np.float32)) / np.asarray(scale, np.float32)
    _assert_same(_answers(prepared, photos), answers)
    assert [layer.kind for layer in prepared.layers[:2]] != ["DepthwiseConv2D", "DepthwiseConv2D"]
    assert [layer.name for layer in prepared.layers].count("rescale") == 1
    assert not any(layer.weights and layer.weights[0].shape == (1, 1, 3, 3) for layer in prepared.layers)


def test_networks_of_caffe_have_their_order_of_channels_in_the_first_kernel(models: Path) -> None:
    for name in ("caffe.keras", "caffe.h5"):
        made = tidy(_opened(models, name)[0])
        assert [(layer.name, layer.kind) for layer in made.layers[:1]] == [("rescale", "DepthwiseConv2D")]
        assert [layer.kind for layer in made.layers] == ["DepthwiseConv2D", "Conv2D", "GlobalAveragePooling2D", "Dense"]


def test_the_paddings_and_the_end_of_mobilenet_become_what_quantizers_take(models: Path) -> None:
    for name in ("depthwise.keras", "depthwise.h5", "depthwise"):
        made = tidy(_opened(models, name)[0])
        kinds = {layer.kind for layer in made.layers}
        assert not kinds & {"ZeroPadding2D", "Reshape", "Flatten", "Rescaling"}
        assert made.layers[-1].kind == "Dense"
        assert len(made.layers[-1].weights) == 2
        fold(with_input(made, (255.0,) * 3, (0.0,) * 3, is_bgr=False).graph())


def test_what_was_changed_is_told(models: Path) -> None:
    for name in ("nested.keras", "nested.h5", "nested"):
        assert any(
            "Dropout, GaussianNoise, RandomFlip, RandomRotation" in note for note in _told(models, name)["notes"]
        )
    assert any("more than once" in note for note in _told(models, "shared.keras")["notes"])
    assert any("sigmoids, each by itself" in note for note in _told(models, "concat.h5")["notes"])
    assert _told(models, "open_size.keras")["input_size"] is None


def test_a_layer_without_known_arithmetic_is_named(models: Path) -> None:
    assert "layer resizing (Resizing)" in _told(models, "resizing.keras")["unknown"]


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("with_lambda", ("secret (Lambda) holds Python code", "export it to ONNX")),
        ("with_custom", ("doubled (Doubled) is no class of Keras", "export it to ONNX")),
        ("detector", ("2 outputs ((N, 2), (N, 30, 30, 4))", "detectors")),
        ("segmentation", ("(N, 30, 30, 4)", "segmentation")),
        ("text", ("'words' of shape (N, 20)", "text model")),
        ("two_inputs", ("'photo'", "'mask'", "2 inputs")),
        ("not_square", ("'wide' of shape (N, 32, 64, 3)", "not square")),
        ("one_softmax", ("one output unit behind a softmax",)),
    ],
)
def test_a_model_that_is_no_image_classifier_is_refused(models: Path, name: str, sentences: tuple[str, ...]) -> None:
    for file in (f"{name}.keras", f"{name}.h5", *([name] if (models / name).is_dir() else [])):
        refused = _told(models, file)["refused"]
        assert refused.startswith(file)
        for sentence in sentences:
            assert sentence in refused


def test_a_layer_in_training_mode_is_refused(models: Path) -> None:
    assert "training=True" in _told(models, "in_training.h5")["refused"]


def test_weights_alone_are_refused(models: Path) -> None:
    for name in ("only_weights_keras.weights.h5", "only_weights_h5.weights.h5"):
        refused = _told(models, name)["refused"]
        assert "weights only" in refused
        assert "model.save" in refused


def test_a_truncated_file_is_named(models: Path, tmp_path: Path) -> None:
    for name, check in (("nested.keras", keras_version_of_zip), ("nested.h5", keras_version_of_hdf5)):
        whole = (models / name).read_bytes()
        cut = tmp_path / name
        cut.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(Refused, match=rf"{name} is damaged"):
            check(cut)


def test_a_keras_file_that_is_no_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "words.keras"
    path.write_text("no model")
    with pytest.raises(Refused, match="no .keras file, which is a zip archive"):
        keras_version_of_zip(path)


def _zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return path


def _weights() -> bytes:
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        file["kernel"] = np.zeros(3, np.float32)
    return held.getvalue()


def test_a_keras_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = _zip(
        tmp_path / "bomb.keras", config__json=bytes(80 * 2**20), metadata__json=b"{}", model__weights__h5=_weights()
    )
    assert bomb.stat().st_size < 2**20
    with pytest.raises(Refused, match="config.json unpacks to"):
        keras_version_of_zip(bomb)


def test_weights_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_dataset("kernel", (2**20, 2**10), "float32", chunks=(1024, 1024), compression="gzip")
    assert path.stat().st_size < 2**20
    with pytest.raises(Refused, match="weights unpack to over"):
        keras_version_of_hdf5(path)


def test_a_keras_file_with_other_members_is_refused(tmp_path: Path) -> None:
    path = _zip(
        tmp_path / "more.keras",
        config__json=b"{}",
        metadata__json=b"{}",
        model__weights__h5=_weights(),
        code__py=b"print()",
    )
    with pytest.raises(Refused, match="'code.py', which no image classifier"):
        keras_version_of_zip(path)


def test_weights_that_lie_in_another_file_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(64))
    external, linked, virtual = (tmp_path / f"{name}.h5" for name in ("external", "linked", "virtual"))
    with h5py.File(external, "w") as file:
        file.create_dataset("kernel", (16,), "float32", external=[(str(secret), 0, 64)])
    with h5py.File(linked, "w") as file:
        file["kernel"] = h5py.ExternalLink(str(external), "/kernel")
    with h5py.File(virtual, "w") as file:
        layout = h5py.VirtualLayout((16,), "float32")
        layout[:] = h5py.VirtualSource(str(external), "kernel", (16,))
        file.create_virtual_dataset("kernel", layout)
    for path, why in ((external, "lies in another file"), (linked, "is a link"), (virtual, "lies in another file")):
        with pytest.raises(Refused, match=why):
            keras_version_of_hdf5(path)


def test_functions_of_tensorflow_are_called_only_where_they_compute() -> None:
    writing = {"class_name": "TFOpLambda", "config": {"name": "save", "function": "io.write_file"}}
    with pytest.raises(Refused, match=r"tf\.io\.write_file"):
        require_plain({"config": {"layers": [writing]}}, "model.h5")
    require_plain({"config": {"layers": [writing | {"config": {"name": "add", "function": "math.add"}}]}}, "model.h5")


@pytest.mark.parametrize(
    "hidden",
    [
        {"class_name": "__lambda__", "config": {"value": "code"}},
        {"class_name": "Dense", "config": {}, "module": "os"},
        {"class_name": "function", "config": "system", "module": "os"},
        {"class_name": "function", "config": "eval", "module": "builtins"},
        {"class_name": "Dense", "config": {}, "module": "keras.layers", "registered_name": "Lambda"},
        {"class_name": "TFSMLayer", "config": {"filepath": "elsewhere"}, "module": "keras.layers"},
        {"class_name": "TorchModuleWrapper", "config": {}, "module": "keras.layers"},
    ],
)
def test_code_that_is_hidden_in_a_description_is_refused(hidden: dict[str, Any]) -> None:
    layer = {"class_name": "Dense", "module": "keras.layers", "config": {"name": "dense", "activation": hidden}}
    with pytest.raises(Refused, match="is refused"):
        require_plain({"config": {"layers": [layer]}}, "model.keras")


def test_a_description_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"config": deep}
    with pytest.raises(Refused, match="nested more deeply"):
        require_plain(deep, "model.keras")
    path = _zip(
        tmp_path / "deep.keras", config__json=b'{"a":' * 10**6, metadata__json=b"{}", model__weights__h5=_weights()
    )
    with pytest.raises(Refused, match="no JSON"):
        keras_version_of_zip(path)


def test_a_saved_model_folder_without_keras_metadata_is_not_claimed(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    shutil.copytree(models / "nested", folder)
    assert keras2.FORMAT.claims(folder)
    (folder / "keras_metadata.pb").unlink()
    assert not keras2.FORMAT.claims(folder)


REAL = REAL_MODELS / "flowers_keras3_mobilenet_v2.keras"


@pytest.mark.skipif(not REAL.is_file(), reason=f"{REAL.name} is missing beside TFHUB_CACHE_DIR")
def test_a_real_model_is_opened_apart_and_tidied_for_quantizers(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 160, 160, 3)).astype(np.uint8)
    photos, outputs = tmp_path / "pixels", tmp_path / "outputs"
    photos.write_bytes(pixels.tobytes())
    job = Job(str(REAL), "keras3", "", 2, [], str(photos), 4, 160, str(outputs))
    with WorkerProcess("tledge.importing.program", job, tmp_path) as process:
        taken = process.call("open", 120)
        process.call("answers_to", 60, input_size=160, channels=3, scale="1,1,1", offset="0,0,0", is_bgr=0)
        answers = np.fromfile(outputs, np.float32).reshape(4, -1)
        assert process.call("describe", 60, input_size=160) == {}
    assert (taken["input_size"], taken["num_outputs"], taken["ending"]) == (160, 5, "logits")
    with np.load(outputs) as held:
        network = from_files(held["network"].tobytes(), held)
    made = with_input(tidy(network), (255.0,) * 3, (0.0,) * 3, is_bgr=False)
    assert {layer.kind for layer in made.layers} == {
        *("Add", "BatchNormalization", "Conv2D", "Dense", "DepthwiseConv2D", "GlobalAveragePooling2D", "ReLU"),
    }
    _assert_same(_answers(made, pixels.astype(np.float32) / 255), answers)
    folded = fold(made.graph())
    assert folded.zero_byte == 127.5
