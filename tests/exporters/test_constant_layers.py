"""Layers that give the same for every photo, as a training leaves them whose ReLU lets nothing through: they export."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_models import with_files

from tledge.classifier.network import load_network
from tledge.errors import PromiseBroken
from tledge.exporters.onnx_int8 import _take_codes
from tledge.exporters.options import Options
from tledge.run import Run
from tledge.stages import export
from tledge.training.saved_model import of_network, save


@pytest.fixture
def changed(lenet_copy: Run, tmp_path: Path) -> Callable[[dict[str, float]], Run]:
    """The run with every number of some weights set to one value, in its network and in its SavedModel."""

    def change(values: dict[str, float]) -> Run:
        with np.load(lenet_copy.folder / "network" / "weights.npz") as stored:
            weights = {
                name: np.full_like(held, values.get(name, 0)) if name in values else held
                for name, held in stored.items()
            }
        out = io.BytesIO()
        np.savez(out, **weights)
        (lenet_copy.folder / "network" / "weights.npz").write_bytes(out.getvalue())
        network, size = load_network(lenet_copy.folder / "network"), lenet_copy.manifest.backbone.input_size
        save(of_network(network, size), tmp_path / "saved")
        files = {
            path: (tmp_path / "saved" / path.relative_to("model")).read_bytes() for path in _model_files(lenet_copy)
        }
        files = {path.as_posix(): data for path, data in files.items()}
        return with_files(lenet_copy, {"network/weights.npz": out.getvalue(), **files})

    return change


def _model_files(run: Run) -> list[Path]:
    return [Path(name) for name in run.manifest.files_sha256 if name.startswith("model/")]


DEAD = {"f6.bias": -1e4}


def _require_the_same_answers(
    answers_of: Callable[..., np.ndarray], run: Run, names: list[str], options: Options
) -> None:
    """Of these formats and of float32, on one photo of noise. LiteRT answers by XNNPACK, which refuses some scales."""
    made = export(run, ["onnx-float32", *names], options=options)
    photo = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 3), np.uint8)
    answers = {}
    for one in made:
        path = run.export_folder(one.format) / one.file
        answers[one.format] = answers_of(path, photo)
    for name in names:
        np.testing.assert_allclose(answers[name], answers["onnx-float32"], atol=0.02, err_msg=name)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(DEAD, id="the last hidden layer is dead"),
        pytest.param({"c3.kernel": 0.0, "c3.bias": 0.25}, id="a layer has no weights, and the same in every channel"),
        pytest.param({"c1.bias": -1e4}, id="the first layer is dead", marks=pytest.mark.long),
        pytest.param(
            {"c5.kernel": 0.0, "c5.bias": -1.0, "f6.kernel": 0.0},
            id="two layers have no weights",
            marks=pytest.mark.long,
        ),
        pytest.param({"logits.kernel": 0.0}, id="the last layer has no weights", marks=pytest.mark.long),
    ],
)
def test_a_network_with_a_constant_layer_exports_and_answers_as_it_does_in_float(
    changed: Callable[[dict[str, float]], Run], answers_of: Callable[..., np.ndarray], values: dict[str, float]
) -> None:
    _require_the_same_answers(
        answers_of, changed(values), ["tflite-int8", "onnx-int8"], Options(calibration_samples=16)
    )


@pytest.mark.long
def test_formats_that_train_take_a_dead_layer_too(
    changed: Callable[[dict[str, float]], Run], answers_of: Callable[..., np.ndarray]
) -> None:
    names = ["tflite-int8-qat", "onnx-int8-qat", "tflite-int8-pruned", "tflite-int8-clustered", "tflite-int16x8"]
    _require_the_same_answers(answers_of, changed(DEAD), names, Options(calibration_samples=16, epochs=1))


def test_a_network_that_reads_no_pixels_and_has_unknown_layers_is_refused_by_name() -> None:
    from onnx import TensorProto, helper

    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 2, 2, 3])
    constant = helper.make_node("Constant", [], ["out"], value_floats=[1.0])
    model = helper.make_model(helper.make_graph([constant], "g", [pixels], [out]))
    with pytest.raises(PromiseBroken, match="answers the same for every photo: no operator reads the pixels"):
        _take_codes(model, None)
