"""This kind of layer is a dense layer."""

from tledge.compression.copies import with_bias
from tledge.compression.layer_kinds import Kernel, LayerKind
from tledge.compression.patches import of_vectors

KIND = LayerKind(
    "dense",
    ("Dense",),
    tflite=("FULLY_CONNECTED",),
    onnx=("Gemm",),
    kernel=Kernel("kernel", of_vectors),
    copied=with_bias,
)
