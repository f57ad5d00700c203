"""This module computes the activations at a cut once, for all photos and for augmented views of the training photos.

They are stored on the disk in float16. The activations of a ReLU6 network fit its range. The relative rounding error
of 2^-11 is far below the noise of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones.fast_inference import answers, convert_function, difference
from tledge.cache import CachedRows, Checked, store_checked
from tledge.preprocessing import PIXEL_SCALE, Pixels
from tledge.progress import Progress
from tledge.room import require_space
from tledge.tensorflow_setup import device, tensorflow
from tledge.training.batches import view
from tledge.training.recipe import Recipe

Indices = npt.NDArray[np.int64]
PROOF_PHOTOS = 16
_BATCH = 32


@dataclass(frozen=True)
class Activations:
    """These are the stored activations of the training and validation photos, in the order of the rows.

    ``train`` is float16 (views x N, *shape), view after view. ``validation`` is float16 (M, *shape).
    """

    train: Checked
    validation: Checked
    num_views: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one photo's activations."""
        return self.validation.shape[1:]


def activations_bytes(shape: tuple[int, ...], num_train: int, num_validation: int, recipe: Recipe) -> int:
    """Return how many bytes the activations of a cut with outputs of ``shape`` take on the disk."""
    return 2 * int(np.prod(shape)) * (max(1, recipe.views) * num_train + num_validation)


def compute(
    lower: Any,
    pixels: CachedRows,
    train: Indices,
    validation: Indices,
    recipe: Recipe,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Activations:
    """Compute the activations of the layers ``lower`` for the views of the photos, and store them in ``folder``.

    ``lower`` maps float32 RGB (N, S, S, 3) in [0, 1] to (N, *shape). Without views in the recipe, the training photos
    are taken unchanged. Raises EnvironmentFault, before anything is computed, where the disk of ``folder`` has no room.
    """
    shape = tuple(lower.output_shape[1:])
    require_space(folder, activations_bytes(shape, len(train), len(validation), recipe))
    run = _runner(lower, pixels.select(train[:PROOF_PHOTOS])[:], progress)
    num_views = max(1, recipe.views)
    total = num_views * len(train) + len(validation)
    with progress.step(f"computing activations, {num_views} views", total) as advance:

        def told(batches: Iterator[npt.NDArray[np.float32]]) -> Iterator[npt.NDArray[np.float32]]:
            for batch in batches:
                yield batch
                advance(len(batch))

        held_out = told(run(pixels.select(validation).batches(_BATCH)))
        views = (told(run(view(pixels, train, recipe.augment, seed, number))) for number in range(num_views))
        kept = store_checked(folder / "validation-activations", held_out, shape, np.float16)
        trained_on = store_checked(folder / "train-activations", chain.from_iterable(views), shape, np.float16)
    return Activations(trained_on, kept, num_views)


def _runner(lower: Any, proof: Any, progress: Progress) -> Any:
    """Return a function that maps batches of photos to batches of activations.

    It runs LiteRT where LiteRT's activations of the photos ``proof`` agree with TensorFlow's, and TensorFlow elsewhere.
    """
    tf = tensorflow()

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def activations(pixels: Any) -> Any:
        return lower(tf.cast(pixels, tf.float32) * PIXEL_SCALE, training=False)

    def with_tensorflow(batches: Iterator[Pixels]) -> Iterator[npt.NDArray[np.float32]]:
        for batch in batches:
            yield activations(batch).numpy()

    if device().kind == "GPU":
        return with_tensorflow
    with progress.step("converting the layers below the cut"):
        model = convert_function(activations, lower.input_shape[1])
        actual = np.concatenate(list(answers(model, [proof])))
    largest, output_range, is_same = difference(actual, activations(proof).numpy())
    if not is_same:
        progress.warn(
            f"activations are computed by TensorFlow, slower: LiteRT differs by {largest:.2g} on an output range of "
            f"{output_range:.2g}"
        )
        return with_tensorflow
    return lambda batches: answers(model, batches)
