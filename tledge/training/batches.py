"""This module makes the batches that an epoch reads, from photos changed on the fly or from stored activations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.cache import CachedRows
from tledge.errors import TledgeError
from tledge.preprocessing import PIXEL_SCALE, Pixels
from tledge.tensorflow_setup import tensorflow
from tledge.training.augmentation import augmenter, keys_of
from tledge.training.augmentation_settings import Augmentation
from tledge.training.mixing import mix
from tledge.training.needs import Memory
from tledge.training.recipe import Recipe

Indices = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int64]
Dataset = Any  # a tf.data.Dataset
_READ_AHEAD = 4
_VIEWED = 32  # photos of a view that are changed at a time
_SCORED = 64  # photos in a batch of the validation split


def class_weights(labels: Labels, num_classes: int, balanced: bool) -> npt.NDArray[np.float32]:
    """Return the weight of each class in the loss, float32 (C,), with mean 1 over the photos.

    A balanced weight is N / (C x photos of the class). Without ``balanced`` all weights are 1.
    Source: King and Zeng 2001, "Logistic regression in rare events data", as scikit-learn's "balanced" computes it.
    """
    if not balanced:
        return np.ones(num_classes, np.float32)
    counts = np.bincount(labels, minlength=num_classes)
    return (len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))).astype(np.float32)


def order(rows: Indices, seed: int, epoch: int) -> Indices:
    """Shuffle the rows for an epoch.

    The order depends on seed and epoch alone, so that a resumed training sees the same one.
    """
    return np.random.default_rng([seed, epoch]).permutation(rows)


_raised: list[TledgeError] = []


def _generated(read: Callable[[], Iterator[tuple[Any, ...]]], signature: tuple[Any, ...]) -> Dataset:
    """Make a dataset of what ``read`` yields, and keep a TledgeError that ends the reading for :func:`own_errors`."""

    def kept() -> Iterator[tuple[Any, ...]]:
        try:
            yield from read()
        except TledgeError as error:
            _raised.append(error)
            raise

    return tensorflow().data.Dataset.from_generator(kept, output_signature=signature)


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Raise the TledgeError that ended the reading of batches.

    TensorFlow raises an error of its own that keeps only the text.
    """
    _raised.clear()
    try:
        yield
    except Exception:
        if _raised:
            raise _raised[0] from None
        raise


def view(pixels: CachedRows, rows: Indices, augment: Augmentation, seed: int, number: int) -> Iterator[Pixels]:
    """Yield one view of the photos ``rows``, in their order, in batches uint8 (n, S, S, 3) changed as ``augment`` says.

    The changes of a photo depend on ``seed``, the view's number and the photo's row alone. ``pixels`` holds all photos.
    """
    tf = tensorflow()
    size = pixels.row_shape[0]
    change = augmenter(augment, size)

    def read() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(rows), _VIEWED):
            part = rows[start : start + _VIEWED]
            yield pixels[part], keys_of(seed, number, part)

    signature = (tf.TensorSpec((None, size, size, 3), tf.uint8), tf.TensorSpec((None, 2), tf.int32))
    with own_errors():
        yield from _generated(read, signature).map(change, num_parallel_calls=1).prefetch(2).as_numpy_iterator()


