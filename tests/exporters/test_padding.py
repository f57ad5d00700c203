"""A network that pads as PyTorch does is fitted in every integer format, and zeros stay the zeros of its maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tledge.audit import audit, broken_promises
from tledge.compression.codes import Grid
from tledge.compression.few_bits import with_short_ranges
from tledge.compression.fitting import fit_network
from tledge.compression.folding import Folded, fold
from tledge.compression.qat import quantized
from tledge.exporters import ConverterInput, formats
from tledge.exporters.known_formats import mixed_formats
from tledge.exporters.onnx_graph import INPUT, of_function, paddings_to_convolutions
from tledge.progress import Silent
from tledge.tensorflow_setup import tensorflow

SIZE = 32
MEAN, DEVIATION = (
    np.array([0.485, 0.456, 0.406]),
    np.array([0.229, 0.224, 0.225]),
)  # of ImageNet, as PyTorch subtracts it
RESCALINGS = {"one scale": (np.full(3, 2.0), np.full(3, -1.0)), "scales": (1 / DEVIATION, -MEAN / DEVIATION)}
FORMATS = ["tflite-int8", "onnx-int8", "tflite-int16x8"]
Answers = Callable[..., np.ndarray]


class Padded(NamedTuple):
    """A network that pads, its folded copy, photos, and its answers to them."""

    network: Any
    folded: Folded
    photos: np.ndarray
    probabilities: np.ndarray


def _pictures(count: int, seed: int) -> np.ndarray:
    """Smooth and bright ones: zeros around them are far from their values."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(120, 256, (count, 4, 4, 3)).repeat(SIZE // 4, 1).repeat(SIZE // 4, 2)
    pixels = np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)
    pixels[0, 0, :2] = [[0] * 3, [255] * 3]  # as the representative data set of an export
    return pixels


