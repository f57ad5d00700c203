"""A tidy network gives the answers of the network that it was made from, and its layers are those that quantizers take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tledge.backbones.described import IMAGES, DescribedLayer, DescribedNetwork
from tledge.importing.shapes import shapes_of
from tledge.importing.tidy import tidy, with_input

SIZE = 12
RNG = np.random.default_rng(0)


def _normal(*shape: int) -> Any:
    return RNG.normal(scale=0.5, size=shape).astype(np.float32)


def _layer(name: str, kind: str, reads: str | tuple[str, ...], *weights: Any, **config: Any) -> DescribedLayer:
    return DescribedLayer(name, kind, config, (reads,) if isinstance(reads, str) else reads, weights)


def _conv(name: str, reads: str, given: int, filters: int, size: int = 3, **config: Any) -> DescribedLayer:
    kernel = _normal(size, size, given // config.get("groups", 1), filters)
    return _layer(name, "Conv2D", reads, kernel, _normal(filters), filters=filters, kernel_size=[size, size], **config)


def _depthwise(name: str, reads: str, channels: int, size: int = 3, **config: Any) -> DescribedLayer:
    weights = (_normal(size, size, channels, 1), _normal(channels))
    return _layer(name, "DepthwiseConv2D", reads, *weights, kernel_size=[size, size], **config)


def _dense(name: str, reads: str, given: int, units: int, use_bias: bool = True) -> DescribedLayer:
    weights = (_normal(given, units), _normal(units)) if use_bias else (_normal(given, units),)
    return _layer(name, "Dense", reads, *weights, units=units, use_bias=use_bias)


def _head(reads: str, channels: int) -> tuple[DescribedLayer, ...]:
    return _layer("pool", "GlobalAveragePooling2D", reads), _dense("out", "pool", channels, 4)


def _network(*layers: DescribedLayer, size: int = SIZE) -> DescribedNetwork:
    return DescribedNetwork(size, layers)


def _answers(network: DescribedNetwork, images: Any) -> Any:
    return np.asarray(network.graph()(images, training=False))


def _images(size: int = SIZE) -> Any:
    return np.random.default_rng(1).uniform(0, 1, (3, size, size, 3)).astype(np.float32)


def _tidied(network: DescribedNetwork) -> DescribedNetwork:
    """Tidy a network and check that it answers the same, and that doing it again changes nothing."""
    made = tidy(network)
    images = _images(network.input_size)
    expected = _answers(network, images)
    np.testing.assert_allclose(_answers(made, images), expected, atol=1e-5 * np.ptp(expected))
    assert [(one.name, one.kind) for one in tidy(made).layers] == [(one.name, one.kind) for one in made.layers]
    assert made.layers[-1].name == "logits"
    return made


def _kinds(network: DescribedNetwork) -> list[str]:
    return [layer.kind for layer in network.layers]


@pytest.mark.parametrize(
    ("size", "pads", "strides"), [(12, [0, 1], 2), (13, [1, 1], 2), (12, [1, 1], 1), (11, [1, 1], 2)]
)
def test_zeros_that_same_padding_would_read_go_into_the_convolution(size: int, pads: list[int], strides: int) -> None:
    pad = _layer("pad", "ZeroPadding2D", "first", padding=[pads, pads])
    for reader in (_conv("second", "pad", 4, 6, strides=strides), _depthwise("second", "pad", 4, strides=strides)):
        channels = reader.weights[1].shape[0]
        made = _tidied(
            _network(_conv("first", IMAGES, 3, 4, padding="same"), pad, reader, *_head("second", channels), size=size)
        )
        assert "ZeroPadding2D" not in _kinds(made)


@pytest.mark.parametrize(
    ("size", "pads", "strides"), [(12, [1, 1], 2), (12, [1, 0], 2), (13, [0, 1], 2), (12, [2, 2], 1)]
)
def test_other_zeros_stay(size: int, pads: list[int], strides: int) -> None:
    layers = (
        _layer("pad", "ZeroPadding2D", IMAGES, padding=[pads, pads]),
        _conv("second", "pad", 3, 6, strides=strides),
    )
    assert "ZeroPadding2D" in _kinds(_tidied(_network(*layers, *_head("second", 6), size=size)))


def test_zeros_that_two_layers_read_stay_for_the_one_that_needs_them() -> None:
    pad = _layer("pad", "ZeroPadding2D", IMAGES, padding=[[1, 1], [1, 1]])
    pool = _layer("most", "MaxPooling2D", "pad", pool_size=[3, 3], strides=[1, 1])
    joined = _layer("both", "Concatenate", ("conv", "most"), axis=-1)
    made = _tidied(_network(pad, _conv("conv", "pad", 3, 4), pool, joined, *_head("both", 7)))
    assert _kinds(made).count("ZeroPadding2D") == 1
    assert next(layer for layer in made.layers if layer.name == "conv").reads == (IMAGES,)


def test_layers_that_scale_the_photo_become_one() -> None:
    layers = (
        _layer("divide", "Rescaling", IMAGES, scale=0.5, offset=0.1),
        _layer("each", "Rescaling", "divide", scale=[1.0, 2.0, 3.0], offset=[0.0, 0.5, 1.0]),
        _layer(
            "normal",
            "BatchNormalization",
            "each",
            _normal(3),
            _normal(3),
            _normal(3),
            abs(_normal(3)) + 1,
            epsilon=1e-3,
        ),
        _depthwise("rescale", "normal", 3, size=1),
        _conv("first", "rescale", 3, 4),
    )
    made = _tidied(_network(*layers, *_head("first", 4)))
    assert [(one.name, one.kind) for one in made.layers[:2]] == [("rescale", "DepthwiseConv2D"), ("first", "Conv2D")]
    assert made.layers[0].config == {"kernel_size": 1}


def test_a_photo_that_two_layers_read_is_scaled_once() -> None:
    layers = (
        _layer("half", "Rescaling", IMAGES, scale=0.5, offset=0.1),
        _conv("left", "half", 3, 4),
        _conv("right", "half", 3, 4),
        _layer("both", "Add", ("left", "right")),
    )
    made = _tidied(_network(*layers, *_head("both", 4)))
    assert {one.reads for one in made.layers if one.name in ("left", "right")} == {("rescale",)}


def test_a_name_that_is_taken_is_left_to_the_layer_of_tledge() -> None:
    layers = (
        _layer("half", "Rescaling", IMAGES, scale=0.5, offset=0.1),
        _conv("rescale", "half", 3, 4),
        _layer("logits", "ReLU", "rescale"),
        *_head("logits", 4),
    )
    made = _tidied(_network(*layers))
    assert [one.name for one in made.layers] == ["rescale", "rescale_inside", "logits_inside", "pool", "logits"]


def test_the_preparation_is_put_in_front_once_and_again() -> None:
    network = tidy(
        _network(_layer("half", "Rescaling", IMAGES, scale=0.5, offset=0.1), _conv("c", "half", 3, 4), *_head("c", 4))
    )
    images, scale, offset = _images(), (2.0, 3.0, 4.0), (0.1, 0.2, 0.3)
    expected = _answers(network, (images * np.float32(scale) + np.float32(offset))[..., ::-1])
    made = with_input(network, scale, offset, is_bgr=True)
    np.testing.assert_allclose(_answers(made, images), expected, atol=1e-5 * np.ptp(expected))
    assert [one.name for one in made.layers] == ["rescale", "c", "pool", "logits"]
    same = with_input(network, (1.0,) * 3, (0.0,) * 3, is_bgr=False)
    np.testing.assert_allclose(_answers(same, images), _answers(network, images), atol=1e-6)


def test_an_input_that_needs_no_scaling_has_no_layer_for_it() -> None:
    network = tidy(
        _network(
            _layer("scale", "Rescaling", IMAGES, scale=1 / 255, offset=0.0), _conv("c", "scale", 3, 4), *_head("c", 4)
        )
    )
    assert [one.name for one in with_input(network, (255.0,) * 3, (0.0,) * 3, is_bgr=False).layers] == [
        "c",
        "pool",
        "logits",
    ]


def test_channels_that_no_single_kernel_reads_are_exchanged_by_a_convolution() -> None:
    network = tidy(_network(_depthwise("d", IMAGES, 3), *_head("d", 3)))
    images = _images()
    expected = _answers(network, images[..., ::-1])
    made = with_input(network, (1.0,) * 3, (0.0,) * 3, is_bgr=True)
    np.testing.assert_allclose(_answers(made, images), expected, atol=1e-5)
    assert [one.name for one in made.layers] == ["channels", "d", "pool", "logits"]


def test_kernels_behind_zeros_take_the_other_order_too() -> None:
    pad = _layer("pad", "ZeroPadding2D", IMAGES, padding=[[1, 1], [1, 1]])
    network = tidy(_network(pad, _conv("c", "pad", 3, 4, strides=2), *_head("c", 4)))
    images = _images()
    made = with_input(network, (2.0,) * 3, (-1.0,) * 3, is_bgr=True)
    expected = _answers(network, images[..., ::-1] * 2 - 1)
    np.testing.assert_allclose(_answers(made, images), expected, atol=1e-5 * np.ptp(expected))
    assert _kinds(made)[:3] == ["DepthwiseConv2D", "ZeroPadding2D", "Conv2D"]


@pytest.mark.parametrize(
    "pool",
    [
        _layer("pool", "GlobalAveragePooling2D", "c", keepdims=True),
        _layer("pool", "AveragePooling2D", "c", pool_size=[10, 10]),
    ],
)
def test_convolutions_on_maps_of_one_place_become_dense_layers(pool: DescribedLayer) -> None:
    layers = (
        _conv("c", IMAGES, 3, 4),
        pool,
        _conv("hidden", "pool", 4, 5, size=1),
        _layer("relu", "ReLU", "hidden", max_value=6.0),
        _layer("last", "Conv2D", "relu", _normal(1, 1, 5, 3), filters=3, kernel_size=[1, 1], use_bias=False),
        _layer("flat", "Reshape", "last", target_shape=[3]),
    )
    made = _tidied(_network(*layers))
    assert _kinds(made) == ["Conv2D", "GlobalAveragePooling2D", "Dense", "ReLU", "Dense"]
    assert not made.layers[-1].weights[1].any()


def test_gates_on_maps_of_one_place_take_vectors_too() -> None:
    layers = (
        _conv("c", IMAGES, 3, 4),
        _layer("pool", "GlobalAveragePooling2D", "c", keepdims=True),
        _conv("hidden", "pool", 4, 5, size=1),
        _layer("gate", "Activation", "hidden", activation="sigmoid"),
        _layer("gated", "Multiply", ("hidden", "gate")),
        _layer("both", "Concatenate", ("gated", "pool"), axis=3),
        _conv("last", "both", 9, 3, size=1),
        _layer("flat", "Flatten", "last"),
    )
    made = _tidied(_network(*layers))
    assert _kinds(made)[1:] == ["GlobalAveragePooling2D", "Dense", "Activation", "Multiply", "Concatenate", "Dense"]


def test_maps_of_one_place_that_other_layers_need_stay() -> None:
    layers = (
        _conv("c", IMAGES, 3, 4),
        _layer("pool", "GlobalAveragePooling2D", "c", keepdims=True),
        _layer("gated", "Multiply", ("c", "pool")),
        _layer("flat", "Flatten", "pool"),
        _dense("out", "flat", 4, 4),
        _layer("vector", "GlobalAveragePooling2D", "gated"),
        _layer("sum", "Add", ("vector", "out")),
    )
    assert "Flatten" in _kinds(_tidied(_network(*layers)))


def test_a_flatten_of_larger_maps_stays() -> None:
    made = _tidied(_network(_conv("c", IMAGES, 3, 4), _layer("flat", "Flatten", "c"), _dense("out", "flat", 400, 3)))
    assert _kinds(made) == ["Conv2D", "Flatten", "Dense"]


def test_a_reshape_to_maps_of_one_place_goes_into_the_pooling() -> None:
    layers = (
        _conv("c", IMAGES, 3, 4),
        _layer("squeeze", "GlobalAveragePooling2D", "c"),
        _layer("maps", "Reshape", "squeeze", target_shape=[1, 1, 4]),
        _conv("gate", "maps", 4, 4, size=1),
        _layer("gated", "Multiply", ("c", "gate")),
    )
    made = _tidied(_network(*layers, *_head("gated", 4)))
    assert _kinds(made) == ["Conv2D", "GlobalAveragePooling2D", "Conv2D", "Multiply", "GlobalAveragePooling2D", "Dense"]


def test_dense_layers_in_a_row_become_one_and_the_last_one_has_a_bias() -> None:
    layers = (
        _layer("pool", "GlobalAveragePooling2D", IMAGES),
        _dense("a", "pool", 3, 5),
        _dense("b", "a", 5, 4, use_bias=False),
    )
    made = _tidied(_network(*layers))
    assert _kinds(made) == ["GlobalAveragePooling2D", "Dense"]
    assert made.layers[-1].weights[1].any()


def test_scaling_inside_the_network_becomes_a_depthwise_convolution() -> None:
    layers = (_conv("c", IMAGES, 3, 4), _layer("s", "Rescaling", "c", scale=[1.0, 2.0, 3.0, 4.0], offset=0.5))
    made = _tidied(_network(*layers, *_head("s", 4)))
    assert _kinds(made) == ["Conv2D", "DepthwiseConv2D", "GlobalAveragePooling2D", "Dense"]


def test_shapes_are_those_of_tensorflow() -> None:
    layers = (
        _conv("valid", IMAGES, 3, 4, strides=[2, 1]),
        _conv("dilated", IMAGES, 3, 4, dilation_rate=[2, 3], padding="same"),
        _conv("wide", "dilated", 4, 8, size=5, groups=2, strides=3, padding="same"),
        _layer("pad", "ZeroPadding2D", "dilated", padding=[[1, 2], [0, 3]]),
        _layer("mean", "AveragePooling2D", "pad", pool_size=[3, 2], strides=[2, 2], padding="same"),
        _layer("most", "MaxPooling2D", "pad"),
        _layer("turned", "Permute", "pad", dims=[3, 1, 2]),
        _layer("flat", "Flatten", "mean"),
        _layer("maps", "Reshape", "flat", target_shape=[-1, 4]),
        _layer("one", "GlobalMaxPooling2D", "wide", keepdims=True),
        _layer("gated", "Multiply", ("wide", "one")),
        _layer("joined", "Concatenate", ("gated", "wide"), axis=3),
        _depthwise("each", "joined", 16, padding="same"),
        _layer("pool", "GlobalAveragePooling2D", "each"),
        _dense("out", "pool", 16, 3),
    )
    network = _network(*layers)
    shapes = shapes_of(network)
    from tledge.backbones.described import rebuild

    for layer in rebuild(network.structure()).layers[1:]:
        assert shapes[layer.name] == tuple(layer.output.shape[1:]), layer.name
