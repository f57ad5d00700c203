"""Each operator of the table is computed by ONNX Runtime and by the described layers, in every form that files have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tledge.importing.foreign import LayersUnknown
from tledge.importing.onnx_file import read
from tledge.importing.onnx_network import described
from tledge.importing.onnx_operators import operators

RNG = np.random.default_rng(0)
OPSETS = (11, 13, 17)


def noise(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@dataclass
class Case:
    """The nodes read ``x``, float32 (N, C, S, S), and write ``y``. Tensors are given by name."""

    name: str
    nodes: Sequence[Any]
    tensors: dict[str, Any] = field(default_factory=dict)
    opset: int = 17
    size: int = 9
    channels: int = 8  # a convolution of one pixel makes them of three
    domain: str = ""

    @property
    def operators(self) -> set[str]:
        return {node.op_type for node in self.nodes}


def node(operator: str, reads: str = "x", writes: str = "y", **attributes: Any) -> Any:
    names = ["" if one == "-" else one for one in reads.split()]
    return helper.make_node(operator, names, writes.split(), name=f"at/{writes.split(maxsplit=1)[0]}", **attributes)


def conv(
    name: str, filters: int = 6, kernel: tuple[int, int] = (3, 3), group: int = 1, bias: bool = True, **more: Any
) -> Case:
    size = more.pop("size", 9)
    tensors = {"w": noise(filters, 8 // group, *kernel)} | ({"b": noise(filters)} if bias else {})
    return Case(name, [node("Conv", "x w b" if bias else "x w", group=group, **more)], tensors, size=size)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def f32(number: float) -> np.ndarray:
    return np.float32(number).reshape(())


def axes_form(operator: str, opset: int, since: int, axes: Sequence[int], name: str = "", **more: Any) -> Case:
    """Return a case whose axes are an attribute before an opset and an input from then on."""
    if opset < since:
        return Case(f"opset {opset}{name}", [node(operator, axes=list(axes), **more)], opset=opset)
    return Case(f"opset {opset}{name}", [node(operator, "x axes", **more)], {"axes": i64(*axes)}, opset=opset)


def vector(*nodes: Any, **tensors: Any) -> Case:
    """Return a case whose nodes read ``f``, the vector (N, 648) of the map."""
    return Case("", [node("Flatten", "x", "f"), *nodes], tensors)


def named(name: str, case: Case, **changes: Any) -> Case:
    case.name = name
    for key, one in changes.items():
        setattr(case, key, one)
    return case


NORMALIZED = {"g": noise(8), "o": noise(8), "m": noise(8), "v": np.abs(noise(8)) + 0.1}
POOLS = [
    ("plain", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("pads of ResNet, even size", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "size": 8}),
    ("pads of ResNet, odd size", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "size": 9}),
    ("stride 1", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("other sides", {"kernel_shape": [3, 2], "strides": [2, 1]}),
    ("ceil_mode", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "size": 8}),
    (
        "ceil_mode and pads",
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1], "size": 9},
    ),
    ("ceil_mode, 2 on 9", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "size": 9}),
    ("SAME_UPPER", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER", "size": 8}),
    ("SAME_LOWER, odd size", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER", "size": 9}),
    ("VALID", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "VALID", "size": 8}),
]


def pool(operator: str, name: str, **more: Any) -> Case:
    size = more.pop("size", 9)
    return Case(name, [node(operator, **more)], size=size)


CASES: dict[str, list[Case]] = {
    "Conv": [
        conv("plain"),
        conv("no bias", bias=False),
        conv("one pixel", kernel=(1, 1)),
        conv("pads 1", pads=[1, 1, 1, 1]),
        conv("stride 2, pads 1, even size", pads=[1, 1, 1, 1], strides=[2, 2], size=8),
        conv("stride 2, pads 1, odd size", pads=[1, 1, 1, 1], strides=[2, 2]),
        conv("asymmetric pads", pads=[0, 1, 2, 0]),
        conv("asymmetric pads, stride 2", pads=[0, 1, 1, 2], strides=[2, 2], size=8),
        conv("other sides", kernel=(1, 5), pads=[0, 2, 0, 2], strides=[2, 1]),
        conv("groups", group=2, pads=[1, 1, 1, 1]),
        conv("groups and stride", group=4, filters=12, pads=[1, 1, 1, 1], strides=[2, 2]),
        conv("depthwise", group=8, filters=8, pads=[1, 1, 1, 1]),
        conv("depthwise, stride 2", group=8, filters=8, pads=[2, 2, 2, 2], kernel=(5, 5), strides=[2, 2], size=8),
        conv("depthwise, 2 strides", group=8, filters=8, strides=[2, 1]),
        conv("depthwise, twice as many", group=8, filters=16, pads=[1, 1, 1, 1]),
        conv("depthwise, dilated", group=8, filters=8, dilations=[2, 2], pads=[2, 2, 2, 2]),
        conv("depthwise, two dilations", group=8, filters=8, dilations=[1, 2]),
        conv("dilated", dilations=[2, 2], pads=[2, 2, 2, 2]),
        conv("dilated and stride", dilations=[2, 2], strides=[2, 2]),
        conv("SAME_UPPER, stride 2, even size", auto_pad="SAME_UPPER", strides=[2, 2], size=8),
        conv("SAME_UPPER, one pixel", auto_pad="SAME_UPPER", kernel=(1, 1)),
        conv("SAME_LOWER, stride 2, even size", auto_pad="SAME_LOWER", strides=[2, 2], size=8),
        conv("VALID", auto_pad="VALID", strides=[2, 2]),
        *(named(f"opset {opset}", conv(""), opset=opset) for opset in OPSETS),
    ],
    "BatchNormalization": [
        *(Case(f"opset {opset}", [node("BatchNormalization", "x g o m v")], NORMALIZED, opset) for opset in OPSETS),
        Case("epsilon", [node("BatchNormalization", "x g o m v", epsilon=0.01)], NORMALIZED),
        Case(
            "variance of zero and a small epsilon",
            [node("BatchNormalization", "x g o m v", epsilon=1e-5)],
            NORMALIZED | {"v": np.zeros(8, np.float32)},
        ),
        named(
            "of a vector",
            vector(
                node("BatchNormalization", "f g o m v"),
                **{key: np.abs(noise(648)) + 0.1 for key in ("g", "o", "m", "v")},
            ),
        ),
    ],
    "Relu": [Case(f"opset {opset}", [node("Relu")], opset=opset) for opset in OPSETS],
    "Clip": [
        Case("attributes", [node("Clip", min=0.0, max=6.0)], opset=10),
        Case("inputs, opset 11", [node("Clip", "x low high")], {"low": f32(0), "high": f32(6)}, 11),
        Case("inputs, opset 17", [node("Clip", "x low high")], {"low": f32(0), "high": f32(0.5)}, 17),
        Case("two bounds", [node("Clip", "x low high")], {"low": f32(-0.5), "high": f32(0.7)}),
        Case("lower only", [node("Clip", "x low")], {"low": f32(-0.5)}),
        Case("upper only", [node("Clip", "x - high")], {"high": f32(0.7)}),
        Case("no bounds", [node("Clip", "x")]),
    ],
    "LeakyRelu": [Case("default", [node("LeakyRelu")]), Case("alpha", [node("LeakyRelu", alpha=0.2)], opset=13)],
    "PRelu": [
        Case("one slope", [node("PRelu", "x s")], {"s": np.array([0.25], np.float32)}),
        *(Case(f"opset {opset}", [node("PRelu", "x s")], {"s": noise(8, 1, 1)}, opset) for opset in OPSETS),
        Case("with an axis for the photos", [node("PRelu", "x s")], {"s": noise(1, 8, 1, 1)}),
        named("of a vector", vector(node("PRelu", "f s"), s=noise(648))),
    ],
    "HardSigmoid": [
        Case("default", [node("HardSigmoid")]),
        Case("of MobileNetV3", [node("HardSigmoid", alpha=1 / 6, beta=0.5)], opset=13),
        Case("other", [node("HardSigmoid", alpha=0.3, beta=0.4)], opset=11),
    ],
    "HardSwish": [Case("opset 14", [node("HardSwish")], opset=14), Case("opset 17", [node("HardSwish")])],
    "Elu": [Case("plain", [node("Elu")])],
    "Softplus": [Case("plain", [node("Softplus")])],
    "Sigmoid": [Case(f"opset {opset}", [node("Sigmoid")], opset=opset) for opset in OPSETS],
    "Tanh": [Case(f"opset {opset}", [node("Tanh")], opset=opset) for opset in OPSETS],
    "Softmax": [
        Case("channels", [node("Softmax", axis=1)]),
        Case("columns", [node("Softmax")]),
        named("vector, opset 11", vector(node("Softmax", "f")), opset=11),
        named("vector, opset 17", vector(node("Softmax", "f")), opset=17),
    ],
    "Mul": [
        Case("number", [node("Mul", "x c")], {"c": f32(0.3)}),
        Case("number on the left", [node("Mul", "c x")], {"c": np.array([0.3], np.float32)}, 11),
        Case("channels", [node("Mul", "x c")], {"c": noise(1, 8, 1, 1)}),
        Case("channels without photos", [node("Mul", "x c")], {"c": noise(8, 1, 1)}, 13),
        Case("columns", [node("Mul", "x c")], {"c": noise(9)}),
        Case("two maps", [node("Sigmoid", "x", "s"), node("Mul", "x s")]),
        Case("squeeze and excite", [node("GlobalAveragePool", "x", "p"), node("Mul", "x p")]),
        Case("excite on the left", [node("GlobalAveragePool", "x", "p"), node("Mul", "p x")]),
        Case(
            "excite by dense layers",
            [
                node("ReduceMean", "x", "p", axes=[2, 3], keepdims=0),
                node("Gemm", "p w b", "d"),
                node("Reshape", "d shape", "r"),
                node("Mul", "x r"),
            ],
            {"w": noise(8, 8), "b": noise(8), "shape": i64(-1, 8, 1, 1)},
        ),
    ],
    "Add": [
        Case("number", [node("Add", "x c")], {"c": f32(0.3)}),
        Case("channels", [node("Add", "x c")], {"c": noise(1, 8, 1, 1)}),
        Case("channels on the left", [node("Add", "c x")], {"c": noise(8, 1, 1)}, 11),
        Case(
            "bias of Conv",
            [node("Conv", "x w", "k"), node("Add", "k c")],
            {"w": noise(4, 8, 3, 3), "c": noise(4, 1, 1)},
        ),
        Case(
            "no bias of a Conv that is read twice",
            [node("Conv", "x w", "k"), node("Add", "k c", "a"), node("Mul", "k a")],
            {"w": noise(4, 8, 3, 3), "c": noise(4, 1, 1)},
        ),
        Case(
            "no bias of a Conv that is read under two names",
            [node("Conv", "x w", "k"), node("Identity", "k", "i"), node("Add", "i c", "a"), node("Mul", "k a")],
            {"w": noise(4, 8, 3, 3), "c": noise(4, 1, 1)},
        ),
        named("bias of MatMul", vector(node("MatMul", "f w", "k"), node("Add", "k c"), w=noise(648, 5), c=noise(5))),
        Case("residual", [node("Relu", "x", "r"), node("Add", "x r")]),
        Case("itself", [node("Add", "x x")]),
        Case(  # the second vector is the same map's, read by rows, columns and channels
            "vectors in two orders",
            [
                node("Flatten", "x", "f"),
                node("Transpose", "x", "t", perm=[0, 2, 3, 1]),
                node("Reshape", "t s", "g"),
                node("Add", "f g"),
            ],
            {"s": i64(-1, 648)},
        ),
    ],
    "Sub": [
        Case("number", [node("Sub", "x c")], {"c": f32(0.3)}),
        Case("from a number", [node("Sub", "c x")], {"c": f32(0.3)}),
        Case("channels", [node("Sub", "x c")], {"c": noise(8, 1, 1)}),
        Case("from channels", [node("Sub", "c x")], {"c": noise(8, 1, 1)}),
        Case("two maps", [node("Relu", "x", "r"), node("Sub", "x r")]),
    ],
    "Div": [
        Case("number", [node("Div", "x c")], {"c": f32(0.3)}),
        Case("channels", [node("Div", "x c")], {"c": np.abs(noise(8, 1, 1)) + 0.5}),
    ],
    "Concat": [
        Case("channels", [node("Relu", "x", "r"), node("Concat", "x r x", axis=1)], opset=11),
        Case("channels, negative axis", [node("Relu", "x", "r"), node("Concat", "x r", axis=-3)]),
        Case("rows", [node("Relu", "x", "r"), node("Concat", "x r", axis=2)]),
        named("vectors", vector(node("Relu", "f", "r"), node("Concat", "f r", axis=1))),
        Case(
            "pooled",
            [node("GlobalAveragePool", "x", "p"), node("GlobalMaxPool", "x", "q"), node("Concat", "p q", axis=1)],
        ),
    ],
    "MaxPool": [
        *(pool("MaxPool", name, **dict(more)) for name, more in POOLS),
        Case(
            "after Relu, pads that no other has",
            [node("Relu", "x", "r"), node("MaxPool", "r", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 0, 0, 1])],
            size=8,
        ),
        Case(
            "after Relu, ceil_mode and pads",
            [
                node("Relu", "x", "r"),
                node("MaxPool", "r", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1] * 4),
            ],
            size=8,
        ),
        *(named(f"opset {opset}", pool("MaxPool", "", kernel_shape=[2, 2]), opset=opset) for opset in OPSETS),
    ],
    "AveragePool": [
        *(pool("AveragePool", name, **dict(more)) for name, more in POOLS),
        pool("AveragePool", "counts pads", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        pool(
            "AveragePool",
            "counts pads, stride 2",
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            size=8,
            count_include_pad=1,
        ),
        pool("AveragePool", "counts no pads", kernel_shape=[3, 3], strides=[2, 2], size=8, count_include_pad=1),
        *(named(f"opset {opset}", pool("AveragePool", "", kernel_shape=[2, 2]), opset=opset) for opset in OPSETS),
    ],
    "GlobalAveragePool": [
        Case("map", [node("GlobalAveragePool")]),
        Case("then Flatten", [node("GlobalAveragePool", "x", "p"), node("Flatten", "p")], opset=11),
    ],
    "GlobalMaxPool": [
        Case("map", [node("GlobalMaxPool")]),
        Case("then Flatten", [node("GlobalMaxPool", "x", "p"), node("Flatten", "p")], opset=13),
    ],
    "ReduceMean": [
        *(axes_form("ReduceMean", opset, 18, (2, 3)) for opset in (11, 13, 17, 18)),
        *(axes_form("ReduceMean", opset, 18, (-1, -2), ", keepdims=0", keepdims=0) for opset in (11, 18)),
        Case("NHWC", [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("ReduceMean", "t", axes=[1, 2])]),
        Case(
            "NHWC, keepdims=0",
            [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("ReduceMean", "t", axes=[1, 2], keepdims=0)],
        ),
    ],
    "Flatten": [
        Case("map", [node("Flatten")]),
        Case("negative axis", [node("Flatten", axis=-3)]),
        Case("then Gemm", [node("Flatten", "x", "f"), node("Gemm", "f w")], {"w": noise(648, 5)}, 11),
        Case(
            "then Relu and Gemm",
            [node("Flatten", "x", "f"), node("Relu", "f", "r"), node("Gemm", "r w")],
            {"w": noise(648, 5)},
        ),
    ],
    "Reshape": [
        Case("vector", [node("Reshape", "x s")], {"s": i64(-1, 648)}),
        Case("0 and -1", [node("Reshape", "x s")], {"s": i64(0, -1)}, 11),
        Case(
            "then MatMul", [node("Reshape", "x s", "f"), node("MatMul", "f w")], {"s": i64(-1, 648), "w": noise(648, 5)}
        ),
        Case(
            "of what Shape says",
            [
                node("Shape", "x", "s"),
                node("Gather", "s zero", "n", axis=0),
                node("Unsqueeze", "n zeros", "u"),
                node("Concat", "u rest", "t", axis=0),
                node("Reshape", "x t"),
            ],
            {"zero": np.array(0, np.int64), "zeros": i64(0), "rest": i64(-1)},
        ),
        Case(
            "channels shuffled",
            [
                node("Reshape", "x s", "a"),
                node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
                node("Reshape", "b t", "c"),
                node("Conv", "c w"),
            ],
            {"s": i64(-1, 2, 4, 9, 9), "t": i64(-1, 8, 9, 9), "w": noise(5, 8, 3, 3)},
        ),
        Case("no whole axes", [node("Reshape", "x s", "a"), node("Relu", "a")], {"s": i64(-1, 12, 54)}),
        Case(
            "no whole axes, and back",
            [
                node("Reshape", "x s", "a"),
                node("Transpose", "a", "b", perm=[0, 2, 1]),
                node("Reshape", "b t", "c"),
                node("Conv", "c w"),
            ],
            {"s": i64(-1, 12, 54), "t": i64(-1, 8, 9, 9), "w": noise(5, 8, 3, 3)},
        ),
    ],
    "Squeeze": [
        *(
            Case(
                f"opset {opset}",
                [
                    node("GlobalAveragePool", "x", "p"),
                    node("Squeeze", "p", axes=[2, 3]) if opset < 13 else node("Squeeze", "p a"),
                ],
                {} if opset < 13 else {"a": i64(-1, -2)},
                opset,
            )
            for opset in OPSETS
        ),
        Case("all", [node("GlobalAveragePool", "x", "p"), node("Squeeze", "p")]),
    ],
    "Unsqueeze": [
        *(axes_form("Unsqueeze", opset, 13, (2,)) for opset in OPSETS),
        Case(
            "of a vector, to a map",
            [
                node("ReduceMean", "x", "p", axes=[2, 3], keepdims=0),
                node("Unsqueeze", "p a", "u"),
                node("Conv", "u w"),
            ],
            {"a": i64(2, 3), "w": noise(4, 8, 1, 1)},
        ),
    ],
    "Transpose": [
        Case("NHWC", [node("Transpose", perm=[0, 2, 3, 1])]),
        Case(
            "NHWC and back", [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Transpose", "t", perm=[0, 3, 1, 2])]
        ),
        Case("NHWC, then Flatten", [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Flatten", "t")], opset=11),
        Case(
            "NHWC, then Flatten and Gemm",
            [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Flatten", "t", "f"), node("Gemm", "f w")],
            {"w": noise(648, 5)},
        ),
        Case(
            "rows and columns",
            [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("Conv", "t w")],
            {"w": noise(5, 8, 3, 1)},
        ),
        Case("tokens", [node("Reshape", "x s", "r"), node("Transpose", "r", perm=[0, 2, 1])], {"s": i64(0, 8, 81)}),
    ],
    "Gemm": [
        named("plain", vector(node("Gemm", "f w b"), w=noise(648, 5), b=noise(5))),
        named("no bias", vector(node("Gemm", "f w"), w=noise(648, 5))),
        named("transB", vector(node("Gemm", "f w b", transB=1), w=noise(5, 648), b=noise(5)), opset=11),
        named(
            "alpha and beta",
            vector(node("Gemm", "f w b", alpha=0.5, beta=2.0), w=noise(648, 5), b=noise(1, 5)),
            opset=13,
        ),
        named("one bias", vector(node("Gemm", "f w b"), w=noise(648, 5), b=noise(1))),
        Case(
            "after pooling",
            [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f w b", transB=1)],
            {"w": noise(5, 8), "b": noise(5)},
        ),
    ],
    "MatMul": [
        named("vector", vector(node("MatMul", "f w"), w=noise(648, 5))),
        Case("tokens", [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("MatMul", "t w")], {"w": noise(8, 5)}),
        Case(
            "tokens of a map and a bias",
            [
                node("Reshape", "x s", "r"),
                node("Transpose", "r", "t", perm=[0, 2, 1]),
                node("MatMul", "t w", "k"),
                node("Add", "k b"),
            ],
            {"s": i64(0, 8, 81), "w": noise(8, 5), "b": noise(5)},
        ),
        Case("columns", [node("MatMul", "x w")], {"w": noise(9, 5)}),
    ],
    "Pad": [
        Case("attributes", [node("Pad", pads=[0, 0, 1, 2, 0, 0, 3, 0])], opset=10),
        *(Case(f"opset {opset}", [node("Pad", "x p")], {"p": i64(0, 0, 1, 2, 0, 0, 3, 0)}, opset) for opset in OPSETS),
        Case("zero is given", [node("Pad", "x p z")], {"p": i64(0, 0, 1, 1, 0, 0, 1, 1), "z": f32(0)}),
        Case("axes", [node("Pad", "x p - a")], {"p": i64(1, 1, 0, 2), "a": i64(2, -1)}, 18),
        Case("nothing", [node("Pad", "x p")], {"p": i64(*[0] * 8)}),
        Case(
            "NHWC",
            [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Pad", "t p")],
            {"p": i64(0, 0, 1, 0, 0, 1, 0, 0)},
        ),
        Case("channels", [node("Pad", "x p")], {"p": i64(0, 2, 0, 0, 0, 3, 0, 0)}),
    ],
    "Identity": [Case("plain", [node("Identity")], opset=11)],
    "Dropout": [
        Case("attribute", [node("Dropout", ratio=0.5)], opset=11),
        Case("inputs", [node("Dropout", "x r")], {"r": f32(0.5)}),
        Case("inference", [node("Dropout", "x r t")], {"r": f32(0.5), "t": np.array(False)}),
    ],
    "Cast": [
        Case("of a tensor", [node("Cast", to=TensorProto.FLOAT)]),
        Case(
            "of a constant",
            [node("Cast", "c", "k", to=TensorProto.FLOAT), node("Mul", "x k")],
            {"c": np.float64(0.3)},
            13,
        ),
    ],
}
# These are computed when the graph is read, and have no function of their own.
FOLDED = [
    Case(
        "Constant",
        [helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(noise(8, 1, 1))), node("Mul", "x c")],
    ),
    Case(
        "Constant of a number", [helper.make_node("Constant", [], ["c"], value_float=0.5), node("Mul", "x c")], opset=13
    ),
    Case(
        "ConstantOfShape",
        [
            node("ConstantOfShape", "s", "c", value=numpy_helper.from_array(np.array([0.5], np.float32))),
            node("Mul", "x c"),
        ],
        {"s": i64(8, 1, 1)},
    ),
    Case(
        "a part of a shape",
        [
            node("Shape", "x", "s"),
            node("Slice", "s one two", "c"),
            node("Concat", "zero c all", "t", axis=0),
            node("Reshape", "x t"),
        ],
        {"one": i64(1), "two": i64(2), "zero": i64(0), "all": i64(-1)},
    ),
    Case(
        "pads as PyTorch writes them",
        [
            node("ConstantOfShape", "four", "none", value=numpy_helper.from_array(i64(0))),
            node("Concat", "given none", "p", axis=0),
            node("Reshape", "p two", "q"),
            node("Slice", "q last first axis back", "r"),
            node("Transpose", "r", "s", perm=[1, 0]),
            node("Reshape", "s all", "t"),
            node("Cast", "t", "u", to=TensorProto.INT64),
            node("Pad", "x u", "v"),
            node("Relu", "v"),
        ],
        {
            "four": i64(4),
            "given": i64(0, 1, 2, 3),
            "two": i64(-1, 2),
            "last": i64(-1),
            "first": i64(-(2**62)),
            "axis": i64(0),
            "back": i64(-1),
            "all": i64(-1),
        },
    ),
    Case(
        "arithmetic of constants",
        [node("Sqrt", "v", "q"), node("Div", "g q", "k"), node("Mul", "x k")],
        {"v": np.abs(noise(8, 1, 1)) + 0.5, "g": noise(8, 1, 1)},
    ),
]
ALL = [(operator, case) for operator, cases in CASES.items() for case in cases]


def file_of(case: Case, folder: Path, channels: int | None = None) -> Path:
    channels = channels or case.channels
    first = [helper.make_node("Conv", ["images", "grown"], ["x"], name="first/Conv")]
    tensors = {"grown": np.random.default_rng(7).normal(size=(channels, 3, 1, 1)).astype(np.float32), **case.tensors}
    graph = helper.make_graph(
        [*first, *case.nodes],
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, case.size, case.size])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    opsets = [helper.make_opsetid("", case.opset)] + ([helper.make_opsetid(case.domain, 1)] if case.domain else [])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path = folder / "case.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def layers_of(case: Case, folder: Path) -> Any:
    return described(read(file_of(case, folder)), case.size, 3, True, 1)


def difference(case: Case, folder: Path) -> float:
    """Return the largest difference between the layers and ONNX Runtime, as a share of the output's range."""
    images = np.random.default_rng(1).normal(size=(3, case.size, case.size, 3)).astype(np.float32)
    runtime = onnxruntime.InferenceSession(str(file_of(case, folder)), providers=["CPUExecutionProvider"])
    expected = runtime.run(None, {"images": images.transpose(0, 3, 1, 2)})[0].reshape(len(images), -1)
    found = layers_of(case, folder).graph()(images).numpy()
    assert found.shape == expected.shape
    assert np.ptp(expected) > 0
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_every_operator_of_the_table_has_a_case() -> None:
    assert set(CASES) == set(operators())
    for operator, case in ALL:
        assert operator in case.operators


