"""This module finds whether a file's outputs stand for the run's classes in another order than the run's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tledge.statistics import mcnemar_p_value

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.int64]

_SURE = 1e-3  # p-value below which another order is believed
_GAIN = 0.05  # and by how much more of the photos it must be right about


def other_order(answers: Floats, labels: Integers) -> Integers | None:
    """Return the output of each class, where another order than the given one is much better; else None.

    The best one-to-one assignment of outputs to classes is fitted to one half of the photos and judged on the other half,
    and the other way round. So an assignment that only fits chance is not believed.

    Args:
        answers: outputs of the file, (N, C). The largest one is its answer.
        labels: true classes of the photos, (N,).
    """
    predicted, num_classes = np.argmax(answers, axis=1), answers.shape[1]
    halves = np.arange(len(labels)) % 2 == 0
    is_right = np.zeros(len(labels), np.bool_)
    for half in (halves, ~halves):
        order = _assignment(predicted[half], labels[half], num_classes)
        is_right[~half] = order[labels[~half]] == predicted[~half]
    was_right = predicted == labels
    lost, won = int(np.sum(was_right & ~is_right)), int(np.sum(~was_right & is_right))
    if won - lost < _GAIN * len(labels) or mcnemar_p_value(lost, won) >= _SURE:
        return None
    return _assignment(predicted, labels, num_classes)


def told(order: Integers, class_names: Sequence[str]) -> str:
    """Say in a sentence that the classes stand in another order, with up to three examples."""
    moved = [(int(output), class_names[place]) for place, output in enumerate(order) if output != place]
    shown = [f"output {output} answers {name} (the run's {class_names[output]})" for output, name in sorted(moved)[:3]]
    more = f", and {len(moved) - 3} more are moved" if len(moved) > 3 else ""
    return f"its classes stand in another order: {', '.join(shown)}{more}"


def _assignment(predicted: Integers, labels: Integers, num_classes: int) -> Integers:
    """Return the output of each class under which most photos are answered rightly. Ties leave a class in its place."""
    from scipy.optimize import linear_sum_assignment

    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (labels, predicted), 1)
    np.fill_diagonal(counts, counts.diagonal() + 0.5)
    _, columns = linear_sum_assignment(counts, maximize=True)
    return np.asarray(columns, np.int64)
