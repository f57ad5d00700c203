"""What is trained again: through the rounding of integers, and with zeros among its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.special

from tledge.compression import PreparedNetwork
from tledge.compression.codes import Grid, uniform
from tledge.compression.distillation import Examples, Lessons, learn
from tledge.compression.fitting import fit_network
from tledge.compression.folding import Folded, fold
from tledge.compression.layer_roles import is_weighted
from tledge.compression.pruning import prune
from tledge.compression.qat import quantized, train_quantized
from tledge.compression.tfmot_scheme import EDGES, MASK, VALUES, Scheme
from tledge.errors import InputError
from tledge.progress import Silent

from .conftest import SIZE, in_codes, pictures, rows_of


@pytest.fixture
def teacher(photos: np.ndarray) -> Folded:
    """A network without weights of extreme size, whose answers differ from photo to photo."""
    import tf_keras
    from tf_keras import layers

    from tledge.tensorflow_setup import tensorflow

    tensorflow(seed=0)
    x = images = layers.Input((SIZE, SIZE, 3), name="images")
    x = layers.DepthwiseConv2D(1, trainable=False, name="rescale")(x)
    x = layers.Conv2D(16, 3, 2, "same", activation="relu", name="stem")(x)
    x = layers.DepthwiseConv2D(3, 1, "same", activation="relu", name="depthwise")(x)
    x = layers.Add(name="add")([x, layers.Conv2D(16, 1, name="project")(x)])
    x = layers.Conv2D(24, 3, activation="relu", name="last")(x)
    network = tf_keras.Model(images, layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D(name="mean")(x)))
    network.get_layer("rescale").set_weights([np.full((1, 1, 3, 1), 2.0), np.full(3, -1.0)])
    logits = network(photos.astype(np.float32) / 255).numpy()
    kernel, bias = network.get_layer("logits").get_weights()
    factor = 3 / logits.std(axis=0)
    network.get_layer("logits").set_weights([kernel * factor, bias - logits.mean(axis=0) * factor])
    return fold(network)


@pytest.fixture
def lessons(teacher: Folded, photos: np.ndarray) -> Lessons:
    examples = Examples(teacher, rows_of(photos[:40]), rows_of(pictures(32, seed=2)), Silent())
    return Lessons(examples, epochs=8, learning_rate=1e-4, batch_size=8)


@pytest.fixture
def start(teacher: Folded, photos: np.ndarray) -> PreparedNetwork:
    return fit_network(teacher.copied(), photos[:1], "min-max", Silent())


def _divergence(prepared: PreparedNetwork, teacher: Folded, pixels: np.ndarray) -> float:
    logits = teacher.network(teacher.images(pixels)).numpy(), in_codes(prepared, pixels)
    wanted, found = (scipy.special.log_softmax(values, axis=1) for values in logits)
    return float((np.exp(wanted) * (wanted - found)).sum(axis=1).mean())


def test_what_is_trained_computes_at_first_as_the_codes_of_the_network_do(
    start: PreparedNetwork, photos: np.ndarray
) -> None:
    student = quantized(start.network, start.ranges)
    found = student(start.input_codes.real(photos)).numpy()
    assert np.allclose(found, in_codes(start, photos), atol=1e-4)


def test_the_answers_come_nearer_to_the_float_networks_and_the_weights_stay_codes(
    start: PreparedNetwork, teacher: Folded, lessons: Lessons, photos: np.ndarray
) -> None:
    before = [value.copy() for value in teacher.network.get_weights()]
    trained, learned = train_quantized(start, lessons, Silent())
    new = pictures(32, seed=2)
    assert _divergence(trained, teacher, new) < 0.8 * _divergence(start, teacher, new)
    assert learned.kept_epoch > 0
    assert learned.validation_losses[0] == pytest.approx(_divergence(start, teacher, new), rel=0.01)
    kept = learned.validation_losses[learned.kept_epoch]
    assert kept == pytest.approx(_divergence(trained, teacher, new), rel=0.05)
    for layer in trained.network.layers:
        if is_weighted(layer):
            kernel = layer.get_weights()[0]
            assert np.allclose(Grid().on_codes(layer, kernel), kernel, atol=1e-6), layer.name
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.network.get_weights(), strict=True))


@pytest.mark.long
def test_the_same_seed_gives_the_same_weights(start: PreparedNetwork, teacher: Folded, lessons: Lessons) -> None:
    first, second = (train_quantized(start, lessons, Silent())[0].network.get_weights() for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_an_epoch_that_is_no_better_than_the_start_is_not_kept(
    start: PreparedNetwork, teacher: Folded, lessons: Lessons
) -> None:
    student, heard = quantized(start.network, start.ranges), Silent()
    before = student.get_weights()
    ruinous = replace(lessons, learning_rate=0.9)
    learned = learn(student, start.input_codes, ruinous, "too fast", heard)
    assert heard.warnings == [
        "too fast: no epoch is better than the start on the 32 validation photos; the start is what is kept"
    ]
    new = pictures(32, seed=2)
    same = in_codes(start, new).argmax(axis=1) == teacher.network(teacher.images(new)).numpy().argmax(axis=1)
    assert learned.agreement == pytest.approx(same.mean())
    assert learned.epoch == 0
    assert min(learned.losses) == learned.losses[0]
    assert all(np.array_equal(one, other) for one, other in zip(before, student.get_weights(), strict=True))


def test_the_epoch_of_the_least_loss_is_kept_and_not_a_later_one(
    start: PreparedNetwork, teacher: Folded, lessons: Lessons, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, weights, losses = quantized(start.network, start.ranges), [], iter([3.0, 1.0, 2.0, 2.5])

    def judged(student: Any, *rest: object) -> np.ndarray:
        weights.append(student.get_weights())
        return np.array([next(losses)])

    monkeypatch.setattr("tledge.compression.distillation.divergences", judged)
    learned = learn(student, start.input_codes, replace(lessons, epochs=3), "judged by hand", Silent())
    assert learned.losses == (3.0, 1.0, 2.0, 2.5)
    assert learned.epoch == 1
    for number, made in enumerate(weights):
        same = all(np.array_equal(one, other) for one, other in zip(made, student.get_weights(), strict=True))
        assert same == (number == 1)


def test_no_validation_photos_are_an_error_that_says_so(
    start: PreparedNetwork, teacher: Folded, lessons: Lessons
) -> None:
    none = lessons.examples.validation.select(np.array([], np.int64))
    nothing = replace(lessons, examples=Examples(teacher, lessons.examples.train, none, Silent()))
    with pytest.raises(InputError, match="the validation split is empty"):
        train_quantized(start, nothing, Silent())


def _kernels(network: Any, kinds: tuple[str, ...]) -> list[np.ndarray]:
    return [layer.get_weights()[0] for layer in network.layers if type(layer).__name__ in kinds]


def test_what_is_zero_stays_zero_in_the_fit_and_in_training(
    teacher: Folded, lessons: Lessons, photos: np.ndarray
) -> None:
    pruned, _ = prune(teacher, 0.5, photos[:40], Silent())
    fitted = fit_network(pruned.copied(), photos[:40], "mse", Silent(), keeps_zeros=True)
    trained, _ = train_quantized(fitted, lessons, Silent(), keeps_zeros=True)
    kinds = ("Conv2D", "Dense")
    places = [kernel == 0 for kernel in _kernels(pruned.network, kinds)]
    assert sum(zeros.sum() for zeros in places) > 0
    for stage in (fitted.network, trained.network):
        for zeros, kernel in zip(places, _kernels(stage, kinds), strict=True):
            assert not kernel[zeros].any()
        for kernel in _kernels(stage, ("DepthwiseConv2D",)):
            assert np.mean(kernel == 0) < 0.1


def test_a_weight_of_a_depthwise_convolution_that_was_rounded_to_zero_may_change_again(start: PreparedNetwork) -> None:
    layer = start.network.get_layer("depthwise")
    kernel, bias = layer.get_weights()
    kernel[0, 0, 0, 0] = 0
    layer.set_weights([kernel, bias])
    student = quantized(start.network, start.ranges, keeps_zeros=True)
    (mask,) = [one.numpy() for one in student.get_layer("quant_depthwise").weights if MASK in one.name]
    assert mask.all()


def test_the_fit_of_a_network_with_zeros_is_better_than_none(teacher: Folded) -> None:
    photos, others = pictures(200, seed=3), pictures(200, seed=4)
    pruned, _ = prune(teacher, 0.5, photos, Silent())
    fitted = fit_network(pruned.copied(), photos, "mse", Silent(), keeps_zeros=True)
    rounded = pruned.copied()
    for layer in rounded.network.layers:
        if is_weighted(layer):
            kernel, bias = layer.get_weights()
            layer.set_weights([Grid().on_codes(layer, kernel), bias])
    nearest = replace(fitted, network=rounded.network)
    assert _divergence(fitted, pruned, others) < _divergence(nearest, pruned, others)


def test_a_photo_and_its_mirror_image_are_learnt_with_answers_of_their_own(teacher: Folded, lessons: Lessons) -> None:
    from tledge.compression.distillation import _batches

    train = lessons.examples.train[:]
    as_they_are, mirrored = (teacher.network(teacher.images(pixels)).numpy() for pixels in (train, train[:, :, ::-1]))
    seen = 0
    for pixels, wanted in _batches(lessons, 1):
        np.testing.assert_allclose(teacher.network(teacher.images(pixels)).numpy(), wanted, atol=1e-4)
        seen += len(pixels)
    assert seen == len(train)
    np.testing.assert_allclose(lessons.examples.wanted, [as_they_are, mirrored], atol=1e-4)
    assert np.abs(as_they_are - mirrored).max() > 0.1


@pytest.mark.parametrize("grid", [Grid(), Grid(bounds_pairs=True), Grid(scale_bits=4), Grid(uniform(9), 4)], ids=str)
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("Conv2D", (3, 3, 8, 1)),
        ("Conv2D", (3, 3, 1, 8)),
        ("DepthwiseConv2D", (3, 3, 8, 2)),
        ("DepthwiseConv2D", (3, 3, 8, 1)),
    ],
)
def test_weights_are_trained_through_the_very_codes_that_are_written(
    kind: str, shape: tuple[int, ...], grid: Grid
) -> None:
    import tensorflow as tf
    import tf_keras

    filters = {"filters": shape[3]} if kind == "Conv2D" else {"depth_multiplier": shape[3]}
    layer = getattr(tf_keras.layers, kind)(kernel_size=3, **filters)
    layer.build((None, 8, 8, shape[2]))
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 2.0 ** np.arange(shape[2])[:, None]
    kernel = kernel.astype(np.float32)
    config = Scheme({}, grid.bounds_pairs, False, {layer.name: grid}).get_quantize_config(layer)
    ((_, quantizer),) = config.get_weights_and_quantizers(layer)
    variables = (
        {}
        if grid.book is None
        else {VALUES: grid.book.values.astype(np.float32), EDGES: grid.book.edges.astype(np.float32)}
    )
    found = quantizer(tf.constant(kernel), True, variables).numpy()
    assert np.allclose(found, grid.on_codes(layer, kernel), rtol=1e-5, atol=1e-7)
