"""What is really inside an artifact, and whether that is what its format promises.

The readers take the file's bytes as hostile: they follow nothing outside the file and run nothing in it.
"""

from __future__ import annotations

import math
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tledge.errors import ArtifactError, PromiseBroken
from tledge.printable import one_line
from tledge.records import Audit, OperatorCount, Promise, TensorRecord

INTEGER_TYPES = frozenset(
    {"INT2", "INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL"}
)
_PIXEL_INPUT = {"scale": 1.0, "zero_point": 0}  # a byte stands for itself, where the record says nothing else
_SAME_SCALE = 1e-6  # files hold scales in 32 bits
_ROUNDED = 1e-4  # shares in a record
_TO_AND_FROM_FLOAT = frozenset({"QUANTIZE", "DEQUANTIZE"})
_INT16 = re.compile(r"int16( with \S+)? to int16")  # the data type of an operator on such activations
FREE = -1  # stands for a dimension of any size in the shape of a tensor
_MAX_FILE_BYTES = 2**31  # neither a flatbuffer nor a protobuf can be larger
_MAX_NAME = 100
_MAX_LISTED = 20
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Interface:
    """What a file says of itself to its user. ``metadata``: tledge's own entry, None where there is none."""

    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    metadata: bytes | None


def audit(path: Path) -> Audit:
    """Read an artifact. Raises ArtifactError where the file can't be parsed, or contradicts itself."""
    from tledge.audit.onnx import audit_onnx
    from tledge.audit.tflite import audit_tflite

    return read_with(path, {".tflite": audit_tflite, ".onnx": audit_onnx})