def _network(rescaling: str) -> Any:
    """The start of MobileNetV2 with PyTorch's padding: the same on all sides, which no padding="same" is at stride 2."""
    import tf_keras
    from tf_keras import layers

    def normalized(x: Any) -> Any:
        return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.0)(x))

    tensorflow(seed=0)
    images = layers.Input((SIZE, SIZE, 3), name="images")
    x = layers.DepthwiseConv2D(1, trainable=False, name="rescale")(images)
    x = layers.ZeroPadding2D(1, name="pad_stem")(x)
    x = normalized(layers.Conv2D(8, 3, 2, use_bias=False, name="stem")(x))
    before = x
    x = normalized(layers.DepthwiseConv2D(3, 1, use_bias=False)(layers.ZeroPadding2D(1, name="pad_first")(x)))
    x = layers.BatchNormalization(momentum=0.0)(layers.Conv2D(8, 1, use_bias=False)(x))
    x = layers.Add()([before, x])
    x = normalized(layers.Conv2D(24, 1, use_bias=False)(x))
    x = normalized(layers.DepthwiseConv2D(3, 2, use_bias=False)(layers.ZeroPadding2D(1, name="pad_second")(x)))
    x = normalized(layers.Conv2D(100, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    network = tf_keras.Model(images, layers.Dense(4, name="logits")(x))
    scale, offset = RESCALINGS[rescaling]
    network.get_layer("rescale").set_weights([scale.reshape(1, 1, 3, 1), offset])
    images = _pictures(48, seed=1).astype(np.float32) / 255
    network(images, training=True)  # takes the statistics of the photos
    kernel, bias = network.get_layer("logits").get_weights()
    middle = network(images).numpy().mean(axis=0)
    network.get_layer("logits").set_weights([4 * kernel, bias - 4 * middle])  # answers that differ from photo to photo
    return network


@pytest.fixture(scope="module", params=RESCALINGS)
def padded(request: pytest.FixtureRequest) -> Padded:
    import tensorflow as tf

    network, new = _network(request.param), _pictures(24, seed=2)
    probabilities = tf.nn.softmax(network(new.astype(np.float32) / 255)).numpy()
    assert probabilities.std(axis=0).min() > 0.03
    return Padded(network, fold(network), new, probabilities)


def _input(padded: Padded, *, bounds_pairs: bool, **options: Any) -> ConverterInput:
    photos = _pictures(48, seed=1)
    prepared = fit_network(padded.folded.copied(), photos, "mse", Silent(), bounds_pairs=bounds_pairs, **options)
    return ConverterInput(Path("none"), SIZE, "{}", photos, prepared, bounds_pairs=bounds_pairs)


def _options(form: Any, model: ConverterInput) -> dict[str, Any]:
    assert model.prepared is not None
    codes = model.prepared.input_codes
    return {**form.options, "input_scale": codes.scale, "input_zero_point": codes.zero_point}


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_is_fitted_keeps_its_promise_and_answers_as_the_network(
    padded: Padded, name: str, tmp_path: Path, answers_of: Answers
) -> None:
    form, model = formats()[name], _input(padded, bounds_pairs=name.startswith("onnx"))
    path = tmp_path / form.file
    path.write_bytes(form.convert(model))
    found = audit(path)
    options = _options(form, model) if "int8" in name else form.options
    assert broken_promises(found, form.promise, form.file, options) == []
    assert np.abs(answers_of(path, padded.photos) - padded.probabilities).max() < 0.03
    counts = {operator.name: operator.count for operator in found.operators}
    if name == "tflite-int8":  # at stride 1 the padding is what a convolution does by itself
        assert counts["PAD"] == 2
    if name == "onnx-int8":
        assert "Pad" not in counts
    drops_rescale = padded.folded.network.layers[1].name == "pad_stem"
    assert drops_rescale == (padded.folded.zero_byte == pytest.approx(127.5))


def test_zeros_around_the_input_are_the_zero_point_of_the_pixels(padded: Padded) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = _input(padded, bounds_pairs=False)
    assert model.prepared is not None
    if padded.folded.network.layers[1].name == "pad_stem":
        assert model.prepared.ranges["pad_stem"] == model.prepared.input_codes.range
    interpreter = Interpreter(
        model_content=formats()["tflite-int8"].convert(model),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], padded.photos[:1])
    interpreter.invoke()
    pads = [one for one in interpreter._get_ops_details() if one["op_name"] == "PAD"]
    details = {one["index"]: one for one in interpreter.get_tensor_details()}
    assert pads
    for pad in pads:
        read, made = (details[int(places[0])] for places in (pad["inputs"], pad["outputs"]))
        assert read["quantization"] == made["quantization"]
        values = interpreter.get_tensor(made["index"])
        assert np.all(values[:, 0] == made["quantization"][1])
        assert np.array_equal(values[:, 1:-1, 1:-1], interpreter.get_tensor(read["index"]))


@pytest.mark.long
def test_training_and_ranges_of_few_bits_keep_one_scale_on_both_sides_of_the_padding(
    padded: Padded, tmp_path: Path, answers_of: Answers
) -> None:
    model = _input(padded, bounds_pairs=False, grids={"stem": Grid(scale_bits=4)})
    assert model.prepared is not None
    student = quantized(model.prepared.network, model.prepared.ranges)
    short = with_short_ranges(model.prepared, 2)
    for prepared, trained in ((model.prepared, student), (short, quantized(short.network, short.ranges))):
        logits = trained(prepared.input_codes.real(padded.photos), training=True).numpy()
        path = tmp_path / "model.tflite"
        path.write_bytes(formats()["tflite-int8"].convert(replace(model, prepared=prepared)))
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert np.abs(answers_of(path, padded.photos) - probabilities).max() < 0.03
        names = {operator.name: operator.count for operator in audit(path).operators}
        assert names["QUANTIZE"] == 1  # the pixels; none around a padding


@pytest.mark.long
@pytest.mark.parametrize("family", ["tflite", "onnx"])
@pytest.mark.parametrize("float_layers", [("stem", "re_lu"), ("rescale", "pad_stem", "stem", "re_lu")])
def test_a_mixed_file_pads_in_float_and_in_integers(
    padded: Padded, family: str, float_layers: tuple[str, ...], tmp_path: Path, answers_of: Answers
) -> None:
    names = [layer.name for layer in padded.folded.network.layers]
    relus = [name for name in names if name.startswith("re_lu")]
    chosen = tuple(relus[0] if name == "re_lu" else name for name in float_layers if name in names or name == "re_lu")
    model = _input(padded, bounds_pairs=family == "onnx", float_layers=chosen)
    form = mixed_formats()[f"{family}-int8"](model)
    path = tmp_path / form.file
    path.write_bytes(form.convert(model))
    assert broken_promises(audit(path), form.promise, form.file, _options(form, model)) == []
    assert np.abs(answers_of(path, padded.photos) - padded.probabilities).max() < 0.05


@pytest.mark.parametrize("is_linear", [False, True])
@pytest.mark.parametrize("around", [1, ((0, 2), (3, 1))])
def test_zeros_before_a_maximum_count_where_all_values_are_below_zero(is_linear: bool, around: Any) -> None:
    import onnxruntime
    import tf_keras
    from tf_keras import layers

    tensorflow(seed=0)
    images = layers.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(4, 3, 2, bias_initializer="ones", activation="linear" if is_linear else "relu")(images)
    maps = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(around)(-x if is_linear else x))
    network = tf_keras.Model(images, layers.Flatten()(maps))
    photos = _pictures(4, seed=3).astype(np.float32) / 255
    for _ in range(2):
        graph = of_function(network, SIZE, "float32")
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        for photo in photos:
            (found,) = session.run(None, {INPUT: photo[None]})
            np.testing.assert_allclose(found, network(photo[None]).numpy(), atol=1e-5)
        paddings_to_convolutions(graph)
