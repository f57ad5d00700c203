"""Magnitude pruning, by tensorflow-model-optimization (Zhu and Gupta, 2017, arXiv:1710.01878)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from tledge.compression.distillation import Lessons, learn, notes
from tledge.compression.folding import Folded, copied
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.tensorflow_setup import tensorflow

_BLOCK = re.compile(r"([0-9]+):([0-9]+)")
_MOST_OF_A_BLOCK = 16
_PRUNED_FOR = 0.5  # of all steps; the rest is there for what remains to recover
_UPDATES = 20  # of the masks until then


@dataclass(frozen=True)
class Sparsity:
    """Which share of a layer's weights becomes zero; ``block`` (n, m): n of every m in a row."""

    share: float
    block: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Sparsity:
        """0.5, or 2:4. Raises InputError for a share that is not between 0 and 1."""
        found = _BLOCK.fullmatch(text)
        if found:
            zeros, size = int(found[1]), int(found[2])
            if not 0 < zeros < size <= _MOST_OF_A_BLOCK:
                raise InputError(
                    f"--sparsity {text}: of every M weights N become zero, as in 2:4, with N below M, M at most 16"
                )
            return cls(zeros / size, (zeros, size))
        try:
            share = float(text)
        except ValueError:
            share = float("nan")
        if not 0 < share < 1:
            raise InputError(
                f"--sparsity {text}: give the share of weights that become zero, above 0 and below 1, or 2:4"
            )
        return cls(share)

    def __str__(self) -> str:
        return f"{self.block[0]}:{self.block[1]}" if self.block else f"{self.share:g}"


def prune(folded: Folded, sparsity: Sparsity, lessons: Lessons, progress: Progress) -> tuple[Folded, dict[str, Any]]:
    """A copy of ``folded`` with so many zeros in convolutions and dense layers, trained on; and notes for the record.

    Depthwise kernels keep their weights: they are few. The zeros grow in number over the first half of the steps.
    Raises InputError where TFMOT can't prune a layer, which it names.
    """
    tensorflow()
    from tensorflow_model_optimization.sparsity import keras as sparsity_keras

    network = copied(folded.network)
    until = max(1, int(_PRUNED_FOR * lessons.num_steps))
    options: dict[str, Any] = {"frequency": max(1, until // _UPDATES), "begin_step": 0}
    if sparsity.block:
        schedule = sparsity_keras.ConstantSparsity(sparsity.share, **options)
        arguments = {"sparsity_m_by_n": sparsity.block}
    else:
        schedule = sparsity_keras.PolynomialDecay(0.0, sparsity.share, end_step=until, **options)
        arguments = {}
    try:
        student = sparsity_keras.prune_low_magnitude(network, schedule, **arguments)
    except ValueError as error:
        raise InputError(f"pruning is not possible: {error}") from error
    steps = sparsity_keras.UpdatePruningStep()
    steps.set_model(student)
    steps.on_train_begin()
    full_after = math.ceil(until / lessons.num_steps * lessons.epochs)  # the first epoch that ends with all its zeros
    learned = learn(
        student,
        folded.input_codes,
        lessons,
        f"pruning to {sparsity}",
        progress,
        before_step=lambda: steps.on_train_batch_begin(0),
        first_epoch=full_after,
    )
    pruned = copied(folded.network)  # of layers that TFMOT's wrappers did not use
    for layer in sparsity_keras.strip_pruning(student).layers:
        pruned.get_layer(layer.name).set_weights(layer.get_weights())
    # The zeros may be trained on again, with notes of their own.
    return replace(folded, network=pruned), {"sparsity": str(sparsity), "pruning": notes(lessons, learned)}