def read_with(path: Path, readers: Mapping[str, Callable[[bytes], _Found]]) -> _Found:
    """What the reader for this kind of file makes of its bytes. Raises ArtifactError whatever is wrong with it."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
            raise ArtifactError("not a file of at most 2 GiB; run tledge export again")
        return readers[path.suffix](path.read_bytes())
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # the generated readers raise struct.error, IndexError, TypeError on damaged bytes
        raise ArtifactError(
            f"{path}: not a readable {path.suffix[1:]} model ({type(error).__name__}: {error})"
        ) from error


def printable(name: str) -> str:
    """A name from a file in one line that a terminal or a page may show, cut where it is long."""
    shown = one_line(name[: _MAX_NAME + 1])
    return shown if len(shown) <= _MAX_NAME else f"{shown[: _MAX_NAME - 3]}..."


def largest(bytes_by_name: Mapping[str, int]) -> list[str]:
    """``NAME (n bytes)``, the largest first, at most 20, and how many were left out."""
    ordered = sorted(bytes_by_name.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{name} ({size:,} bytes)" for name, size in ordered[:_MAX_LISTED]]
    return listed + ([f"and {len(ordered) - _MAX_LISTED} more"] if len(ordered) > _MAX_LISTED else [])


def counted(operators: Iterable[tuple[str, str, str]]) -> list[OperatorCount]:
    """(name, kind, data type) of every operator, counted and sorted."""
    return [
        OperatorCount.model_validate({"name": name, "kind": kind, "data_type": data_type, "count": count})
        for (name, kind, data_type), count in sorted(Counter(operators).items())
    ]


def broken_promises(found: Audit, promise: Promise, file: str, options: Mapping[str, Any]) -> list[str]:
    """In what a file of this name differs from the promise of its format; empty where it keeps it.

    ``options``: those of the export record. What they say of weights and opset is a promise too.
    """
    problems = []

    def forbid(*kinds: str) -> None:
        names = found.names_of(*kinds)
        if names:
            problems.append(f"{'/'.join(kinds)} operators: {', '.join(names)}")

    def require(condition: bool, problem: str) -> None:
        if not condition:
            problems.append(problem)

    forbid("flex", "custom")
    input_types = [tensor.data_type for tensor in found.inputs]
    require(input_types == ["UINT8"], f"inputs are {input_types}, not one uint8 image")
    require(len(found.outputs) == 1, f"{len(found.outputs)} outputs, not one")
    quantized = found.weight_granularity
    if promise in ("all-integer", "mixed integer and float"):
        problems += _no_codes(found, file, options)
    if promise == "all-integer":
        forbid("float", "hybrid")
        require(bool(found.names_of("integer")), "no integer operator at all")
        require(not found.float_constants, f"float constants: {', '.join(found.float_constants)}")
        share = found.integer_mac_share
        # None is no proof against it: every operator is judged by itself above.
        require(share in (None, 1.0), f"{share or 0:.1%} of the multiply-accumulates are integer")
    elif promise == "mixed integer and float":
        forbid("hybrid")
        problems += _not_mixed(found, options)
    elif promise == "dynamic-range int8":
        problems += _not_dynamic(found, file)
    elif promise == "int16 activations, int8 weights":
        problems += _not_int16x8(found)
    else:
        forbid("hybrid", "integer")
        wanted = "FLOAT16" if promise == "float16 weights" else "FLOAT32"
        total = _weight_bytes(found)
        require(
            found.weight_types.get(wanted, 0) > total / 2,
            f"{found.weight_types.get(wanted, 0)} of {total} weight bytes are {wanted.lower()}",
        )
        require(not quantized, f"{sum(quantized.values())} quantized weight tensors")
    if "per-channel" in str(options.get("weights", "")):
        count = quantized.get("per-tensor", 0)
        require(bool(quantized), "no quantized weights at all, where per-channel ones are promised")
        require(
            not count, f"{count} of {sum(quantized.values())} quantized weight tensors have one scale for all channels"
        )
    problems += _not_as_declared(found, options)
    problems += _another_batch(found, options)
    if "opset" in options:
        opset = found.file_versions.get("opset")
        require(str(opset) == str(options["opset"]), f"opset {opset}, not {options['opset']}")
    return problems


def _no_codes(found: Audit, file: str, options: Mapping[str, Any]) -> list[str]:
    """Where the input is not a pixel's own code, or the output of a TFLite file no code."""
    problems = []
    scales = [(tensor.scale, tensor.zero_point) for tensor in found.inputs]
    scale, zero_point = (options.get(f"input_{name}", value) for name, value in _PIXEL_INPUT.items())
    if not (len(scales) == 1 and scales[0][1] == zero_point and _is_same_scale(scales[0][0], scale)):
        wanted = printable(str((scale, zero_point)))
        problems.append(f"input scale and zero point are {scales}, not {wanted}: a pixel is not its own code")
    output_types = [tensor.data_type for tensor in found.outputs]
    if file.endswith(".tflite") and output_types != ["UINT8"]:
        problems.append(f"outputs are {output_types}, not uint8")
    return problems


def _not_as_declared(found: Audit, options: Mapping[str, Any]) -> list[str]:
    """Where a pruned file has fewer zeros than its record says, one of few codes has more, or weights are larger together."""
    problems = []
    zeros = options.get("zeros")
    if zeros is not None and not (found.zero_weight_share or 0) >= _number(zeros) - _ROUNDED:
        share = found.zero_weight_share or 0
        problems.append(f"the share of weights that are zero is {share:.4f}, and {printable(str(zeros))} is declared")
    codes = options.get("codes")
    if codes is not None and not (found.most_weight_codes or 0) <= _number(codes):
        problems.append(
            f"a layer has {found.most_weight_codes} different weights, and {printable(str(codes))} are declared"
        )
    pairs = options.get("largest_pair_sum")
    if pairs is not None and not (found.largest_pair_sum or 0) <= _number(pairs):
        problems.append(
            f"two weights whose products a CPU may add in 16 bits reach {found.largest_pair_sum} together, and "
            f"{printable(str(pairs))} is declared"
        )
    return problems


