"""This module holds what each format promises of its files, and finds where a file breaks it.

One promise is one function.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tledge.audit.findings import FREE, printable
from tledge.errors import PromiseBroken
from tledge.records import Audit, Promise

_PIXEL_INPUT = {"scale": 1.0, "zero_point": 0}  # A byte stands for itself where the record says nothing else.
_SAME_SCALE = 1e-6  # This is a relative tolerance: files hold scales in 32 bits.
_ROUNDED = 1e-4  # Shares in a record are rounded to this.
_TO_AND_FROM_FLOAT = frozenset({"QUANTIZE", "DEQUANTIZE"})
_INT16 = re.compile(r"int16( with \S+)? to int16")  # This is the data type of an operator on int16 activations.
_WEIGHT_TYPES = ("FLOAT32", "FLOAT16", "INT8", "UINT8")
Options = Mapping[str, Any]
Check = Callable[[Audit, str, Options], list[str]]


def require_promise(found: Audit, format_name: str, promise: Promise, file: str, options: Options) -> None:
    """Raise PromiseBroken, with all problems, where a file is not what its format promises."""
    problems = broken_promises(found, promise, file, options)
    if problems:
        raise PromiseBroken(
            f"{format_name} promises {promise}, and the file differs: {'; '.join(problems)}. "
            "It was not kept. Choose another format, or a backbone whose operators this one supports."
        )


def broken_promises(found: Audit, promise: Promise, file: str, options: Options) -> list[str]:
    """List where a file differs from the promise of its format. The list is empty where it does not.

    ``file`` is the file's name. ``options`` are those of the export record: what they say of weights, batch and opset
    is a promise, too.
    """
    return [
        *_of_every_file(found),
        *PROMISES[promise](found, file, options),
        *_not_per_channel(found, options),
        *_not_as_declared(found, options),
        *_another_batch(found, options),
        *_another_opset(found, options),
    ]


def _all_integer(found: Audit, file: str, options: Options) -> list[str]:
    """List where a file differs from this promise: every operator computes on integers, from the pixel to the answer."""
    share = found.integer_mac_share
    return [
        *_no_codes(found, file, options),
        *_forbidden(found, "float", "hybrid"),
        *_no_integer_operator(found),
        *_float_constants(found),
        # An unknown share (None) proves nothing against the file: every operator is judged by itself above.
        *_unless(share in (None, 1.0), f"{share or 0:.1%} of the multiply-accumulates are integer"),
    ]


def _mixed(found: Audit, file: str, options: Options) -> list[str]:
    """List where a file differs from this promise: its float operators are declared, all others compute on integers."""
    counts: Counter[str] = Counter()
    for operator in found.operators:
        if operator.kind == "float" and operator.name not in _TO_AND_FROM_FLOAT:
            counts[operator.name] += operator.count
    declared = options.get("float_operators")
    return [
        *_no_codes(found, file, options),
        *_forbidden(found, "hybrid"),
        *_unless(
            dict(counts) == declared and bool(declared),
            f"float operators are {dict(sorted(counts.items()))}, and {printable(str(declared))} are declared",
        ),
        # All shapes are known in the networks that can be mixed.
        *_unless(bool(found.integer_mac_share), "no convolution or matrix product in integers"),
    ]


def _dynamic_range(found: Audit, file: str, options: Options) -> list[str]:
    """List where a file differs from this promise: most weights are 8-bit integers, activations are float."""
    total, small = _weight_bytes(found), sum(found.weight_types.get(name, 0) for name in ("INT8", "UINT8"))
    return [
        *_unless(bool(found.names_of("hybrid")), "no operator with int8 weights and float activations"),
        # In ONNX a hybrid operator only quantizes activations. An integer operator must do the products.
        *(_no_integer_operator(found) if file.endswith(".onnx") else []),
        *_unless(
            small > total / 2,
            f"{small} of {total} weight bytes are int8: too few weights are large enough to quantize",
        ),
    ]


def _int16x8(found: Audit, file: str, options: Options) -> list[str]:
    """List where a file differs from this promise: operators compute on int16 activations with int8 weights.

    The conversions at the input and at the output are exempt.
    """
    others = [
        f"{op.name} ({op.data_type}) x{op.count}"
        for op in found.operators
        if (op.kind == "integer" and not _INT16.fullmatch(op.data_type))
        or (op.kind in ("float", "hybrid") and op.name not in _TO_AND_FROM_FLOAT)
    ]
    small, wide = (found.weight_types.get(name, 0) for name in ("INT8", "INT16"))
    return [
        *_unless(not others, f"operators not on int16: {', '.join(others)}"),
        *_no_integer_operator(found),
        *_float_constants(found),
        *_unless(small > wide, f"{small} weight bytes are int8, and {wide} int16"),
    ]


def _float16_weights(found: Audit, file: str, options: Options) -> list[str]:
    """List where a file differs from this promise: every operator is float, and most weights are stored as float16."""
    return _float(found, "FLOAT16")


def _float32(found: Audit, file: str, options: Options) -> list[str]:
    """List where a file differs from this promise: every operator is float, and most weights are stored as float32."""
    return _float(found, "FLOAT32")


PROMISES: dict[Promise, Check] = {
    "float32": _float32,
    "float16 weights": _float16_weights,
    "dynamic-range int8": _dynamic_range,
    "int16 activations, int8 weights": _int16x8,
    "all-integer": _all_integer,
    "mixed integer and float": _mixed,
}
"""Each promise has one function. It takes the audit, the file's name and the options, and lists the differences."""