@pytest.mark.parametrize(("operator", "case"), ALL, ids=[f"{operator}: {case.name}" for operator, case in ALL])
def test_an_operators_layers_answer_as_onnx_runtime(operator: str, case: Case, tmp_path: Path) -> None:
    assert difference(case, tmp_path) <= 1e-5


@pytest.mark.parametrize("case", FOLDED, ids=[case.name for case in FOLDED])
def test_constants_are_computed_when_the_graph_is_read(case: Case, tmp_path: Path) -> None:
    assert difference(case, tmp_path) <= 1e-5
    kinds = {layer.kind for layer in layers_of(case, tmp_path).layers}
    assert kinds <= {
        "Conv2D",
        "BatchNormalization",
        "Rescaling",
        "Permute",
        "Reshape",
        "Flatten",
        "ZeroPadding2D",
        "ReLU",
    }


def kinds_of(case: Case, folder: Path) -> list[str]:
    return [layer.kind for layer in layers_of(case, folder).layers][1:]


def by_name(operator: str, name: str) -> Case:
    return next(case for case in CASES[operator] if case.name == name)


def test_layouts_cost_no_layers_where_an_operator_can_read_the_numbers_as_they_lie(tmp_path: Path) -> None:
    assert kinds_of(by_name("Flatten", "then Gemm"), tmp_path) == ["Flatten", "Dense"]
    assert kinds_of(by_name("Gemm", "after pooling"), tmp_path) == ["GlobalAveragePooling2D", "Dense"]
    assert kinds_of(by_name("Transpose", "NHWC, then Flatten"), tmp_path) == ["Flatten"]
    assert kinds_of(by_name("Mul", "squeeze and excite"), tmp_path)[:2] == ["GlobalAveragePooling2D", "Multiply"]
    assert kinds_of(by_name("Add", "bias of Conv"), tmp_path)[:1] == ["Conv2D"]
    shuffled = kinds_of(by_name("Reshape", "channels shuffled"), tmp_path)
    assert shuffled[:4] == ["Reshape", "Permute", "Reshape", "Conv2D"]


