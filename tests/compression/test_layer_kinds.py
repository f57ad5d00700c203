"""What the row of a kind of layer says is true of a small network that has such a layer.

A new kind needs one line in ``_examples()``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from tledge.compression import PreparedNetwork, layer_kinds
from tledge.compression.codes import Grid
from tledge.compression.fitting import fit_network
from tledge.compression.folding import Folded, fold
from tledge.compression.layer_kinds import LayerKind, kinds
from tledge.compression.layer_roles import find_kind, is_fused, is_weighted, kernel_of, kind_of, may_merge
from tledge.compression.qat import quantized
from tledge.compression.tfmot_scheme import Scheme
from tledge.progress import Silent

from .conftest import SIZE, in_codes, pictures

Maps = Any


def _examples() -> dict[str, list[Callable[[Maps], Any]]]:
    """Steps from maps (N, 7, 7, 8) to maps or vectors, each with a layer of the kind by whose name it stands."""
    from tf_keras import layers

    def conv(x: Maps, **options: Any) -> Maps:
        return layers.Conv2D(6, 3, **options)(x)

    return {
        "input": [lambda x: x],
        "idle": [layers.Dropout(0.5), layers.GaussianNoise(0.5)],
        "batch_normalization": [
            lambda x: layers.BatchNormalization()(conv(x, use_bias=False)),
            lambda x: layers.BatchNormalization(scale=False)(layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
            lambda x: layers.ReLU()(
                layers.BatchNormalization(center=False)(layers.Dense(6)(layers.GlobalAveragePooling2D()(x)))
            ),
        ],
        "conv2d": [
            layers.Conv2D(6, 4, 2, "same", use_bias=False),  # one more row of padding below than above
            layers.Conv2D(6, 1, activation="relu"),
            layers.Conv2D(6, 3, dilation_rate=2),
        ],
        "depthwise_conv2d": [
            layers.DepthwiseConv2D(3, 2, "same", use_bias=False),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu6"),
        ],
        "dense": [lambda x: layers.Dense(6, "relu", use_bias=False)(layers.GlobalAveragePooling2D()(x))],
        "relu": [
            lambda x: layers.ReLU()(conv(x)),
            lambda x: layers.ReLU(6.0)(layers.DepthwiseConv2D(3)(x)),
            lambda x: layers.Activation("relu6")(layers.Dense(6)(layers.GlobalAveragePooling2D()(x))),
        ],
        "add": [lambda x: layers.Add()([x, layers.Conv2D(8, 3, padding="same")(x)])],
        "max_pooling2d": [layers.MaxPooling2D(2), layers.MaxPooling2D(3, 1, "same")],
        "zero_padding2d": [
            lambda x: conv(layers.ZeroPadding2D(1)(x), strides=2),  # as PyTorch pads
            lambda x: layers.DepthwiseConv2D(3, 2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x)),
            lambda x: conv(layers.ZeroPadding2D(1)(x)),  # what padding="same" is
            lambda x: layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x)),
            lambda x: layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(conv(x))),  # some values are below zero
            lambda x: layers.ZeroPadding2D(((0, 2), (3, 1)))(conv(x)),
        ],
        "global_average_pooling2d": [layers.GlobalAveragePooling2D()],
        "flatten": [layers.Flatten()],
    }


EXAMPLES = [(name, number) for name, steps in _examples().items() for number in range(len(steps))]
PHOTOS = pictures(24, seed=2)
AROUND_TFLITE = Counter({"QUANTIZE": 1, "SOFTMAX": 1})  # pixels to int8, and the logits to probabilities
AROUND_ONNX = Counter({"Softmax": 1})
NO_ARITHMETIC = {"QuantizeLinear", "DequantizeLinear", "Transpose", "Squeeze"}  # of ONNX: quantized values and layout


class Made(NamedTuple):
    """A small network with a layer of one kind, what it answers to ``PHOTOS`` in float, and what was made of it."""

    kind: LayerKind
    network: Any
    probabilities: np.ndarray
    folded: Folded
    prepared: PreparedNetwork


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda one: f"{one[0]}-{one[1]}")
def made(request: pytest.FixtureRequest) -> Made:
    import tensorflow as tf
    import tf_keras
    from tf_keras import layers

    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    name, number = request.param
    images = layers.Input((SIZE, SIZE, 3))
    x = _examples()[name][number](layers.Conv2D(8, 3, 2, activation="relu", name="stem")(images))
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D()(x)
    network = tf_keras.Model(images, layers.Dense(4, name="logits")(x))
    rng = np.random.default_rng(0)
    for layer in network.layers:  # biases and statistics as training leaves them, none of them zero or one
        values = layer.get_weights()
        layer.set_weights([rng.uniform(0.2, 0.9, one.shape) if one.ndim == 1 else one for one in values])
    probabilities = tf.nn.softmax(network(PHOTOS.astype(np.float32) / 255)).numpy()
    return Made(
        kinds()[name], network, probabilities, fold(network), fit_network(fold(network), PHOTOS, "mse", Silent())
    )


def _of_kind(network: Any, kind: LayerKind) -> list[Any]:
    return [layer for layer in network.layers if find_kind(layer) is kind]


def _outputs(network: Any, values: np.ndarray) -> dict[str, np.ndarray]:
    """What each layer reads, joined into one vector, and what it makes of it, by ``NAME/read`` and ``NAME``."""
    import tf_keras

    found = tf_keras.Model(network.input, [layer.output for layer in network.layers])(values, training=False)
    outputs = {layer.name: value.numpy() for layer, value in zip(network.layers, found, strict=True)}
    for layer in network.layers:
        before = [outputs[node.layer.name].ravel() for node in layer.inbound_nodes[0].parent_nodes]
        outputs[f"{layer.name}/read"] = np.concatenate([np.empty(0, np.float32), *before])
    return outputs


def _operators(network: Any, field: str) -> Counter[str]:
    """The operators that the rows of a network's layers name for a file."""
    return Counter(name for layer in network.layers for name in getattr(kind_of(layer), field))