def _of_every_file(found: Audit) -> list[str]:
    """List the differences that no format allows.

    These are foreign operators, another input than one uint8 image, and another number of outputs than one.
    """
    input_types = [tensor.data_type for tensor in found.inputs]
    return [
        *_forbidden(found, "flex", "custom"),
        *_unless(input_types == ["UINT8"], f"inputs are {input_types}, not one uint8 image"),
        *_unless(len(found.outputs) == 1, f"{len(found.outputs)} outputs, not one"),
    ]


def _float(found: Audit, weights: str) -> list[str]:
    total, wanted = _weight_bytes(found), found.weight_types.get(weights, 0)
    quantized = sum(found.weight_granularity.values())
    return [
        *_forbidden(found, "hybrid", "integer"),
        *_unless(wanted > total / 2, f"{wanted} of {total} weight bytes are {weights.lower()}"),
        *_unless(not found.weight_granularity, f"{quantized} quantized weight tensors"),
    ]


def _unless(condition: bool, problem: str) -> list[str]:
    return [] if condition else [problem]


def _forbidden(found: Audit, *kinds: str) -> list[str]:
    names = found.names_of(*kinds)
    return _unless(not names, f"{'/'.join(kinds)} operators: {', '.join(names)}")


def _no_integer_operator(found: Audit) -> list[str]:
    return _unless(bool(found.names_of("integer")), "no integer operator at all")


def _float_constants(found: Audit) -> list[str]:
    return _unless(not found.float_constants, f"float constants: {', '.join(found.float_constants)}")


def _no_codes(found: Audit, file: str, options: Options) -> list[str]:
    """List the problems of an input or output that should hold quantized values.

    The value of a pixel must itself be the quantized value of the input. The output of a TFLite file must be uint8.
    """
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


def _not_per_channel(found: Audit, options: Options) -> list[str]:
    """List the problems of weights that are not per-channel where the record says that they are."""
    if "per-channel" not in str(options.get("weights", "")):
        return []
    quantized = found.weight_granularity
    count = quantized.get("per-tensor", 0)
    return [
        *_unless(bool(quantized), "no quantized weights at all, where per-channel ones are promised"),
        *_unless(
            not count, f"{count} of {sum(quantized.values())} quantized weight tensors have one scale for all channels"
        ),
    ]


def _not_as_declared(found: Audit, options: Options) -> list[str]:
    """List where the weights break the record: too few zeros, too many different values, or too large sums of pairs."""
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


def _another_batch(found: Audit, options: Options) -> list[str]:
    """List the problem of an input or output whose number of photos is not the one that the record says."""
    declared = options.get("batch", "1")  # records from before the option say nothing of it
    first = {"1": 1, "any": FREE}.get(declared) if isinstance(declared, str) else None
    batches = sorted({tensor.shape[0] for tensor in (*found.inputs, *found.outputs) if tensor.shape})
    if first is not None and set(batches) <= {first}:
        return []
    wanted = printable(str(declared))
    return [f"input and output are of {batches} photos ({FREE}: any number), and a batch of {wanted} is declared"]


def _another_opset(found: Audit, options: Options) -> list[str]:
    opset = found.file_versions.get("opset")
    return _unless(
        "opset" not in options or str(opset) == str(options["opset"]), f"opset {opset}, not {options.get('opset')}"
    )


def _number(recorded: Any) -> float:
    """Return a recorded number as a float. Anything else becomes NaN, which keeps no promise."""
    return float(recorded) if type(recorded) in (int, float) else math.nan


def _is_same_scale(found: float | None, recorded: Any) -> bool:
    return found is not None and type(recorded) is float and abs(found - recorded) <= _SAME_SCALE * abs(recorded)


def _weight_bytes(found: Audit) -> int:
    return sum(found.weight_types.get(name, 0) for name in _WEIGHT_TYPES)
