"""What is really inside an artifact, and whether that is what its format promises.

The readers take the file's bytes as hostile: they follow nothing outside the file and run nothing in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from tledge.errors import ArtifactError, PromiseBroken
from tledge.exporters import Format
from tledge.records import Audit, OperatorCount

INTEGER_TYPES = frozenset(
    {"INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "BOOL"}
)
_PIXEL_INPUT = (1.0, 0)


def audit(path: Path) -> Audit:
    """Read an artifact. Raises ArtifactError where the file can't be parsed."""
    from tledge.exporters.audit_onnx import audit_onnx
    from tledge.exporters.audit_tflite import audit_tflite

    readers: dict[str, Callable[[bytes], Audit]] = {".tflite": audit_tflite, ".onnx": audit_onnx}
    try:
        return readers[path.suffix](path.read_bytes())
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # the generated readers raise struct.error, IndexError, TypeError on damaged bytes
        raise ArtifactError(
            f"{path}: not a readable {path.suffix[1:]} model ({type(error).__name__}: {error})"
        ) from error


def counted(operators: Iterable[tuple[str, str, str]]) -> list[OperatorCount]:
    """(name, kind, data type) of every operator, counted and sorted."""
    return [
        OperatorCount.model_validate({"name": name, "kind": kind, "data_type": data_type, "count": count})
        for (name, kind, data_type), count in sorted(Counter(operators).items())
    ]


def broken_promises(found: Audit, form: Format) -> list[str]:
    """In what the file differs from the promise of its format; empty where it keeps it."""
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
    if form.promise == "all-integer":
        forbid("float", "hybrid")
        require(bool(found.names_of("integer")), "no integer operator at all")
        require(
            found.weight_types.get("FLOAT32", 0) <= _float_constants_allowed(found),
            f"{found.weight_types.get('FLOAT32', 0)} bytes of float constants",
        )
        scales = [(tensor.scale, tensor.zero_point) for tensor in found.inputs]
        require(
            scales == [_PIXEL_INPUT],
            f"input scale and zero point are {scales}, not 1 and 0: a pixel is not its own code",
        )
        if form.file.endswith(".tflite"):
            output_types = [tensor.data_type for tensor in found.outputs]
            require(output_types == ["UINT8"], f"outputs are {output_types}, not uint8")
    elif form.promise == "dynamic-range int8":
        require(bool(found.names_of("hybrid")), "no operator with int8 weights and float activations")
        total = sum(found.weight_types.get(name, 0) for name in ("FLOAT32", "FLOAT16", "INT8"))
        share = found.weight_types.get("INT8", 0)
        require(
            share > total / 2, f"{share} of {total} weight bytes are int8: too few weights are large enough to quantize"
        )
    else:
        forbid("hybrid", "integer")
        wanted = "FLOAT16" if form.promise == "float16 weights" else "FLOAT32"
        total = sum(found.weight_types.get(name, 0) for name in ("FLOAT32", "FLOAT16", "INT8"))
        require(
            found.weight_types.get(wanted, 0) > total / 2,
            f"{found.weight_types.get(wanted, 0)} of {total} weight bytes are {wanted.lower()}",
        )
    return problems


def _float_constants_allowed(found: Audit) -> int:
    # QDQ keeps a scale a channel as a float constant; a whole float weight tensor is far larger than the int8 ones' scales.
    return found.weight_types.get("INT8", 0) // 4


def require_promise(found: Audit, form: Format) -> None:
    """Raise PromiseBroken that names the operators where the file is not what its format says."""
    problems = broken_promises(found, form)
    if problems:
        raise PromiseBroken(
            f"{form.name} promises {form.promise}, and the file differs: {'; '.join(problems)}. "
            "It was not kept. Choose another format, or a backbone whose operators this one supports."
        )
