"""This kind of layer is a convolution whose outputs read all channels."""

from tledge.compression.copies import with_bias
from tledge.compression.layer_kinds import Kernel, LayerKind
from tledge.compression.patches import of_convolution

KIND = LayerKind(
    "conv2d",
    ("Conv2D",),
    tflite=("CONV_2D",),
    onnx=("Conv",),
    claims=lambda layer: layer.groups == 1,
    kernel=Kernel("kernel", of_convolution),
    copied=with_bias,
)