def _merging(network: Any, field: str) -> Counter[str]:
    """Those of them that a converter may make part of other operators."""
    return Counter(name for layer in network.layers if may_merge(layer) for name in getattr(kind_of(layer), field))


def test_every_kind_has_an_example() -> None:
    assert kinds().keys() == dict(EXAMPLES).keys()


def test_a_kind_is_named_after_its_file() -> None:
    import pkgutil

    assert {info.name for info in pkgutil.iter_modules(layer_kinds.__path__)} == kinds().keys()


def test_what_a_kind_is_part_of_is_known() -> None:
    assert {other for kind in kinds().values() for other in kind.part_of} <= kinds().keys()


def test_the_layer_is_found_by_its_class_and_its_settings(made: Made) -> None:
    # An activation inside a layer is one of its own only in the folded network.
    assert _of_kind(made.network, made.kind) or _of_kind(made.folded.network, made.kind)


def test_the_folded_network_answers_as_tensorflow_does(made: Made) -> None:
    folded = made.folded
    expected = made.network(PHOTOS.astype(np.float32) / 255, training=False).numpy()
    found = folded.network(folded.images(PHOTOS), training=False).numpy()
    assert np.abs(found - expected).max() < 1e-5 * max(1, np.ptp(expected))
    # It is there by an operator of its own or by that of the layer before it, or else it is gone.
    is_there = bool(made.kind.tflite or made.kind.part_of) or made.kind.name == "input"
    assert bool(_of_kind(folded.network, made.kind)) == is_there


def test_patches_times_weights_are_what_tensorflow_computes(made: Made) -> None:
    outputs = _outputs(made.folded.network, made.folded.images(PHOTOS))
    for layer in filter(is_weighted, made.folded.network.layers):
        (before,) = [node.layer.name for node in layer.inbound_nodes[0].parent_nodes]
        own, (weights, bias) = kernel_of(layer), layer.get_weights()
        num_groups = own.num_groups(layer)
        by_group = own.by_group(weights, num_groups)
        read = own.patches(layer, outputs[before], num_groups, 1)
        found = np.einsum("ngk,gko->ngo", read, by_group).reshape(-1, len(bias)) + bias
        expected = outputs[layer.name].reshape(-1, len(bias))
        np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.ptp(expected)))
        assert np.array_equal(own.from_groups(by_group, weights.shape), weights)


