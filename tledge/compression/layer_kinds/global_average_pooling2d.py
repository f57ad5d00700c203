"""This kind of layer computes the mean of each whole map."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("global_average_pooling2d", ("GlobalAveragePooling2D",), tflite=("MEAN",), onnx=("GlobalAveragePool",))
