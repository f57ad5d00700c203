"""This kind of layer lays out maps as vectors."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("flatten", ("Flatten",), tflite=("RESHAPE",), onnx=("Reshape",), keeps_values=True)
