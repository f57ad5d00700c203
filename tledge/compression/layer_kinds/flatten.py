"""Maps laid out as vectors."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("flatten", ("Flatten",), tflite=("RESHAPE",), onnx=("Reshape",), keeps_values=True)
