"""This kind of layer is a depthwise convolution, in which every input channel has kernels of its own."""

from tledge.compression.copies import with_bias
from tledge.compression.layer_kinds import Kernel, LayerKind
from tledge.compression.patches import of_convolution

_KERNEL = Kernel(
    "depthwise_kernel",  # (rows, columns, channels, multiplier)
    of_convolution,
    num_output_axes=2,
    sums_channels=False,
    num_groups=lambda layer: int(layer.depthwise_kernel.shape[2]),
)
KIND = LayerKind(
    "depthwise_conv2d",
    ("DepthwiseConv2D",),
    tflite=("DEPTHWISE_CONV_2D",),
    onnx=("Conv",),
    kernel=_KERNEL,
    copied=with_bias,
)