def photos(
    pixels: CachedRows, labels: Labels, rows: Indices, weights: npt.NDArray[np.float32], recipe: Recipe, seed: int
) -> Callable[[int], Dataset]:
    """Return a function that gives the training batches of an epoch.

    A batch holds photos float32 (n, S, S, 3) in [0, 1], one-hot labels (n, C) and weights (n,). Every epoch changes
    every photo in another way, as ``recipe`` says. ``pixels``, uint8, and ``labels`` are those of all photos.
    """
    tf = tensorflow()
    size, num_classes = pixels.row_shape[0], len(weights)
    augment = augmenter(recipe.augment, size)
    seed_key = np.array([seed % 2**30, 0], np.int32)

    def of_epoch(epoch: int) -> Dataset:
        def read() -> Iterator[tuple[Any, ...]]:
            shuffled = order(rows, seed, epoch)
            for start in range(0, len(shuffled), recipe.batch_size):
                batch = shuffled[start : start + recipe.batch_size]
                yield pixels[batch], keys_of(seed, epoch, batch), labels[batch], np.array([epoch, start], np.int32)

        def prepare(batch: Any, keys: Any, truth: Any, key: Any) -> tuple[Any, Any, Any]:
            inputs = tf.cast(augment(batch, keys), tf.float32) * PIXEL_SCALE
            inputs, one_hot = mix(
                inputs, tf.one_hot(truth, num_classes), key + seed_key, recipe.mixup_alpha, recipe.cutmix_alpha
            )
            return inputs, one_hot, tf.gather(tf.constant(weights), truth)

        signature = (
            tf.TensorSpec((None, size, size, 3), tf.uint8),
            tf.TensorSpec((None, 2), tf.int32),
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((2,), tf.int32),
        )
        return _generated(read, signature).map(prepare, num_parallel_calls=2, deterministic=True).prefetch(_READ_AHEAD)

    return of_epoch


def activations(
    values: Callable[[int, Indices], npt.NDArray[np.float16]],
    shape: tuple[int, ...],
    labels: Labels,
    rows: Indices,
    weights: npt.NDArray[np.float32],
    recipe: Recipe,
    seed: int,
) -> Callable[[int], Dataset]:
    """Return a function that gives the training batches of an epoch, made of stored activations.

    A batch holds activations float32 (n, *shape), one-hot labels (n, C) and weights (n,). ``values(epoch, rows)``
    returns the float16 activations (n, *shape) of some photos, in the view that the epoch shows.
    """
    tf = tensorflow()
    num_classes = len(weights)

    def of_epoch(epoch: int) -> Dataset:
        def read() -> Iterator[tuple[Any, ...]]:
            shuffled = order(rows, seed, epoch)
            for start in range(0, len(shuffled), recipe.batch_size):
                batch = shuffled[start : start + recipe.batch_size]
                truth = labels[batch]
                one_hot = np.eye(num_classes, dtype=np.float32)[truth]
                yield values(epoch, batch).astype(np.float32), one_hot, weights[truth]

        signature = (
            tf.TensorSpec((None, *shape), tf.float32),
            tf.TensorSpec((None, num_classes), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        )
        return _generated(read, signature).prefetch(_READ_AHEAD)

    return of_epoch


def memory_ahead(recipe: Recipe, num_rows: int, shape: tuple[int, ...]) -> Memory:
    """Tell how much memory the batches that are read ahead take; the network itself needs far more.

    ``shape`` is that of one photo or of its activations, in float32.
    """
    ahead = min(recipe.batch_size * (_READ_AHEAD + 1), num_rows)
    return Memory(
        4 * int(np.prod(shape)) * ahead,
        f"reading {ahead:,} photos ahead, in batches of {recipe.batch_size:,},",
        f"Use less than --batch-size {recipe.batch_size}.",
    )


def validation_batches(
    values: Callable[[int, int], npt.NDArray[np.floating]], shape: tuple[int, ...], labels: Labels, num_classes: int
) -> Dataset:
    """Make a dataset of inputs float32 (n, *shape) and one-hot labels (n, C), in the order of the labels.

    ``values(start, stop)`` returns the inputs from ``start`` up to ``stop``.
    """
    tf = tensorflow()
    one_hot = np.eye(num_classes, dtype=np.float32)

    def read() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(labels), _SCORED):
            part = slice(start, start + _SCORED)
            yield values(start, start + _SCORED).astype(np.float32), one_hot[labels[part]]

    signature = (tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((None, num_classes), tf.float32))
    return _generated(read, signature).prefetch(_READ_AHEAD)
