"""A network made ready for integer arithmetic, before any file format: weights on their grid of codes, and ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression.codes import SMALLEST
from tledge.compression.notes import FittingNotes
from tledge.compression.ranges import Histogram, Range

FEW_PHOTOS = 4  # they do for a quantizer that asks for representative data although every range is known


@dataclass(frozen=True)
class InputCodes:
    """What a pixel byte stands for: real = scale * (byte - zero_point), which is what the network takes."""

    scale: float
    zero_point: int

    def real(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """What bytes stand for, float32 of the same shape."""
        return (np.asarray(pixels, np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)

    @property
    def range(self) -> Range:
        """What the bytes 0 and 255 stand for."""
        return -self.zero_point * self.scale, (255 - self.zero_point) * self.scale


@dataclass(frozen=True)
class PreparedNetwork:
    """A network whose weights are codes times a scale of their output channel, so that rounding changes none of them.

    ``network``: a flat tf_keras.Model from pixels by ``input_codes``, float32 (N, S, S, 3), to logits (N, C).
    ``ranges``: of the outputs of its layers, by name, the smallest and largest value that codes shall reach. ``fitting``: how
    it was made, for the record of an export. ``histograms``: what the ranges follow from, of two halves of the photos, as far as
    it is kept. ``float_layers``: those that compute in float, with weights as they were trained.
    ``bounds_pairs``: whether every pair of weights fits into 16 bits, as in a ``Grid``.
    """

    network: Any
    input_codes: InputCodes
    ranges: Mapping[str, Range]
    fitting: FittingNotes
    histograms: Mapping[str, tuple[Histogram, Histogram]] = field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
    bounds_pairs: bool = False

    def probabilities(self, values: Any) -> Any:
        """What is deployed: float32 (N, S, S, 3) of the network's own input to probabilities, float32 (N, C)."""
        import tensorflow as tf

        return tf.nn.softmax(self.network(values, training=False))

    def keep_products(self) -> None:
        """Give every layer whose weights are all zero, as an untrained head has them, weights of next to nothing, in place.

        Converters fold a product with zeros into a constant, and all layers before it go with it.
        """
        for layer in self.network.layers:
            kernel, *others = layer.get_weights() or [None]
            if kernel is not None and not np.any(kernel):
                layer.set_weights([np.full_like(kernel, SMALLEST), *others])

    def range_of(self, names: Iterable[str]) -> Range | None:
        """That of a tensor which holds the outputs of these layers: the first one's, for they are equal."""
        return next((self.ranges[name] for name in names if name in self.ranges), None)

    def require_all(self, found: Iterable[Iterable[str]]) -> None:
        """Raise RuntimeError where a layer's output is in no tensor of a converted model: its range would be lost.

        A layer that gives the same for every photo, such as one behind a ReLU that lets nothing through, may be none:
        converters fold it into what reads it, where it needs no range.
        """
        lost = self.ranges.keys() - {name for names in found for name in names}
        if lost and (lost := lost & self._varying()):
            raise RuntimeError(f"the converted model has no tensor with the output of {', '.join(sorted(lost))}")

    def _varying(self) -> set[str]:
        """The layers whose output is not the same for every one of a few very different images."""
        shape = self.network.input_shape[1:]
        noise = np.random.default_rng(0).integers(0, 256, (FEW_PHOTOS, *shape), np.uint8)
        images = np.concatenate(
            [np.zeros((1, *shape), np.uint8), np.full((1, *shape), 255, np.uint8), noise, noise // 8]
        )
        outputs = self.outputs(self.input_codes.real(images))
        return {name for name, values in outputs.items() if np.any(values != values[:1])}

    def outputs(self, values: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """The output of every layer that has a range or computes in float, by its name."""
        import tensorflow as tf
        import tf_keras

        names = list(dict.fromkeys([*self.ranges, *self.float_layers]))
        layers = [self.network.get_layer(name) for name in names]
        with tf.device("CPU"):  # as the runtimes that they are compared with: a GPU may round its inputs to 10 bits
            found = tf_keras.Model(self.network.input, [layer.output for layer in layers])(values, training=False)
        return {name: value.numpy() for name, value in zip(names, found, strict=True)}
