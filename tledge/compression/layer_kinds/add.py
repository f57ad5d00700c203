"""Sums of layers."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("add", ("Add",), tflite=("ADD",), onnx=("Add",))
