"""A prepared network has rounded weights and ranges, and is ready for integer arithmetic in any file format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.codes import SMALLEST
from tledge.compression.layer_roles import may_merge
from tledge.compression.notes import FittingNotes
from tledge.compression.ranges import Histogram, Range

FEW_PHOTOS = 4  # enough for a quantizer that asks for a representative data set although every range is known


@dataclass(frozen=True)
class InputCodes:
    """This scale and zero point say what a pixel byte stands for: real value = scale * (byte - zero_point).

    The network takes the real values.
    """

    scale: float
    zero_point: int

    def real(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Convert bytes to the real values that they stand for, float32 of the same shape."""
        return (np.asarray(pixels, np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)

    @property
    def range(self) -> Range:
        """Return the real values that the bytes 0 and 255 stand for."""
        return -self.zero_point * self.scale, (255 - self.zero_point) * self.scale


@dataclass(frozen=True)
class PreparedNetwork:
    """A prepared network has weights that are quantized values times a scale, so that rounding changes none of them.

    Attributes:
        network: A flat tf_keras.Model from real values, float32 (N, S, S, 3), to logits (N, C).
        input_codes: The scale and zero point that turn pixel bytes into those real values.
        ranges: The ranges of the layers' outputs, by layer name.
        fitting: Notes for the export record on how the network was made.
        histograms: The histograms of outputs from which the ranges follow, by layer name. Each layer has two, of the even
            photos and of the odd photos. Layers whose histograms were not kept are missing.
        float_layers: The names of the layers that compute in float, with the trained kernels.
        bounds_pairs: Whether the products of every pair of int8 weights fit into 16 bits, as ``Grid.bounds_pairs`` says.
    """

    network: Any
    input_codes: InputCodes
    ranges: Mapping[str, Range]
    fitting: FittingNotes
    histograms: Mapping[str, tuple[Histogram, Histogram]] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    bounds_pairs: bool = False

    def probabilities(self, values: Any) -> Any:
        """Compute the probabilities, float32 (N, C), for the network's own input, float32 (N, S, S, 3).

        This is the function that is deployed.
        """
        import tensorflow as tf

        return tf.nn.softmax(self.network(values, training=False))

    def keep_products(self) -> None:
        """Fill every kernel that is all zero with a tiny number, in place.

        An untrained head has a kernel of zeros. Converters fold a product with zeros into a constant, and all layers
        before it vanish.
        """
        for layer in self.network.layers:
            kernel, *others = layer.get_weights() or [None]
            if kernel is not None and not np.any(kernel):
                layer.set_weights([np.full_like(kernel, SMALLEST), *others])

    def range_of(self, names: Iterable[str]) -> Range | None:
        """Return the range of a tensor that holds the outputs of the layers ``names``.

        The outputs are equal, so the first range is taken. Returns None where no layer has a range.
        """
        return next((self.ranges[name] for name in names if name in self.ranges), None)

    def require_all(self, found: Iterable[Iterable[str]]) -> None:
        """Raise RuntimeError where no tensor of a converted model holds a layer's output: its range would be lost.

        ``found`` has the names of the layers in each tensor. A layer may be missing if its output is the same for
        every photo, such as one behind a ReLU that lets nothing through. Converters fold it into its reader, where it
        needs no range. So it is with padding that became part of a convolution, which reads the tensor before it.
        """
        held = {name for names in found for name in names}
        lost = {name for name in self.ranges.keys() - held if not may_merge(self.network.get_layer(name))}
        if lost and (lost := lost & self._varying()):
            raise RuntimeError(f"the converted model has no tensor with the output of {', '.join(sorted(lost))}")

    def _varying(self) -> set[str]:
        """Return the names of the layers whose output is not the same for a few very different images."""
        shape = self.network.input_shape[1:]
        noise = np.random.default_rng(0).integers(0, 256, (FEW_PHOTOS, *shape), np.uint8)
        images = np.concatenate(
            [np.zeros((1, *shape), np.uint8), np.full((1, *shape), 255, np.uint8), noise, noise // 8]
        )
        outputs = self.outputs(self.input_codes.real(images))
        return {name for name, values in outputs.items() if np.any(values != values[:1])}

    def outputs(self, values: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Compute the output of every layer that has a range or computes in float, by layer name."""
        import tensorflow as tf
        import tf_keras

        names = list(dict.fromkeys([*self.ranges, *self.float_layers]))
        layers = [self.network.get_layer(name) for name in names]
        with tf.device("CPU"):  # like the runtimes to compare with: a GPU may round its inputs to 10 bits
            found = tf_keras.Model(self.network.input, [layer.output for layer in layers])(values, training=False)
        return {name: value.numpy() for name, value in zip(names, found, strict=True)}