def test_a_convolution_in_groups_can_be_written_as_onnx_again(tmp_path: Path) -> None:
    from tledge.exporters.onnx_graph import of_function

    case = by_name("Conv", "groups and stride")
    graph = layers_of(case, tmp_path).graph()
    model = of_function(lambda images: graph(images, training=False), case.size, "float32")
    runtime = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    photo = np.random.default_rng(2).normal(size=(1, case.size, case.size, 3)).astype(np.float32)
    (found,) = runtime.run(None, {runtime.get_inputs()[0].name: photo})
    np.testing.assert_allclose(found, graph(photo).numpy(), atol=1e-4)


UNKNOWN = {
    "an operator that is none": (Case("", [node("Erf")]), "Erf 'at/y'"),
    "an operator of another domain": (
        Case("", [helper.make_node("Gelu", ["x"], ["y"], name="at/y", domain="com.microsoft")], domain="com.microsoft"),
        "com.microsoft.Gelu 'at/y'",
    ),
    "a product of two tensors": (
        Case("", [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t")]),
        "MatMul 'at/y' computes its input 2 from the photo",
    ),
    "a division by a tensor": (Case("", [node("Sigmoid", "x", "s"), node("Div", "x s")]), "Div 'at/y' divides by"),
    "a constant for each pixel": (
        Case("", [node("Add", "x c")], {"c": noise(1, 8, 9, 9)}),
        "differs along several axes",
    ),
    "pads of a pooling that TensorFlow has not": (
        pool("MaxPool", "", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 0, 0, 1], size=8),
        "MaxPool 'at/y' has pads",
    ),
    "photos that are joined": (Case("", [node("Reshape", "x s")], {"s": i64(8, -1)}), "joins the axis of the photos"),
    "numbers around the map": (
        Case("", [node("Pad", "x p z")], {"p": i64(0, 0, 1, 1, 0, 0, 1, 1), "z": f32(1)}),
        "pads with other numbers than zeros",
    ),
    "a mean over the channels": (Case("", [node("ReduceMean", axes=[1])]), "ReduceMean 'at/y' takes the mean"),
    "a convolution of weights that depend on the photo": (
        Case("", [node("Relu", "x", "r"), node("Conv", "x r")]),
        "Conv 'at/y' computes its input 2 from the photo",
    ),
    "random numbers": (Case("", [node("RandomNormalLike", "x")]), "RandomNormalLike 'at/y'"),
    "a random constant": (
        Case("", [helper.make_node("RandomNormal", [], ["c"], shape=[8, 1, 1], name="at/c"), node("Add", "x c")]),
        "RandomNormal 'at/c'",
    ),
}


@pytest.mark.parametrize("told", UNKNOWN)
def test_a_form_without_layers_is_named_with_its_operator_and_node(told: str, tmp_path: Path) -> None:
    case, message = UNKNOWN[told]
    with pytest.raises(LayersUnknown) as caught:
        layers_of(case, tmp_path)
    assert message in str(caught.value)
