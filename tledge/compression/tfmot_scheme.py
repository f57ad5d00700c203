"""How the converters' 8-bit arithmetic is told to tensorflow-model-optimization.

TFMOT calls these classes by their methods' names alone, so none of them needs its base classes, nor the import of TensorFlow
that they cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tledge.compression.codes import LARGEST_CODE, SMALLEST, Grid
from tledge.compression.layer_roles import has_pairs, kernel_of, kind_of
from tledge.compression.ranges import Range
from tledge.int8_pairs import LARGEST_SUM

MASK, VALUES, EDGES = "mask", "codes", "edges"


@dataclass(frozen=True)
class PerChannel:
    """Weights as codes of a scale of their output channel, in which the largest weight has the code ``LARGEST_CODE``.

    ``has_mask``: they are multiplied by a variable of their shape before, ones at first. ``num_codes``: of a variable of
    the codes that there are, beside one of the edges between them; 0 for all whole numbers. ``scale_bits`` and
    ``bounds_pairs``: as in a ``Grid``, the second of a layer that has pairs. ``num_output_axes``: as in a ``Kernel``.
    """

    has_mask: bool
    num_codes: int
    scale_bits: int | None
    bounds_pairs: bool
    num_output_axes: int

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """The variables of one kernel, by their names."""
        shapes = {MASK: tensor_shape} if self.has_mask else {}
        if self.num_codes:
            shapes |= {VALUES: [self.num_codes], EDGES: [self.num_codes - 1]}
        return {
            own: layer.add_weight(name=f"{name}_{own}", shape=shape, initializer="ones", trainable=False)
            for own, shape in shapes.items()
        }

    def __call__(self, inputs: Any, training: bool, weights: Mapping[str, Any], **kwargs: Any) -> Any:
        """The rounded weights, whose gradient is that of the weights themselves."""
        import tensorflow as tf

        kernel = inputs * weights[MASK] if self.has_mask else inputs
        summed = list(range(kernel.shape.rank - self.num_output_axes))
        largest = tf.maximum(tf.reduce_max(tf.abs(kernel), summed, keepdims=True), SMALLEST)
        scale = tf.stop_gradient(largest) / LARGEST_CODE
        if self.bounds_pairs:
            scale = tf.maximum(scale, _largest_sums(tf.stop_gradient(kernel), scale.shape) / LARGEST_SUM)
        if self.scale_bits is not None:
            unit = 2.0 ** (tf.floor(tf.math.log(scale) / math.log(2)) + (1 - self.scale_bits))
            scale = tf.round(scale / unit) * unit
        codes = tf.stop_gradient(kernel) / scale
        if self.num_codes:
            places = tf.searchsorted(weights[EDGES], tf.reshape(codes, [-1]), "right")
            nearest = tf.reshape(tf.gather(weights[VALUES], places), tf.shape(codes))
        else:
            nearest = tf.clip_by_value(tf.round(codes), -LARGEST_CODE, LARGEST_CODE)
        if not self.bounds_pairs:
            nearest = tf.where(tf.abs(kernel) == largest, tf.sign(kernel) * LARGEST_CODE, nearest)
        return kernel + tf.stop_gradient(nearest * scale - kernel)

    def get_config(self) -> dict[str, Any]:
        """What builds it again."""
        return asdict(self)


def _largest_sums(kernel: Any, shape: Any) -> Any:
    """Returns what ``int8_pairs.largest_sums`` does of a kernel, in ``shape``."""
    import tensorflow as tf

    rows = tf.reshape(kernel, (-1, shape.num_elements()))
    rows = tf.pad(rows, [[0, rows.shape[0] % 2], [0, 0]])
    first, second = rows[0::2], rows[1::2]
    upward = tf.nn.relu(first) + tf.nn.relu(second)
    downward = tf.nn.relu(-first) + tf.nn.relu(-second)
    return tf.reshape(tf.reduce_max(tf.maximum(upward, downward), axis=0), shape)


@dataclass(frozen=True)
class InRange:
    """Activations as codes 0 to 255 of a range that stays; what it cuts off has no gradient."""

    low: float
    high: float

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """No variables."""
        return {}

    def __call__(self, inputs: Any, training: bool, weights: Mapping[str, Any], **kwargs: Any) -> Any:
        """What the codes stand for."""
        import tensorflow as tf

        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        """What builds it again."""
        return asdict(self)


@dataclass(frozen=True)
class LayerConfig:
    """One layer: the name of its kernel, None without one, and the range of its output, None where it is not coded."""

    kernel: str | None
    reach: Range | None
    has_mask: bool
    num_codes: int
    scale_bits: int | None
    bounds_pairs: bool

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, PerChannel]]:
        """The kernel."""
        if self.kernel is None:
            return []
        bounds_pairs = self.bounds_pairs and has_pairs(layer)
        num_output_axes = kernel_of(layer).num_output_axes
        quantizer = PerChannel(self.has_mask, self.num_codes, self.scale_bits, bounds_pairs, num_output_axes)
        return [(getattr(layer, self.kernel), quantizer)]

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        """None: an activation is a layer of its own."""
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Let the layer compute with the rounded kernel."""
        if self.kernel:
            setattr(layer, self.kernel, quantize_weights[0])

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """There are none."""

    def get_output_quantizers(self, layer: Any) -> list[InRange]:
        """The range of the output."""
        return [InRange(*self.reach)] if self.reach else []

    def get_config(self) -> dict[str, Any]:
        """What builds it again."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LayerConfig:
        """The same again."""
        return cls(**config)


@dataclass(frozen=True)
class Scheme:
    """Every layer by its kind, and by its name in ``ranges`` and ``grids``. It is TFMOT's registry too."""

    ranges: Mapping[str, Range]
    bounds_pairs: bool
    has_masks: bool
    grids: Mapping[str, Grid]

    def get_layout_transformer(self) -> Scheme:
        """Itself."""
        return self

    def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
        """The layout stays: batch normalizations are folded already."""
        return model, layer_quantize_map

    def get_quantize_registry(self) -> Scheme:
        """Itself."""
        return self

    def supports(self, layer: Any) -> bool:
        """Every layer that ``fold`` lets through."""
        return True

    def get_quantize_config(self, layer: Any) -> LayerConfig:
        """How one layer computes."""
        own = kind_of(layer).kernel
        grid = self.grids.get(layer.name, Grid(bounds_pairs=self.bounds_pairs))
        num_codes = 0 if grid.book is None else len(grid.book.values)
        reach = self.ranges.get(layer.name)
        return LayerConfig(
            own.name if own else None, reach, self.has_masks, num_codes, grid.scale_bits, grid.bounds_pairs
        )


CLASSES = {one.__name__: one for one in (PerChannel, InRange, LayerConfig)}
