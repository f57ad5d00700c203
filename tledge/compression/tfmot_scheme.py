"""This module tells tensorflow-model-optimization (TFMOT) about the converters' 8-bit arithmetic.

TFMOT calls these classes by the names of their methods alone. So none of them needs a base class of TFMOT's, which
would cost the import of TensorFlow.
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
    """This quantizer rounds weights with one scale for each output channel.

    The channel's largest weight has the quantized value ``LARGEST_CODE``. With ``has_mask`` the weights are
    multiplied by a variable of their shape first, which begins as ones. ``num_codes`` is the size of the variable
    that holds the allowed quantized values; another variable holds the edges between them. 0 allows all whole
    numbers. ``scale_bits`` and ``bounds_pairs`` are those of a ``Grid``, but ``bounds_pairs`` is set only for layers
    that have pairs. ``num_output_axes`` is that of a ``Kernel``.
    """

    has_mask: bool
    num_codes: int
    scale_bits: int | None
    bounds_pairs: bool
    num_output_axes: int

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Create the variables of one kernel, and return them by their names."""
        shapes = {MASK: tensor_shape} if self.has_mask else {}
        if self.num_codes:
            shapes |= {VALUES: [self.num_codes], EDGES: [self.num_codes - 1]}
        return {
            own: layer.add_weight(name=f"{name}_{own}", shape=shape, initializer="ones", trainable=False)
            for own, shape in shapes.items()
        }

    def __call__(self, inputs: Any, training: bool, weights: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the rounded weights, with the gradient of the weights before rounding."""
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
        """Return the arguments that build this quantizer again."""
        return asdict(self)


def _largest_sums(kernel: Any, shape: Any) -> Any:
    """Return the same as ``int8_pairs.largest_sums`` for a TensorFlow kernel, reshaped to ``shape``."""
    import tensorflow as tf

    rows = tf.reshape(kernel, (-1, shape.num_elements()))
    rows = tf.pad(rows, [[0, rows.shape[0] % 2], [0, 0]])
    first, second = rows[0::2], rows[1::2]
    upward = tf.nn.relu(first) + tf.nn.relu(second)
    downward = tf.nn.relu(-first) + tf.nn.relu(-second)
    return tf.reshape(tf.reduce_max(tf.maximum(upward, downward), axis=0), shape)


@dataclass(frozen=True)
class InRange:
    """This quantizer rounds activations to the quantized values 0 to 255 of a fixed range.

    Values outside the range are clipped and have no gradient.
    """

    low: float
    high: float

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Return no variables, because the range is fixed."""
        return {}

    def __call__(self, inputs: Any, training: bool, weights: Mapping[str, Any], **kwargs: Any) -> Any:
        """Return the real numbers that the quantized values of ``inputs`` stand for."""
        import tensorflow as tf

        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this quantizer again."""
        return asdict(self)


@dataclass(frozen=True)
class LayerConfig:
    """This configuration says how one layer is quantized.

    ``kernel`` is the name of the layer's kernel, None where it has none. ``reach`` is the range of its output, None
    where the output is not quantized. The other fields are those of ``PerChannel``.
    """

    kernel: str | None
    reach: Range | None
    has_mask: bool
    num_codes: int
    scale_bits: int | None
    bounds_pairs: bool

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, PerChannel]]:
        """Return the layer's kernel with its quantizer, or nothing where it has no kernel."""
        if self.kernel is None:
            return []
        bounds_pairs = self.bounds_pairs and has_pairs(layer)
        num_output_axes = kernel_of(layer).num_output_axes
        quantizer = PerChannel(self.has_mask, self.num_codes, self.scale_bits, bounds_pairs, num_output_axes)
        return [(getattr(layer, self.kernel), quantizer)]

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        """Return an empty list, because an activation is a layer of its own."""
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Let the layer compute with the rounded kernel."""
        if self.kernel:
            setattr(layer, self.kernel, quantize_weights[0])

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Do nothing, because no activation is inside a layer."""

    def get_output_quantizers(self, layer: Any) -> list[InRange]:
        """Return the quantizer of the layer's output, or nothing where the output is not quantized."""
        return [InRange(*self.reach)] if self.reach else []

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this configuration again."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LayerConfig:
        """Build the configuration that :meth:`get_config` described."""
        return cls(**config)


@dataclass(frozen=True)
class Scheme:
    """The scheme says how each layer is quantized: by its kind, and by its name in ``ranges`` and ``grids``.

    It is also the registry that TFMOT asks.
    """

    ranges: Mapping[str, Range]
    bounds_pairs: bool
    has_masks: bool
    grids: Mapping[str, Grid]

    def get_layout_transformer(self) -> Scheme:
        """Return this scheme, which is its own layout transformer."""
        return self

    def apply(self, model: Any, layer_quantize_map: Any) -> tuple[Any, Any]:
        """Return the model unchanged, because batch normalizations are folded already."""
        return model, layer_quantize_map

    def get_quantize_registry(self) -> Scheme:
        """Return this scheme, which is its own registry."""
        return self

    def supports(self, layer: Any) -> bool:
        """Return True, because ``fold`` lets only known layers through."""
        return True

    def get_quantize_config(self, layer: Any) -> LayerConfig:
        """Return how one layer is quantized."""
        own = kind_of(layer).kernel
        grid = self.grids.get(layer.name, Grid(bounds_pairs=self.bounds_pairs))
        num_codes = 0 if grid.book is None else len(grid.book.values)
        reach = self.ranges.get(layer.name)
        return LayerConfig(
            own.name if own else None, reach, self.has_masks, num_codes, grid.scale_bits, grid.bounds_pairs
        )


CLASSES = {one.__name__: one for one in (PerChannel, InRange, LayerConfig)}
