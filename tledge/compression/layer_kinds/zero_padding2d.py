"""This kind of layer puts zeros around maps, as networks from PyTorch do before convolutions of stride 2."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind(
    "zero_padding2d",
    ("ZeroPadding2D",),
    tflite=("PAD",),
    onnx=("Conv",),  # with one weight for each channel: ONNX Runtime has no integer kernel for Pad
    keeps_values=True,  # zero always has a quantized value: the zero point
    merges_into=("conv2d", "depthwise_conv2d", "max_pooling2d"),
)
