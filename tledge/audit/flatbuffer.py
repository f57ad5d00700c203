"""This module reads a TFLite flatbuffer into plain records, with a limit on how much the file may claim to hold.

In a flatbuffer many places can point at one table, so a small file can claim to be a very large model. The
generated object API would unpack all of it. Here every table and every string is charged to an account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from tledge.audit.macs import elements
from tledge.errors import ArtifactError

_Item = TypeVar("_Item")
_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_MAX_TABLES = 100_000  # The largest language models in this format have some ten thousand tensors.
_TABLE_BYTES = 16  # A tensor and its buffer, with the places that point at them, take more than this on average.
_BITS = {
    "FLOAT32": 32, "FLOAT16": 16, "BFLOAT16": 16, "FLOAT64": 64, "COMPLEX64": 64, "COMPLEX128": 128, "BOOL": 8,
    "INT2": 2, "INT4": 4, "UINT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16, "INT32": 32, "UINT32": 32,
    "INT64": 64, "UINT64": 64, "FLOAT8_E4M3FN": 8, "FLOAT8_E5M2": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor belongs to one subgraph, and is a constant or computed.

    Attributes:
        is_fixed: whether the file holds its whole shape.
        num_bytes: number of bytes in ``data``.
        scales: scales of the quantization; empty where the tensor is not quantized.
        zero_points: zero points of the quantization; empty where the tensor is not quantized.
        data: bytes of a constant, uint8; empty for a tensor that is computed.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]
    is_fixed: bool
    is_variable: bool
    num_bytes: int
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    data: np.ndarray[Any, Any] = field(repr=False, compare=False)

    @cached_property
    def num_elements(self) -> int:
        """Count the elements. Raises ArtifactError for a shape that no tensor can have."""
        return elements(self.shape, self.name)


@dataclass(frozen=True)
class TfliteOperator:
    """An operator reads and writes tensors, which it names by their numbers in the subgraph.

    Attributes:
        custom_code: name of a custom operator; "" for a built-in one.
        inputs: numbers of the tensors that it reads; -1 stands for an input that is left out.
        transposes_first: whether a BATCH_MATMUL takes its first matrices transposed.
    """

    name: str
    custom_code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    transposes_first: bool


@dataclass(frozen=True)
class Subgraph:
    """A subgraph holds tensors, and operators in the order in which they run."""

    tensors: list[Tensor]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: list[TfliteOperator]


@dataclass(frozen=True)
class TfliteModel:
    """A model is the content of a whole file. ``metadata`` holds its named buffers."""

    version: int
    subgraphs: list[Subgraph]
    metadata: dict[str, bytes]


def read_tflite(data: bytes) -> TfliteModel:
    """Read the bytes of a TFLite file into records.

    Raises ArtifactError for a model that contradicts itself. Damaged bytes raise any error of
    the generated FlatBuffers code that reads them.
    """
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != _IDENTIFIER:
        raise ArtifactError("no TFLite model: the file identifier TFL3 is missing")
    return _Reader(data, schema).model()


class _Reader:
    def __init__(self, data: bytes, schema: Any) -> None:
        self._schema = schema
        self._root = schema.Model.GetRootAs(data, 0)
        self._tables_left = _MAX_TABLES
        # A string or vector that two places share is read twice, so the account is a little above the file's size.
        self._bytes_left = 2 * len(data)
        self._types = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
        self._builtins = {n: name for name, n in vars(schema.BuiltinOperator).items() if isinstance(n, int)}

    def model(self) -> TfliteModel:
        root = self._root
        version = int(root.Version())
        if version != _SCHEMA_VERSION:
            raise ArtifactError(f"TFLite schema version {version}, and there is {_SCHEMA_VERSION} only")
        if not root.ExternalBuffersIsNone() and root.ExternalBuffersLength():
            raise ArtifactError("keeps weights outside the file, and tledge reads one file and nothing beside it")
        if not root.SubgraphsLength() or not root.Subgraphs(0).OperatorsLength():
            raise ArtifactError("no TFLite model: it has no operators")
        buffers = [self._buffer(table) for table in self._tables(root.BuffersLength(), root.Buffers)]
        codes = [self._code(table) for table in self._tables(root.OperatorCodesLength(), root.OperatorCodes)]
        subgraphs = [
            self._subgraph(table, buffers, codes) for table in self._tables(root.SubgraphsLength(), root.Subgraphs)
        ]
        metadata = {}
        for entry in self._tables(root.MetadataLength(), root.Metadata):
            content = _at(buffers, int(entry.Buffer()), "buffer")
            self._charge(len(content))
            metadata[self._text(entry.Name())] = content.tobytes()
        return TfliteModel(version, subgraphs, metadata)

    def _tables(self, length: int, table: Callable[[int], Any]) -> Iterator[Any]:
        self._tables_left -= length
        if self._tables_left < 0:
            raise ArtifactError(f"claims more than {_MAX_TABLES:,} tensors, operators and buffers")
        self._charge(_TABLE_BYTES * length)
        return (table(i) for i in range(length))

    def _charge(self, num_bytes: int) -> None:
        self._bytes_left -= num_bytes
        if self._bytes_left < 0:
            raise ArtifactError("claims to hold more than the whole file")

    def _text(self, value: bytes | None) -> str:
        self._charge(len(value or b""))
        return (value or b"").decode(errors="replace")

    def _numbers(self, length: int, vector: Callable[[], Any]) -> list[Any]:
        """Read a vector as Python's own numbers, which do not overflow."""
        self._charge(4 * length)
        return list(vector().tolist()) if length else []

    def _buffer(self, table: Any) -> np.ndarray[Any, Any]:
        if table.Offset() > 1 or table.Size() > 1:
            raise ArtifactError("keeps weights behind the flatbuffer, and tledge reads those inside it")
        return np.zeros(0, np.uint8) if table.DataIsNone() or not table.DataLength() else table.DataAsNumpy()

    def _code(self, table: Any) -> tuple[str, str]:
        # Files older than schema 3a hold the code in the deprecated 8-bit field.
        number = max(table.BuiltinCode(), table.DeprecatedBuiltinCode())
        if number not in self._builtins:
            raise ArtifactError(f"operator code {number} is unknown to this version of ai-edge-litert")
        name = self._builtins[number]
        return name, self._text(table.CustomCode()) if name == "CUSTOM" else ""

    def _subgraph(self, table: Any, buffers: list[np.ndarray[Any, Any]], codes: list[tuple[str, str]]) -> Subgraph:
        tensors = [self._tensor(tensor, buffers) for tensor in self._tables(table.TensorsLength(), table.Tensors)]
        operators = []
        for operator in self._tables(table.OperatorsLength(), table.Operators):
            name, custom_code = _at(codes, int(operator.OpcodeIndex()), "operator code")
            inputs = tuple(self._numbers(operator.InputsLength(), operator.InputsAsNumpy))
            outputs = tuple(self._numbers(operator.OutputsLength(), operator.OutputsAsNumpy))
            operators.append(TfliteOperator(name, custom_code, inputs, outputs, self._transposes_first(name, operator)))
        subgraph = Subgraph(
            tensors,
            tuple(self._numbers(table.InputsLength(), table.InputsAsNumpy)),
            tuple(self._numbers(table.OutputsLength(), table.OutputsAsNumpy)),
            operators,
        )
        _check_order(subgraph)
        return subgraph

    def _transposes_first(self, name: str, operator: Any) -> bool:
        if name != "BATCH_MATMUL" or operator.BuiltinOptions() is None:
            return False
        options = self._schema.BatchMatMulOptions()
        options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        return bool(options.AdjX())

    def _tensor(self, table: Any, buffers: list[np.ndarray[Any, Any]]) -> Tensor:
        if table.ExternalBuffer():
            raise ArtifactError("keeps weights outside the file, and tledge reads one file and nothing beside it")
        quantization = table.Quantization()
        scales: list[float] = []
        zero_points: list[int] = []
        if quantization is not None:
            scales = self._numbers(quantization.ScaleLength(), quantization.ScaleAsNumpy)
            zero_points = self._numbers(quantization.ZeroPointLength(), quantization.ZeroPointAsNumpy)
        shape = self._numbers(table.ShapeLength(), table.ShapeAsNumpy)
        signature = self._numbers(table.ShapeSignatureLength(), table.ShapeSignatureAsNumpy)
        if table.Type() not in self._types:
            raise ArtifactError(f"data type {table.Type()} is unknown to this version of ai-edge-litert")
        data = _at(buffers, int(table.Buffer()), "buffer")
        tensor = Tensor(
            name=self._text(table.Name()),
            data_type=self._types[table.Type()],
            shape=tuple(shape),
            is_fixed=-1 not in signature,
            is_variable=bool(table.IsVariable()),
            num_bytes=len(data),
            scales=tuple(scales),
            zero_points=tuple(zero_points),
            data=data,
        )
        bits = _BITS.get(tensor.data_type)  # text and handles have no fixed size
        if tensor.num_bytes and bits and table.Sparsity() is None:
            expected = -(-tensor.num_elements * bits // 8)
            if tensor.num_bytes != expected:
                raise ArtifactError(
                    f"tensor {tensor.name!r} of {shape} {tensor.data_type.lower()} needs {expected:,} bytes and has "
                    f"{tensor.num_bytes:,}"
                )
        return tensor


def _at(items: list[_Item], number: int, what: str) -> _Item:
    """Return an item by its number. Raises ArtifactError for a number that no item has.

    Python by itself would count a negative number from the end.
    """
    if not 0 <= number < len(items):
        raise ArtifactError(f"names {what} {number} of {len(items)}")
    return items[number]


def _check_order(subgraph: Subgraph) -> None:
    """Raise ArtifactError where the operators can't run in the order in which they are listed.

    What an operator reads must be there, and nothing may be written twice. So there are no cycles.
    """
    tensors = subgraph.tensors
    ready = {
        number
        for number, tensor in enumerate(tensors)
        if tensor.num_bytes or tensor.is_variable or tensor.num_elements == 0
    }
    for number in subgraph.inputs:
        _at(tensors, number, "tensor")
    ready.update(subgraph.inputs)
    for operator in subgraph.operators:
        for number in operator.inputs:
            if number != -1 and number not in ready:
                name = _at(tensors, number, "tensor").name
                raise ArtifactError(f"{operator.name} reads tensor {name!r}, which nothing before it writes")
        for number in operator.outputs:
            tensor = _at(tensors, number, "tensor")
            if number in ready and tensor.num_elements:
                raise ArtifactError(f"{operator.name} writes tensor {tensor.name!r}, which has its content already")
            ready.add(number)
    for number in subgraph.outputs:
        if _at(tensors, number, "tensor") and number not in ready:
            raise ArtifactError(f"output {tensors[number].name!r} is written by nothing")
