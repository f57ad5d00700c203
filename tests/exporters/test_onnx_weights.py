"""ONNX files whose weights alone are smaller: float16, and uint8 with activations measured as it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.errors import PromiseBroken
from tledge.exporters import ConverterInput, formats
from tledge.exporters.onnx_dynamic import _channels_to_one_scale
from tledge.exporters.onnx_graph import INPUT
from tledge.training.saved_model import of_network, save

SIZE = 16
PHOTOS = np.random.default_rng(0).integers(0, 256, (16, SIZE, SIZE, 3), np.uint8)


def _saved(folder: Path, spread: float) -> ConverterInput:
    """A network in which the weights of one channel are up to ``spread`` times those of another, and no answer shows it."""
    from tf_keras import Model as Network
    from tf_keras import layers

    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    images = layers.Input((SIZE, SIZE, 3))
    wide = layers.Conv2D(64, 3, strides=2, padding="same", name="wide")
    narrow = layers.Conv2D(32, 1, name="narrow")
    x = narrow(layers.ReLU()(wide(images)))
    x = layers.ReLU()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.GlobalAveragePooling2D()(x)
    network = Network(images, layers.Dense(4, kernel_initializer=_large)(x))
    factors = np.geomspace(1, spread, 64).astype(np.float32)
    kernel, bias = wide.get_weights()
    wide.set_weights([kernel * factors, bias * factors])
    kernel, bias = narrow.get_weights()
    narrow.set_weights([kernel / factors[:, None], bias + 0.1])
    save(of_network(network, SIZE), folder)
    return ConverterInput(folder, SIZE, "{}", None)


def _large(shape: Any, dtype: Any = None) -> Any:
    """Weights for which the answers are far from even."""
    return np.random.default_rng(2).normal(scale=20, size=shape).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ConverterInput:
    return _saved(tmp_path_factory.mktemp("network"), spread=1e2)


@pytest.fixture(scope="module")
def too_wide(tmp_path_factory: pytest.TempPathFactory) -> ConverterInput:
    """One that float16 can't hold, also where a converter makes the pixels' scale of 1/255 part of the first weights."""
    return _saved(tmp_path_factory.mktemp("network"), spread=1e9)


def _read(data: bytes) -> Any:
    import onnx

    return onnx.load_model_from_string(data)


def _constants(data: bytes) -> dict[str, np.ndarray]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in _read(data).graph.initializer}


def _answers(data: bytes) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {INPUT: photo[None]})[0] for photo in PHOTOS])


def test_every_weight_is_its_nearest_float16_and_all_else_stays(model: ConverterInput) -> None:
    whole, half = (formats()[name].convert(model) for name in ("onnx-float32", "onnx-float16"))
    expected = {
        (f"{name}/float16" if values.size > 1 and values.dtype == np.float32 else name): values
        for name, values in _constants(whole).items()
    }
    found = _constants(half)
    assert found.keys() == expected.keys()
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name].astype(values.dtype))
    assert len(half) < 0.65 * len(whole)
    np.testing.assert_allclose(_answers(half), _answers(whole), atol=0.02)


def test_onnx_runtime_casts_the_weights_once_when_it_loads_the_model(model: ConverterInput, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "as-it-runs.onnx")
    onnxruntime.InferenceSession(formats()["onnx-float16"].convert(model), options, providers=["CPUExecutionProvider"])
    casts = [node for node in onnx.load(options.optimized_model_filepath).graph.node if node.op_type == "Cast"]
    assert [node.input[0] for node in casts] == [INPUT]


@pytest.mark.parametrize(
    ("name", "constant"), [("onnx-float16", r"Conv_\d+/1"), ("tflite-float16", r"[\w/]*(wide|narrow)/\w+/float16")]
)
def test_a_weight_beyond_float16_is_named_and_the_file_refused(
    too_wide: ConverterInput, name: str, constant: str
) -> None:
    with pytest.raises(
        PromiseBroken, match=rf"the constant {constant} holds [0-9.e+ormore ]+, and float16 ends at 65504"
    ):
        formats()[name].convert(too_wide)


def test_scaling_every_channel_to_one_largest_weight_changes_no_answer(model: ConverterInput) -> None:
    data = formats()["onnx-float32"].convert(model)
    graph = _read(data)
    _channels_to_one_scale(graph)
    scaled = [values for name, values in _constants(graph.SerializeToString()).items() if name.endswith("/weights")]
    assert [values.shape[0] for values in scaled] == [64, 32]
    for values in scaled:
        np.testing.assert_allclose(np.abs(values).max(axis=(1, 2, 3)), 1, rtol=1e-6)
    np.testing.assert_allclose(_answers(graph.SerializeToString()), _answers(data), atol=1e-4)


def test_dynamic_answers_as_float32_does_though_one_scale_would_not_do_for_all_channels(
    model: ConverterInput, tmp_path: Path
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    float32 = tmp_path / "float32.onnx"
    float32.write_bytes(formats()["onnx-float32"].convert(model))
    expected = _answers(float32.read_bytes())
    quant_pre_process(str(float32), str(tmp_path / "ready.onnx"), skip_symbolic_shape=True)
    quantize_dynamic(tmp_path / "ready.onnx", tmp_path / "plain.onnx", weight_type=QuantType.QUInt8)
    plain = np.abs(_answers((tmp_path / "plain.onnx").read_bytes()) - expected).mean()
    ours = np.abs(_answers(formats()["onnx-dynamic"].convert(model)) - expected).mean()
    assert ours < 0.005 < plain


def test_dynamic_has_integer_products_but_for_convolutions_of_single_channels(model: ConverterInput) -> None:
    kinds = [node.op_type for node in _read(formats()["onnx-dynamic"].convert(model)).graph.node]
    assert kinds.count("ConvInteger") == 2
    assert kinds.count("MatMulInteger") == 1
    assert kinds.count("Conv") == 1
