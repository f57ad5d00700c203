"""This kind of layer adds up the outputs of layers."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("add", ("Add",), tflite=("ADD",), onnx=("Add",))
