"""This module checks that an artifact describes its labels and its input as its run does.

A device reads that description from the file, and acts on it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tledge.audit.findings import FREE, Interface, printable
from tledge.audit.reading import read_with
from tledge.pixel_range import PixelRange
from tledge.records import TensorRecord
from tledge.resizing import SQUEEZE, Resize


def contract_problems(
    path: Path,
    labels: Sequence[str],
    input_size: int,
    pixel_range: PixelRange | None = None,
    resize: Resize = SQUEEZE,
) -> list[str]:
    """Say in sentences where an artifact differs from its run. The list is empty where nothing differs.

    The metadata inside the file and the declared tensors are read; nothing is run.

    Args:
        path: the artifact.
        labels: the labels of the run, in the order of its outputs.
        input_size: side of the input, in pixels.
        pixel_range: range of 16-bit photos; None where the run was given none.
        resize: how photos become squares of the input's size.

    Raises:
        ArtifactError: The file can't be read.
    """
    found = interface(path)
    problems = _metadata_problems(found, labels, input_size, pixel_range, resize)
    return [*problems, *_tensor_problems(found, len(labels), input_size, FREE if _takes_any_batch(found) else 1)]


def interface(path: Path) -> Interface:
    """Read the inputs, outputs and metadata that an artifact declares.

    Raises ArtifactError for a file that is damaged, or that keeps a part of itself elsewhere.
    """
    from tledge.audit.onnx import interface_onnx
    from tledge.audit.tflite import interface_tflite

    return read_with(path, {".tflite": interface_tflite, ".onnx": interface_onnx})


def _takes_any_batch(found: Interface) -> bool:
    """Tell whether the metadata declares a batch of any size.

    Metadata that can't be read, and that of older files, which lack the entry, declare none.
    """
    try:
        return bool(json.loads(found.metadata or b"")["batch"] == "any")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _metadata_problems(
    found: Interface, labels: Sequence[str], input_size: int, pixel_range: PixelRange | None, resize: Resize
) -> list[str]:
    if found.metadata is None:
        return ["The file holds no metadata of tledge: neither its labels nor its input are described."]
    try:
        inside = json.loads(found.metadata)
        own_labels, own_input = inside["labels"], inside["input"]["input"]
        own_range = inside["input"].get("pixel_range")
        own_resize = inside["input"].get("resize", str(SQUEEZE))  # files of an earlier tledge lack the key
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return [f"The file's metadata can't be read ({type(error).__name__}): labels and input are not described."]
    problems = []
    if not isinstance(own_labels, list) or not all(isinstance(label, str) for label in own_labels):
        problems.append("The labels in the file's metadata are not a list of names.")
    elif own_labels != list(labels):
        problems.append(_label_problem(own_labels, list(labels)))
    expected = f"uint8 RGB, NHWC, {input_size} x {input_size}"
    if own_input != expected:
        problems.append(
            f"The file's metadata says its input is {printable(str(own_input))!r}, the run says {expected!r}."
        )
    if own_range != (None if pixel_range is None else list(pixel_range)):
        said = (
            "no range of 16-bit photos"
            if own_range is None
            else f"the range {printable(str(own_range))} of 16-bit photos"
        )
        problems.append(f"The file's metadata says {said}, the run {pixel_range or 'none'}.")
    if own_resize != str(resize):
        problems.append(
            f"The file's metadata says photos are resized by {printable(str(own_resize))!r}, the run says {str(resize)!r}."
        )
    return problems


def _label_problem(own: list[str], labels: list[str]) -> str:
    if len(own) != len(labels):
        return f"The file's metadata names {len(own)} labels, the run has {len(labels)}."
    first = next(number for number, (mine, theirs) in enumerate(zip(own, labels, strict=True)) if mine != theirs)
    example = f"output {first} is {printable(own[first])!r} in the file and {labels[first]!r} in the run"
    if sorted(own) != sorted(labels):
        unknown = sorted(set(own) - set(labels))
        named = f", which does not know {', '.join(repr(printable(label)) for label in unknown[:5])}" if unknown else ""
        return f"The file's labels are not the run's{named}: {example}."
    for shift in range(1, len(labels)):
        if own == labels[-shift:] + labels[:-shift]:
            back = len(labels) - shift
            by = f"{shift} towards the end" if shift <= back else f"{back} towards the start"
            return f"The file's labels are in the run's order shifted by {by}: {example}."
    return f"The file's labels are in another order than the run's: {example}."


def _tensor_problems(found: Interface, num_labels: int, input_size: int, batch: int) -> list[str]:
    problems = []
    wanted, answers = [batch, input_size, input_size, 3], [batch, num_labels]
    if [(tensor.data_type, tensor.shape) for tensor in found.inputs] != [("UINT8", wanted)]:
        problems.append(f"The file takes {_listed(found.inputs)}, the run one uint8 image of {wanted}.")
    if [tensor.shape for tensor in found.outputs] != [answers]:
        problems.append(f"The file gives {_listed(found.outputs)}, and the run's {num_labels} labels want {answers}.")
    return problems


def _listed(tensors: Sequence[TensorRecord]) -> str:
    shown = [f"{tensor.data_type.lower()} {tensor.shape}" for tensor in tensors[:3]]
    more = f" and {len(tensors) - 3} more" if len(tensors) > 3 else ""
    return (" and ".join(shown) or "nothing") + more
