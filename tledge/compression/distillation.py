"""This module trains a changed network to answer like the float network it was made from.

The method is distillation (Hinton et al., 2015, arXiv:1503.02531).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.cache import CachedRows
from tledge.compression.folding import Folded
from tledge.compression.notes import LearningNotes
from tledge.compression.prepared_network import InputCodes
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.tensorflow_setup import tensorflow

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_SCORED = 64  # batch size where nothing is trained


class Examples:
    """The examples are photos without labels and a float network's answers to them, which a student learns.

    Photos are uint8 rows (S, S, 3). Answers are logits, float32. They are computed once, on first use.
    """

    def __init__(self, teacher: Folded, train: CachedRows, validation: CachedRows, progress: Progress) -> None:
        """Keep the photos; those of ``validation`` choose the best epoch."""
        self.train, self.validation = train, validation
        self._teacher, self._progress = teacher, progress

    @cached_property
    def wanted(self) -> Floats:
        """Compute the float network's logits for the training photos and for their mirror images: float32 (2, N, C)."""
        return np.stack([self._answers(self.train, step) for step in (1, -1)])

    @cached_property
    def wanted_of_validation(self) -> Floats:
        """Compute the float network's logits for the validation photos: float32 (M, C)."""
        return self._answers(self.validation, 1)

    def _answers(self, photos: CachedRows, step: int) -> Floats:
        tf, teacher = tensorflow(), self._teacher

        @_of_pixels(photos)  # type: ignore[untyped-decorator]
        def answer(pixels: Any) -> Any:
            values = (tf.cast(pixels, tf.float32) - teacher.zero_byte) * teacher.input_codes.scale
            return teacher.network(values, training=False)

        with self._progress.step("the float network's answers", len(photos)) as advance:
            found = [np.empty((0, teacher.network.output_shape[-1]), np.float32)]
            for batch in photos.batches(_SCORED):
                found.append(answer(tf.constant(batch[:, :, ::step])).numpy())
                advance(len(batch))
        return np.concatenate(found)


@dataclass(frozen=True)
class Lessons:
    """The lessons are the options of a training.

    ``learning_rate`` is the rate of Adam at the start of a cosine decay to zero.
    """

    examples: Examples
    epochs: int
    learning_rate: float
    batch_size: int = 32
    seed: int = 0

    @property
    def num_steps(self) -> int:
        """Return the number of training steps in all epochs together."""
        return self.epochs * -(-len(self.examples.train) // self.batch_size)


@dataclass(frozen=True)
class Learned:
    """This result says how a training went.

    ``losses`` are the losses on the validation photos, before the first epoch and after each one. ``epoch`` is the
    epoch whose weights were kept; 0 stands for the weights before the training. ``agreement`` is the share of
    validation photos on which the kept student and the float network have the same top-1 class.
    """

    losses: tuple[float, ...]
    epoch: int
    agreement: float


def learn(
    student: Any,
    codes: InputCodes,
    lessons: Lessons,
    description: str,
    progress: Progress,
) -> Learned:
    """Train ``student``, a tf_keras.Model to logits, and leave it with the weights of its best epoch.

    The loss is the Kullback-Leibler divergence of the student's probabilities from the float network's, in nats per
    photo. The training photos are mirrored at random. The best epoch has the least loss on the validation photos,
    which are not mirrored. The weights before the training count as epoch 0.

    Raises InputError where there are no validation photos.
    """
    examples = lessons.examples
    if not len(examples.validation):
        raise InputError(
            f"{description}: the validation split is empty, and it chooses the epoch. Build on more photos."
        )
    tf = tensorflow()
    import tf_keras

    rate = tf_keras.optimizers.schedules.CosineDecay(lessons.learning_rate, lessons.num_steps)
    optimizer = tf_keras.optimizers.Adam(rate)

    @_of_pixels(examples.train, examples.wanted)  # type: ignore[untyped-decorator]
    def step(pixels: Any, wanted: Any) -> None:
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(_divergence(wanted, _answered(pixels, student, codes, training=True)))
        variables = student.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(mean, variables), variables, strict=True))

    def validate() -> float:
        return float(divergences(student, codes, examples).mean())

    optimizer.build(student.trainable_variables)
    losses, best, kept = [validate()], student.get_weights(), 0
    with progress.step(description, lessons.num_steps) as advance:
        for number in range(1, lessons.epochs + 1):
            for pixels, wanted in _batches(lessons, number):
                step(tf.constant(pixels), tf.constant(wanted))
                advance(1)
            losses.append(validate())
            if losses[-1] < losses[kept]:
                best, kept = student.get_weights(), number
    student.set_weights(best)
    if not kept:
        progress.warn(
            f"{description}: no epoch is better than the start on the {len(examples.validation)} validation photos; the "
            "start is what is kept"
        )
    return Learned(tuple(losses), kept, agreement(student, codes, examples))