def test_values_pass_through_unchanged_where_the_row_says_so(made: Made) -> None:
    outputs = _outputs(made.folded.network, made.folded.images(PHOTOS))
    for layer in _of_kind(made.folded.network, made.kind):
        kept = np.isin(outputs[layer.name], [0, *outputs[f"{layer.name}/read"]]).all()  # padding is zero
        has_one_input = len(layer.inbound_nodes[0].parent_nodes) == 1
        # Several inputs have scales of their own, and a layer that is part of another's operator reads no quantized values.
        if made.kind.keeps_values or (made.kind.tflite and has_one_input):
            assert kept == made.kind.keeps_values


def test_weights_are_fitted_and_every_output_has_a_range(made: Made) -> None:
    prepared, network = made.prepared, made.prepared.network
    for layer in filter(is_weighted, network.layers):
        kernel = layer.get_weights()[0]
        codes = Grid().codes_of(layer, kernel)
        np.testing.assert_allclose(codes, np.round(codes), atol=1e-3)
        largest = np.abs(codes).max(axis=kernel_of(layer).summed_axes(kernel.ndim))
        np.testing.assert_allclose(largest, 127, rtol=1e-5)
    assert prepared.ranges.keys() == {layer.name for layer in network.layers[1:] if not is_fused(layer)}
    for layer in network.layers:
        if kind_of(layer).keeps_values:
            (before,) = [node.layer.name for node in layer.inbound_nodes[0].parent_nodes]
            assert prepared.ranges[layer.name] == prepared.ranges[before]
    expected = made.network(PHOTOS.astype(np.float32) / 255, training=False).numpy()
    assert np.abs(in_codes(prepared, PHOTOS) - expected).max() < 0.1 * np.ptp(expected)


def test_training_goes_through_the_same_arithmetic(made: Made) -> None:
    student = quantized(made.prepared.network, made.prepared.ranges)
    found = student(made.prepared.input_codes.real(PHOTOS), training=True).numpy()
    expected = in_codes(made.prepared, PHOTOS)
    assert np.abs(found - expected).max() < 0.02 * np.ptp(expected)
    scheme = Scheme(made.prepared.ranges, bounds_pairs=False, has_masks=False, grids={})
    for layer in filter(is_weighted, made.prepared.network.layers):
        ((kernel, quantizer),) = scheme.get_quantize_config(layer).get_weights_and_quantizers(layer)
        np.testing.assert_allclose(quantizer(kernel, True, {}), kernel, rtol=1e-5, atol=1e-7)


def test_the_tflite_file_has_the_operators_that_the_rows_name(made: Made) -> None:
    from tledge.audit.tflite import audit_tflite
    from tledge.exporters import tflite_prepared
    from tledge.runtimes.litert import LiteRTSession

    model = tflite_prepared.convert_prepared(made.prepared, SIZE, PHOTOS)
    found = Counter({operator.name: operator.count for operator in audit_tflite(model).operators})
    most = _operators(made.folded.network, "tflite") + AROUND_TFLITE
    assert most - _merging(made.folded.network, "tflite") <= found <= most
    session = LiteRTSession(model, num_threads=1)
    answers = np.stack([session.predict(photo[None]) for photo in PHOTOS])
    assert np.abs(answers - made.probabilities).max() < 0.03


def test_the_onnx_file_has_the_operators_that_the_rows_name(made: Made) -> None:
    from tledge.audit.onnx import audit_onnx
    from tledge.exporters import onnx_graph, onnx_int8, onnx_tidy
    from tledge.runtimes.onnx_runtime import OnnxRuntimeSession

    prepared = fit_network(fold(made.network), PHOTOS, "mse", Silent(), bounds_pairs=True)
    graph = onnx_graph.of_function(prepared.probabilities, SIZE, "float32")
    model = onnx_int8.quantize(graph, prepared.input_codes.real(PHOTOS), prepared, bounds_pairs=True)
    onnx_tidy.tidy(model)
    found = Counter(node.op_type for node in model.graph.node if node.op_type not in NO_ARITHMETIC)
    most = _operators(made.folded.network, "onnx") + AROUND_ONNX
    assert most - _merging(made.folded.network, "onnx") <= found <= most
    assert set(audit_onnx(model.SerializeToString()).names_of("float")) <= {"Softmax"}
    session = OnnxRuntimeSession(model.SerializeToString(), 1)
    answers = np.stack([session.predict(photo[None]) for photo in PHOTOS])
    assert np.abs(answers - made.probabilities).max() < 0.03