def _another_batch(found: Audit, options: Mapping[str, Any]) -> list[str]:
    """Where input or output are of another number of photos than the record says, and than each other."""
    declared = options.get("batch", "1")  # records from before the option say nothing of it
    first = {"1": 1, "any": FREE}.get(declared) if isinstance(declared, str) else None
    batches = sorted({tensor.shape[0] for tensor in (*found.inputs, *found.outputs) if tensor.shape})
    if first is not None and set(batches) <= {first}:
        return []
    wanted = printable(str(declared))
    return [f"input and output are of {batches} photos ({FREE}: any number), and a batch of {wanted} is declared"]


def _number(recorded: Any) -> float:
    """NaN, which keeps no promise, for anything else."""
    return float(recorded) if type(recorded) in (int, float) else math.nan


def _not_mixed(found: Audit, options: Mapping[str, Any]) -> list[str]:
    """Where the float operators are not those that the record declares, or nothing multiplies integers."""
    counts: Counter[str] = Counter()
    for operator in found.operators:
        if operator.kind == "float" and operator.name not in _TO_AND_FROM_FLOAT:
            counts[operator.name] += operator.count
    declared = options.get("float_operators")
    problems = []
    if dict(counts) != declared or not declared:
        problems.append(
            f"float operators are {dict(sorted(counts.items()))}, and {printable(str(declared))} are declared"
        )
    if not found.integer_mac_share:  # the networks that can be mixed have shapes that are known
        problems.append("no convolution or matrix product in integers")
    return problems


def _not_dynamic(found: Audit, file: str) -> list[str]:
    """Where no operator has codes of 8 bits for weights and float activations, or most weights have none."""
    problems = []
    if not found.names_of("hybrid"):
        problems.append("no operator with int8 weights and float activations")
    if file.endswith(".onnx") and not found.names_of("integer"):  # its hybrid ones only give activations their codes
        problems.append("no integer operator at all")
    total, small = _weight_bytes(found), sum(found.weight_types.get(name, 0) for name in ("INT8", "UINT8"))
    if small <= total / 2:
        problems.append(f"{small} of {total} weight bytes are int8: too few weights are large enough to quantize")
    return problems


def _not_int16x8(found: Audit) -> list[str]:
    """Where anything but the conversion of the first and the last values is no operator on int16, with int8 weights."""
    others = [
        f"{op.name} ({op.data_type}) x{op.count}"
        for op in found.operators
        if (op.kind == "integer" and not _INT16.fullmatch(op.data_type))
        or (op.kind in ("float", "hybrid") and op.name not in _TO_AND_FROM_FLOAT)
    ]
    problems = [f"operators not on int16: {', '.join(others)}"] if others else []
    if not found.names_of("integer"):
        problems.append("no integer operator at all")
    if found.float_constants:
        problems.append(f"float constants: {', '.join(found.float_constants)}")
    small, wide = (found.weight_types.get(name, 0) for name in ("INT8", "INT16"))
    if small <= wide:
        problems.append(f"{small} weight bytes are int8, and {wide} int16")
    return problems


def _is_same_scale(found: float | None, recorded: Any) -> bool:
    return found is not None and type(recorded) is float and abs(found - recorded) <= _SAME_SCALE * abs(recorded)


def _weight_bytes(found: Audit) -> int:
    return sum(found.weight_types.get(name, 0) for name in ("FLOAT32", "FLOAT16", "INT8", "UINT8"))


def require_promise(found: Audit, format_name: str, promise: Promise, file: str, options: Mapping[str, Any]) -> None:
    """Raise PromiseBroken that names the operators where the file is not what its format says."""
    problems = broken_promises(found, promise, file, options)
    if problems:
        raise PromiseBroken(
            f"{format_name} promises {promise}, and the file differs: {'; '.join(problems)}. "
            "It was not kept. Choose another format, or a backbone whose operators this one supports."
        )
