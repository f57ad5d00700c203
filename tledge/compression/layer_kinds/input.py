"""This kind of layer is the network's input, whose quantized values are the pixels."""

from tledge.compression.layer_kinds import LayerKind

KIND = LayerKind("input", ("InputLayer",))
