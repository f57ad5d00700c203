"""A ``ClassOrder`` says which class each output of a model stands for, in one of the orders that people use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError
from tledge.files import read_file
from tledge.printable import few

_MOST_BYTES = 1 << 24


class ClassOrder(NamedTuple):
    """An order of classes has a ``name``, such as "the alphabet's", and the labels in the order of the outputs."""

    name: str
    labels: tuple[str, ...]

    def outputs(self, labels: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return, for each of ``labels``, the number of its output."""
        at = {label: number for number, label in enumerate(self.labels)}
        return np.array([at[label] for label in labels], np.int64)


def read_labels(path: Path, known: Sequence[str]) -> ClassOrder:
    """Read the labels of a text file, one a line in the order of the outputs.

    Raises InputError where they are not the data set's ``known`` labels.
    """
    try:
        lines = read_file(path, _MOST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"--labels {path}: can't be read as UTF-8 text ({error})") from error
    labels = _without_numbers([line.strip() for line in lines if line.strip()])
    require_same(f"--labels {path}", labels, known)
    return ClassOrder("that of --labels", labels)


def _without_numbers(lines: list[str]) -> tuple[str, ...]:
    """Drop the number before each label, if every line begins with its own, counted from 0, as Teachable Machine writes them."""
    begins = [f"{number} " for number in range(len(lines))]
    if all(line.startswith(begin) for line, begin in zip(lines, begins, strict=True)):
        return tuple(line[len(begin) :].strip() for line, begin in zip(lines, begins, strict=True))
    return tuple(lines)


def require_same(what: str, labels: Sequence[str], known: Sequence[str]) -> None:
    """Raise InputError where ``labels`` are not ``known`` in any order. ``what`` begins the message."""
    if sorted(labels) == sorted(known):
        return
    if len(set(labels)) < len(labels):
        raise InputError(f"{what}: a label occurs twice. Name each class of the model once.")
    strange, absent = [one for one in labels if one not in known], [one for one in known if one not in labels]
    said = [f"{few(strange, ', ')} {'is' if len(strange) == 1 else 'are'} no class of the data set"] * bool(strange)
    said += [f"{few(absent, ', ')} {'is' if len(absent) == 1 else 'are'} missing"] * bool(absent)
    raise InputError(
        f"{what}: {', and '.join(said)}. The labels must be the names of the data set's classes, in the order of the outputs."
    )


def usual_orders(known: Sequence[str], of_model: Sequence[str]) -> list[ClassOrder]:
    """Return the orders to try: that of the labels in the model's file, else the data set's own and the alphabet's.

    Orders that are the same come once. Labels in the file that are not the data set's are left aside.
    """
    if sorted(of_model) == sorted(known):
        return [ClassOrder("that of the labels in the file", tuple(of_model))]
    orders = [
        ClassOrder("the data set's own", tuple(known)),
        ClassOrder("the alphabet's", tuple(sorted(known))),
        ClassOrder("the alphabet's without regard to case", tuple(sorted(known, key=str.lower))),
    ]
    return [one for number, one in enumerate(orders) if one.labels not in [other.labels for other in orders[:number]]]
