"""A changed network learns to answer as the one that it was made from (Hinton et al., 2015, arXiv:1503.02531)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.cache import Rows
from tledge.compression import InputCodes
from tledge.compression.folding import Folded
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.tensorflow_setup import tensorflow

_SCORED = 64  # photos of a batch whose loss is only looked at


@dataclass(frozen=True)
class Lessons:
    """What a network is trained on again: photos, uint8 rows (S, S, 3), without their labels.

    ``validation``: those that choose the epoch. ``learning_rate``: of Adam, at the start of its cosine decay to zero.
    """

    train: Rows
    validation: Rows
    epochs: int
    learning_rate: float
    batch_size: int = 32
    seed: int = 0

    @property
    def num_steps(self) -> int:
        """Of all epochs."""
        return self.epochs * -(-len(self.train) // self.batch_size)


@dataclass(frozen=True)
class Learned:
    """``losses``: on the validation photos, before the first epoch and after each. ``epoch``: the one that was kept, 0 for none."""

    losses: tuple[float, ...]
    epoch: int


def learn(
    student: Any,
    codes: InputCodes,
    teacher: Folded,
    lessons: Lessons,
    description: str,
    progress: Progress,
    *,
    before_step: Callable[[], None] = lambda: None,
    first_epoch: int = 0,
) -> Learned:
    """Train ``student``, a tf_keras.Model to logits of the same classes; it keeps the weights of its best epoch.

    The loss is the Kullback-Leibler divergence of its probabilities from the teacher's, in nats a photo, on photos and
    their mirror images; the validation photos are answered as they are. No epoch before ``first_epoch`` is kept; 0 is the
    start. Raises InputError where there are no validation photos.
    """
    if not len(lessons.validation):
        raise InputError(
            f"{description}: the validation split is empty, and it chooses the epoch; build on more photos"
        )
    tf = tensorflow()
    import tf_keras

    rate = tf_keras.optimizers.schedules.CosineDecay(lessons.learning_rate, lessons.num_steps)
    optimizer = tf_keras.optimizers.Adam(rate)

    @_of_pixels(lessons.train)  # type: ignore[untyped-decorator]
    def step(pixels: Any) -> None:
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(_divergences(pixels, student, codes, teacher, training=True))
        variables = student.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(mean, variables), variables, strict=True))

    def validate() -> float:
        return divergence(student, codes, teacher, lessons.validation)

    optimizer.build(student.trainable_variables)
    losses, best, epoch = [validate()], student.get_weights(), 0
    least = losses[0] if first_epoch == 0 else math.inf
    with progress.step(description, lessons.num_steps) as advance:
        for number in range(1, lessons.epochs + 1):
            for batch in _batches(lessons, number):
                before_step()
                step(tf.constant(batch))
                advance(1)
            losses.append(validate())
            if number >= first_epoch and losses[-1] < least:
                least, best, epoch = losses[-1], student.get_weights(), number
    student.set_weights(best)
    return Learned(tuple(losses), epoch)


def divergence(student: Any, codes: InputCodes, teacher: Folded, photos: Rows) -> float:
    """The mean Kullback-Leibler divergence of ``student``'s probabilities from the teacher's, in nats a photo."""
    tf = tensorflow()

    @_of_pixels(photos)  # type: ignore[untyped-decorator]
    def total(pixels: Any) -> Any:
        return tf.reduce_sum(_divergences(pixels, student, codes, teacher, training=False))

    return sum(float(total(tf.constant(batch))) for batch in photos.batches(_SCORED)) / len(photos)


def _of_pixels(photos: Rows) -> Any:
    """A tf.function of batches of such photos."""
    tf = tensorflow()
    return tf.function(input_signature=[tf.TensorSpec((None, *photos.row_shape), tf.uint8)], autograph=False)


def _divergences(pixels: Any, student: Any, codes: InputCodes, teacher: Folded, *, training: bool) -> Any:
    """Of each photo, float32 (n,)."""
    import tensorflow as tf

    values = tf.cast(pixels, tf.float32)
    wanted = tf.stop_gradient(teacher.network((values - teacher.zero_byte) * codes.scale, training=False))
    answered = student((values - codes.zero_point) * codes.scale, training=training)
    differences = tf.nn.log_softmax(wanted) - tf.nn.log_softmax(answered)
    return tf.reduce_sum(tf.nn.softmax(wanted) * differences, axis=1)


def _batches(lessons: Lessons, epoch: int) -> Iterator[npt.NDArray[Any]]:
    """The training photos of an epoch in an order of its own, every other one mirrored at random, uint8 (n, S, S, 3)."""
    rng = np.random.default_rng([lessons.seed, epoch])
    order = rng.permutation(len(lessons.train))
    for start in range(0, len(order), lessons.batch_size):
        pixels: npt.NDArray[Any] = lessons.train[order[start : start + lessons.batch_size]]
        is_mirrored = rng.random(len(pixels)) < 0.5
        pixels[is_mirrored] = pixels[is_mirrored, :, ::-1]
        yield pixels


def notes(lessons: Lessons, learned: Learned) -> dict[str, Any]:
    """What the record of an export says of a training."""
    return {
        "epochs": lessons.epochs,
        "kept_epoch": learned.epoch,
        "learning_rate": lessons.learning_rate,
        "batch_size": lessons.batch_size,
        "loss": "Kullback-Leibler divergence from the float network's probabilities",
        "validation_losses": [round(loss, 6) for loss in learned.losses],
    }