def divergences(student: Any, codes: InputCodes, examples: Examples) -> Doubles:
    """Compute the divergence of ``student`` from the float network for each validation photo: float64 (M,).

    It is the Kullback-Leibler divergence of the probabilities, in nats.
    """
    return _of_validation(student, codes, examples, _divergence).astype(np.float64)


def agreement(student: Any, codes: InputCodes, examples: Examples) -> float:
    """Compute the share of validation photos on which ``student`` and the float network have the same top-1 class."""
    return float(_of_validation(student, codes, examples, _has_same_class).mean())


def _of_validation(
    student: Any, codes: InputCodes, examples: Examples, compare: Callable[[Any, Any], Any]
) -> npt.NDArray[Any]:
    """Compare the float network's logits with ``student``'s for each validation photo, and return (M,) results.

    ``compare`` takes both batches of logits, the float network's first.
    """
    tf, photos = tensorflow(), examples.validation

    @_of_pixels(photos, examples.wanted_of_validation)  # type: ignore[untyped-decorator]
    def of_batch(pixels: Any, wanted: Any) -> Any:
        return compare(wanted, _answered(pixels, student, codes, training=False))

    starts = range(0, len(photos), _SCORED)
    answers = (examples.wanted_of_validation[start : start + _SCORED] for start in starts)
    batches = zip(photos.batches(_SCORED), answers, strict=True)
    return np.concatenate([of_batch(tf.constant(pixels), tf.constant(wanted)).numpy() for pixels, wanted in batches])


def _of_pixels(photos: CachedRows, *answers: Floats) -> Any:
    """Return a decorator that makes a tf.function of a batch of ``photos`` and batches of ``answers``."""
    tf = tensorflow()
    signature = [
        tf.TensorSpec((None, *photos.row_shape), tf.uint8),
        *(tf.TensorSpec((None, values.shape[-1]), tf.float32) for values in answers),
    ]
    return tf.function(input_signature=signature, autograph=False)


def _answered(pixels: Any, student: Any, codes: InputCodes, *, training: bool) -> Any:
    """Return ``student``'s logits for uint8 pixels, float32 (n, C)."""
    import tensorflow as tf

    return student((tf.cast(pixels, tf.float32) - codes.zero_point) * codes.scale, training=training)


def _divergence(wanted: Any, answered: Any) -> Any:
    """Return the Kullback-Leibler divergence for each photo of a batch, float32 (n,)."""
    import tensorflow as tf

    differences = tf.nn.log_softmax(wanted) - tf.nn.log_softmax(answered)
    return tf.reduce_sum(tf.nn.softmax(wanted) * differences, axis=1)


def _has_same_class(wanted: Any, answered: Any) -> Any:
    """Return whether both logits have the same top-1 class for each photo of a batch, bool (n,)."""
    import tensorflow as tf

    return tf.argmax(wanted, axis=1) == tf.argmax(answered, axis=1)


def _batches(lessons: Lessons, epoch: int) -> Iterator[tuple[npt.NDArray[Any], Floats]]:
    """Yield batches of training photos, uint8 (n, S, S, 3), and the wanted logits, float32 (n, C).

    Each epoch has an order of its own, and mirrors each photo with a probability of one half.
    """
    examples, rng = lessons.examples, np.random.default_rng([lessons.seed, epoch])
    order = rng.permutation(len(examples.train))
    for start in range(0, len(order), lessons.batch_size):
        rows = order[start : start + lessons.batch_size]
        pixels: npt.NDArray[Any] = examples.train[rows]
        is_mirrored = rng.random(len(pixels)) < 0.5
        pixels[is_mirrored] = pixels[is_mirrored, :, ::-1]
        yield pixels, examples.wanted[is_mirrored.astype(int), rows]


def notes(lessons: Lessons, learned: Learned) -> LearningNotes:
    """Return what the record of an export says about a training."""
    return LearningNotes(
        epochs=lessons.epochs,
        kept_epoch=learned.epoch,
        learning_rate=lessons.learning_rate,
        batch_size=lessons.batch_size,
        loss="Kullback-Leibler divergence from the float network's probabilities",
        validation_losses=[round(loss, 6) for loss in learned.losses],
        validation_agreement=round(learned.agreement, 4),
    )
