"""Fitted weights are codes, and the quantized network answers more as the float one does than with rounded weights."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tledge.backbones import open_backbone
from tledge.cache import cache_root
from tledge.classifier.network import HeadShape, with_head
from tledge.compression import PreparedNetwork, fitting
from tledge.compression.fitting import fit_network
from tledge.compression.folding import fold
from tledge.compression.layer_kinds import kinds
from tledge.compression.layer_roles import is_weighted
from tledge.compression.least_squares import Moments, best
from tledge.compression.ranges import BINS
from tledge.datasets import open_source
from tledge.errors import ArtifactError, EnvironmentFault
from tledge.preprocessing import resize, to_rgb
from tledge.progress import Silent

from .conftest import in_codes


def _weighted(network: Any) -> list[Any]:
    return [layer for layer in network.layers if is_weighted(layer)]


def _by_channel(layer: Any) -> np.ndarray:
    """(weights of a channel, channels)."""
    kernel = layer.get_weights()[0]
    if type(layer).__name__ == "DepthwiseConv2D":
        kernel = np.squeeze(kernel, -1)
    return kernel.reshape(-1, kernel.shape[-1])


def _rounded(network: Any) -> None:
    """The nearest codes, in place."""
    for layer in _weighted(network):
        kernel, bias = layer.get_weights()
        flat = _by_channel(layer)
        scale = np.abs(flat).max(0) / 127
        layer.set_weights([(np.round(flat / scale) * scale).reshape(kernel.shape), bias])


@pytest.fixture
def prepared(network: Any, photos: np.ndarray) -> PreparedNetwork:
    return fit_network(fold(network), photos, "mse", Silent())


def test_every_weight_is_a_code_times_the_scale_of_its_channel(prepared: PreparedNetwork) -> None:
    layers = _weighted(prepared.network)
    assert len(layers) == 11
    for layer in layers:
        flat = _by_channel(layer)
        codes = flat / (np.abs(flat).max(0) / 127)
        assert np.abs(codes - np.round(codes)).max() < 1e-3, layer.name
        assert (np.abs(codes).max(0) > 126.9).all(), layer.name


@pytest.mark.long
def test_features_of_new_photos_are_nearer_to_the_float_networks_than_with_rounded_weights() -> None:
    backbone = open_backbone("bundled")
    digits = itertools.islice(open_source("digits").photos(), 64)
    pixels = np.stack([resize(to_rgb(photo.data), backbone.input_size) for photo in digits])
    network, seen, new = backbone.flat(pixels[:16]).graph, pixels[:40], pixels[40:]
    folded = fold(network)
    expected = folded.network(folded.images(new)).numpy()
    prepared = fit_network(fold(network), seen, "mse", Silent())
    _rounded(folded.network)
    nearest = dataclasses.replace(prepared, network=folded.network)
    errors = [np.square(in_codes(one, new) - expected).mean() for one in (prepared, nearest)]
    assert errors[0] < errors[1]


def test_weights_are_left_as_they_were_trained_where_the_photos_say_too_little_to_fit_them() -> None:
    # Noise on both sides: what fits one half of it is of no use for the other.
    rng = np.random.default_rng(0)
    halves = [Moments(1, 40, 3) for _ in range(2)]
    trained = rng.normal(size=(1, 40, 3))
    for half in halves:
        inputs = rng.normal(size=(30, 1, 40)).astype(np.float32)
        half.shift = (np.zeros((1, 40), np.float32), np.zeros((1, 3), np.float32))
        half.add(inputs, (inputs @ trained + 4 * rng.normal(size=(30, 1, 3))).astype(np.float32).reshape(30, 1, 3))
    assert best(halves, trained) is trained


def test_ranges_are_of_what_is_coded_and_of_nothing_else(prepared: PreparedNetwork) -> None:
    # A convolution under a ReLU is never coded, and a maximum keeps the codes that it chooses from.
    blocks = [f"{name}_{number}" for number in range(4) for name in ("depthwise_relu", "project", "add")]
    assert list(prepared.ranges) == ["stem_relu", *blocks, "pool", "last/activation", "mean", "logits"]
    assert prepared.ranges["pool"] == prepared.ranges["add_3"]
    low, high = prepared.ranges["stem_relu"]
    assert low == 0
    assert 0 < high <= 6


def test_the_same_photos_give_the_same_weights(network: Any, photos: np.ndarray) -> None:
    first, second = (fit_network(fold(network), photos, "min-max", Silent()) for _ in range(2))
    assert first.ranges == second.ranges
    for one, other in zip(first.network.get_weights(), second.network.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_of_a_layer_with_very_many_inputs_only_the_bias_is_fitted(
    network: Any, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "MOST_INPUTS", 0)
    found = fit_network(fold(network), photos, "mse", Silent()).network
    nearest = fold(network).network
    _rounded(nearest)
    for one, other in zip(_weighted(found), _weighted(nearest), strict=True):
        assert np.allclose(one.get_weights()[0], other.get_weights()[0], atol=1e-6)
    assert not np.allclose(found.get_layer("last").get_weights()[1], nearest.get_layer("last").get_weights()[1])


def test_nothing_is_left_on_the_disk(network: Any, photos: np.ndarray) -> None:
    fit_network(fold(network), photos[:4], "min-max", Silent())
    assert not list((cache_root() / "scratch").iterdir())


def test_photos_may_be_read_one_at_a_time(network: Any, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    together = fit_network(fold(network), photos, "mse", Silent())
    monkeypatch.setattr(fitting, "_BATCH_BYTES", 1)
    alone = fit_network(fold(network), photos, "mse", Silent())
    for made in (alone, together):
        assert made.fitting.fitting != "least squares, 0 of 11 layers"
    # The first layer; sums in another order move a code here and there, and with it all that is fitted behind.
    one, other = (prepared.network.get_layer("stem").get_weights()[0] for prepared in (alone, together))
    assert np.abs(one - other).max() < 0.02 * np.abs(other).max()


@pytest.mark.parametrize("constant", [0.3, 0.77, 6.0])
def test_an_input_that_never_changes_moves_no_weight(constant: float) -> None:
    rng = np.random.default_rng(0)
    trained = rng.normal(size=(1, 9, 2))
    halves = [Moments(*trained.shape) for _ in range(2)]
    inputs = np.full((500, 1, 9), constant, np.float32)
    for half in halves:
        targets = rng.normal(2, 1e-3, (500, 1, 2)).astype(np.float32)
        half.shift = (inputs.mean(axis=0), targets.mean(axis=0))
        half.add(inputs, targets)
    assert np.abs(best(halves, trained) - trained).max() < 1e-3


def test_names_with_slashes_and_an_output_that_never_changes_are_no_trouble(photos: np.ndarray) -> None:
    import tf_keras
    from tf_keras import layers

    images = layers.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, bias_initializer=tf_keras.initializers.Constant(50.0), name="a/conv")(images)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0, name="a/relu")(x))
    prepared = fit_network(fold(tf_keras.Model(images, layers.Dense(2)(x))), photos, "mse", Silent())
    low, high = prepared.ranges["a/relu"]
    assert low == 0
    assert high == pytest.approx(6, rel=0.01)


@pytest.mark.parametrize("kind", ["residual", "lenet"])
def test_both_converters_write_what_was_prepared(
    kind: str, network: Any, photos: np.ndarray, tmp_path: Path, answers_of: Callable[..., np.ndarray]
) -> None:
    import tensorflow as tf

    from tledge.exporters import onnx_graph, onnx_int8, tflite_prepared

    if kind == "lenet":
        graph = open_backbone("lenet", 32).graph
        photos = np.repeat(np.repeat(photos, 2, 1), 2, 2)
        network = with_head(graph.input, graph.output, HeadShape((), 4, 0.0), 0)
        network.get_layer("logits").set_weights(
            [np.random.default_rng(0).normal(0, 0.3, (graph.output.shape[-1], 4)), np.zeros(4)]
        )
    folded = fold(network)
    expected = tf.nn.softmax(folded.network(folded.images(photos))).numpy()
    size = photos.shape[1]
    prepared = fit_network(fold(network), photos, "mse", Silent())
    (tmp_path / "model.tflite").write_bytes(tflite_prepared.convert_prepared(prepared, size, photos))
    bounded = fit_network(fold(network), photos, "mse", Silent(), bounds_pairs=True)
    graph = onnx_graph.of_function(bounded.probabilities, size, "float32")
    made = onnx_int8.quantize(graph, bounded.input_codes.real(photos), bounded, bounds_pairs=True)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    for name in ("model.tflite", "model.onnx"):
        assert np.abs(answers_of(tmp_path / name, photos) - expected).max() < 0.03, name


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(1, 1, 1), (1, 2, 1), (3, 1, 1), (3, 2, 1), (2, 2, 1), (3, 1, 2)]
)
@pytest.mark.parametrize("num_groups", [1, 2, 4])
@pytest.mark.parametrize("step", [1, 3])
def test_what_is_read_times_the_weights_is_what_the_layer_gives(
    padding: str, kernel: int, stride: int, dilation: int, num_groups: int, step: int
) -> None:
    """At each position, and at every third, in each direction; of 4 channels in 1 group, in 2, and depthwise."""
    import tf_keras
    from tf_keras import layers

    options = {"padding": padding, "dilation_rate": dilation}
    layer = (
        layers.DepthwiseConv2D(kernel, stride, **options)
        if num_groups == 4
        else layers.Conv2D(6, kernel, stride, groups=num_groups, **options)
    )
    images = np.random.default_rng(0).normal(size=(2, 13, 16, 4)).astype(np.float32)
    inputs = layers.Input(images.shape[1:])
    given = tf_keras.Model(inputs, layer(inputs))(images).numpy()[:, ::step, ::step]
    own = kinds()["depthwise_conv2d" if num_groups == 4 else "conv2d"].kernel
    read = own.patches(layer, tf_keras.backend.constant(images), num_groups, step)
    found = np.einsum("ngk,gko->ngo", read, own.by_group(layer.get_weights()[0], num_groups))
    np.testing.assert_allclose(found.reshape(-1, given.shape[-1]), given.reshape(-1, given.shape[-1]), atol=1e-4)


def test_large_maps_are_read_in_part_and_small_ones_whole(network: Any) -> None:
    folded = fold(network).network
    stem = folded.get_layer("stem")
    assert fitting._Wanted(stem, 10).step == 1
    assert 2**14 <= 10**6 * 64 / fitting._Wanted(stem, 10**6).step ** 2 < 2**15


def test_the_more_inputs_an_output_has_the_more_positions_are_read() -> None:
    import tf_keras

    inputs = tf_keras.Input((64, 64, 300))
    pointwise, depthwise = tf_keras.layers.Conv2D(5, 1), tf_keras.layers.DepthwiseConv2D(3, padding="same")
    pointwise(inputs), depthwise(inputs)
    for layer, num_inputs in ((pointwise, 300), (depthwise, 9)):
        enough = max(2**14, 2**7 * num_inputs)
        assert enough <= 1000 * 64**2 / fitting._Wanted(layer, 1000).step ** 2 < 1.5 * enough


def test_a_layer_that_always_gives_zero_is_no_trouble(network: Any, photos: np.ndarray) -> None:
    layer = network.get_layer("last")
    layer.set_weights([np.zeros_like(layer.get_weights()[0]), np.full(12, -1.0)])
    prepared = fit_network(fold(network), photos, "min-max", Silent())
    low, high = next(reach for name, reach in prepared.ranges.items() if name.startswith("last"))
    assert low == 0 < high
    assert np.isfinite(in_codes(prepared, photos)).all()


def test_values_that_no_code_can_have_are_an_error_that_says_so(network: Any, photos: np.ndarray) -> None:
    layer = network.get_layer("logits")
    layer.set_weights([np.full_like(layer.get_weights()[0], 3e38), layer.get_weights()[1]])
    with pytest.raises(ArtifactError, match="infinite or undefined values"):
        fit_network(fold(network), photos, "mse", Silent())
    assert not list((cache_root() / "scratch").iterdir())


def test_an_error_of_the_float_network_ends_the_fit_and_leaves_nothing(
    network: Any, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, paths = fitting.stored, []

    def full(path: Path, *arguments: Any) -> Any:
        paths.append(path)
        if path.name == "7-real":
            raise OSError(28, "No space left on device")
        return store(path, *arguments)

    monkeypatch.setattr(fitting, "stored", full)
    with pytest.raises(OSError, match="No space left"):
        fit_network(fold(network), photos, "mse", Silent())
    assert {path.name for path in paths} >= {"6-real", "6-coded", "7-real"}
    assert not list((cache_root() / "scratch").iterdir())


def test_the_disk_never_holds_more_than_was_asked_for(
    network: Any, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, held, store = [], [], fitting.stored

    def watched(path: Path, *arguments: Any) -> Any:
        made = store(path, *arguments)
        sizes = []
        for file in path.parent.iterdir():
            with contextlib.suppress(FileNotFoundError):  # the other thread removes what is read no more
                sizes.append(file.stat().st_size)
        held.append(sum(sizes))
        return made

    monkeypatch.setattr(fitting, "require_space", lambda folder, num_bytes: asked.append(num_bytes))
    monkeypatch.setattr(fitting, "stored", watched)
    fit_network(fold(network), photos, "mse", Silent())
    assert 0.5 * asked[0] < max(held) <= asked[0]


def test_too_many_photos_for_the_memory_are_told_before_anything_is_fitted(
    network: Any, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tledge.room.available_memory", lambda: 8 * photos.size - 1)
    monkeypatch.setattr(fitting, "stored", None)
    with pytest.raises(
        EnvironmentFault, match=f"fitting to {len(photos)} photos needs about .* fewer --calibration-samples"
    ):
        fit_network(fold(network), photos, "mse", Silent())


def test_linear_algebra_has_one_thread_while_it_fits_and_its_own_number_after(
    network: Any, photos: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    seen, fit, before = [], fitting.best, threads()

    def watched(*arguments: Any) -> Any:
        seen.append(threads())
        return fit(*arguments)

    monkeypatch.setattr(fitting, "best", watched)
    fit_network(fold(network), photos[:4], "mse", Silent())
    assert seen
    assert all(one == {1} for one in seen)
    assert threads() == before


@pytest.mark.parametrize("ends", [(0.0, 6.0), (-3.0, 3.0), (-1e-3, 1e-3), (7.0, 7.000001)])
def test_the_histogram_is_numpys_but_for_the_last_bit_of_an_edge(ends: tuple[float, float]) -> None:
    values = np.random.default_rng(0).uniform(*ends, 50_000).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    found = fitting._histogram(values, low, high)
    wanted = np.histogram(values.astype(np.float64), BINS, (low, high))[0]
    assert found.sum() == len(values)
    assert np.abs(np.cumsum(found) - np.cumsum(wanted)).max() <= 2
