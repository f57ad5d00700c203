"""Read a TFLite flatbuffer: operators by data type, constants, inputs and outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tledge.errors import ArtifactError
from tledge.exporters.audit import INTEGER_TYPES, counted
from tledge.records import Audit, TensorRecord

_FLOATS = frozenset({"FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16"})
_CONVERSIONS = frozenset({"CAST", "QUANTIZE", "DEQUANTIZE"})
_IDENTIFIER = b"TFL3"


def audit_tflite(data: bytes) -> Audit:
    """The audit of a model's bytes. Damaged bytes raise whatever the generated reader raises."""
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != _IDENTIFIER:
        raise ArtifactError("no TFLite model: the file identifier TFL3 is missing")
    model = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
    builtins = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    weight_types: Counter[str] = Counter()
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            weight_types[types[tensor.type]] += _constant_bytes(model, tensor)
    main = model.subgraphs[0]
    return Audit(
        operators=counted(_operators(model, types, builtins)),
        weight_types={name: size for name, size in sorted(weight_types.items()) if size},
        inputs=[_tensor(main.tensors[i], types) for i in main.inputs],
        outputs=[_tensor(main.tensors[i], types) for i in main.outputs],
    )


def _constant_bytes(model: Any, tensor: Any) -> int:
    data = model.buffers[tensor.buffer].data
    return 0 if data is None else len(data)


def _operators(model: Any, types: dict[int, str], builtins: dict[int, str]) -> Iterator[tuple[str, str, str]]:
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            # Files older than schema 3a hold the code in the deprecated 8-bit field.
            name = builtins[max(code.builtinCode, code.deprecatedBuiltinCode)]
            if name == "CUSTOM":
                custom = code.customCode.decode(errors="replace")
                yield custom, "flex" if custom.startswith("Flex") else "custom", "custom"
                continue
            read = [subgraph.tensors[i] for i in operator.inputs if i >= 0]
            written = [types[subgraph.tensors[i].type] for i in operator.outputs]
            constants = {types[t.type] for t in read if _constant_bytes(model, t)}
            activations = [types[t.type] for t in read if not _constant_bytes(model, t)]
            yield name, _kind(name, activations, constants, written), _data_type(activations, constants, written)


def _kind(name: str, activations: list[str], constants: set[str], written: list[str]) -> str:
    every = {*activations, *constants, *written}
    if every <= INTEGER_TYPES:
        return "integer"
    if name in _CONVERSIONS:
        # Unpacking a float16 constant, or the pixel byte to float, computes nothing;
        # between float and integer activations it means that a float operator stands next to it.
        return "boundary" if not activations or name == "CAST" else "float"
    moving = {*activations, *written}
    return "hybrid" if moving & _FLOATS and "INT8" in constants else "float"


def _data_type(activations: list[str], constants: set[str], written: list[str]) -> str:
    read = sorted(set(activations)) or sorted(constants)
    weights = sorted(constants - set(read))
    return (
        f"{'+'.join(read)}{' with ' + '+'.join(weights) if weights else ''} to {'+'.join(sorted(set(written)))}".lower()
    )


def _tensor(tensor: Any, types: dict[int, str]) -> TensorRecord:
    quantization = tensor.quantization
    scaled = quantization is not None and quantization.scale is not None and len(quantization.scale) == 1
    return TensorRecord(
        name=tensor.name.decode(errors="replace"),
        shape=[int(size) for size in tensor.shape],
        data_type=types[tensor.type],
        scale=float(quantization.scale[0]) if scaled else None,
        zero_point=int(quantization.zeroPoint[0]) if scaled else None,
    )
