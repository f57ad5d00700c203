"""This module reads from a file's declared inputs and outputs how it takes a photo, or says why it can't take one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tledge.audit.contract import interface
from tledge.audit.findings import FREE
from tledge.errors import ArtifactError, InputError
from tledge.printable import counted, few, one_line
from tledge.records import TensorRecord

_SIDES = range(8, 2049)
_TYPES = {"FLOAT32": "float32", "FLOAT16": "float16", "UINT8": "uint8", "INT8": "int8"}


@dataclass(frozen=True)
class Declared:
    """A file declares this of its input and its output.

    Attributes:
        side: height and width of the input, in pixels.
        data_type: NumPy's name of the input's data type.
        quantization: scale and zero point of an integer input, where the file gives them.
        output_type: NumPy's name of the output's data type.
        output_quantization: scale and zero point of an integer output.
        metadata: the entry that tledge wrote; None where the file has none.
    """

    layout: Literal["NHWC", "NCHW"]
    side: int
    data_type: str
    quantization: tuple[float, int] | None
    output_type: str
    output_quantization: tuple[float, int] | None
    metadata: bytes | None


def declared(path: Path, name: str, num_classes: int, side_of_run: int) -> Declared:
    """Read how a file takes a photo and answers it. Nothing in the file is run.

    Where the file takes any size, it gets photos of ``side_of_run``.

    Raises InputError, which names the file and its inputs or outputs, for one that is damaged or no classifier of one
    photo with the run's number of classes.
    """
    try:
        found = interface(path)
    except ArtifactError as error:
        raise InputError(f"--file {one_line(str(error))}") from error
    photo = _image(found.inputs, name)
    layout, side = _layout_and_side(photo, name, side_of_run)
    answer = _answer(found.outputs, name, num_classes)
    return Declared(
        layout,
        side,
        _TYPES[photo.data_type],
        _quantization(photo),
        _TYPES[answer.data_type],
        _quantization(answer),
        found.metadata,
    )


def _image(inputs: Sequence[TensorRecord], name: str) -> TensorRecord:
    if len(inputs) != 1:
        raise InputError(
            f"--file {name} has {counted(len(inputs), 'input')} ({_listed(inputs)}), and tledge gives a classifier one photo"
        )
    (photo,) = inputs
    if len(photo.shape) != 4:
        raise InputError(
            f"--file {name} takes {_shown(photo)}, and no image of 4 dimensions: tledge judges classifiers of photos"
        )
    if photo.data_type not in _TYPES:
        raise InputError(f"--file {name} takes {_shown(photo)}: tledge gives {', '.join(_TYPES.values())}")
    if photo.shape[0] not in (1, FREE):
        raise InputError(
            f"--file {name} takes {photo.shape[0]} photos at a time ({_shown(photo)}). Convert it with a batch of 1."
        )
    return photo


def _layout_and_side(photo: TensorRecord, name: str, side_of_run: int) -> tuple[Literal["NHWC", "NCHW"], int]:
    _, first, middle, last = photo.shape
    if last == 3 and first != 3:
        layout: Literal["NHWC", "NCHW"] = "NHWC"
        sides = (first, middle)
    elif first == 3 and last != 3:
        layout, sides = "NCHW", (middle, last)
    else:
        raise InputError(
            f"--file {name} takes {_shown(photo)}, where neither the second nor the last dimension alone is the three channels "
            "of an RGB photo"
        )
    if FREE in sides:
        return layout, side_of_run
    if sides[0] != sides[1] or sides[0] not in _SIDES:
        raise InputError(
            f"--file {name} takes photos of {sides[0]} x {sides[1]} pixels: tledge prepares square ones of "
            f"{_SIDES.start} to {_SIDES.stop - 1}. Convert it with a fixed input of {side_of_run} x {side_of_run}."
        )
    return layout, sides[0]


def _answer(outputs: Sequence[TensorRecord], name: str, num_classes: int) -> TensorRecord:
    if len(outputs) != 1:
        raise InputError(
            f"--file {name} has {counted(len(outputs), 'output')} ({_listed(outputs)}), as detectors have. "
            f"A classifier has one, with a number for each of the run's {num_classes} classes."
        )
    (answer,) = outputs
    if answer.data_type not in _TYPES:
        raise InputError(f"--file {name} answers {_shown(answer)}: tledge reads {', '.join(_TYPES.values())}")
    per_photo = answer.shape[1:] if len(answer.shape) > 1 else answer.shape
    if FREE not in per_photo and (width := math.prod(per_photo)) != num_classes:
        raise InputError(
            f"--file {name} answers {counted(width, 'class')} ({_shown(answer)}), and the run has {num_classes:,}. "
            "Give a file that was trained for the run's classes."
        )
    if answer.data_type in ("UINT8", "INT8") and not answer.scale:
        raise InputError(
            f"--file {name} answers {_shown(answer)} without a scale and a zero point, so its numbers have no meaning. "
            "Convert it with quantization parameters, or with float outputs."
        )
    return answer


def _quantization(tensor: TensorRecord) -> tuple[float, int] | None:
    if tensor.data_type not in ("UINT8", "INT8") or not tensor.scale:
        return None
    return tensor.scale, tensor.zero_point or 0


def _shown(tensor: TensorRecord) -> str:
    sizes = ", ".join("any" if size == FREE else str(size) for size in tensor.shape)
    return f"{one_line(tensor.name)}: {tensor.data_type.lower()} [{sizes}]"


def _listed(tensors: Sequence[TensorRecord]) -> str:
    return few([_shown(tensor) for tensor in tensors])
