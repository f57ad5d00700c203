"""This kind of layer computes the maximum over parts of maps."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("max_pooling2d", ("MaxPooling2D",), tflite=("MAX_POOL_2D",), onnx=("MaxPool",), keeps_values=True)
