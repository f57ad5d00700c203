"""RandAugment applies a few operations of one strength, drawn anew for each photo.

Source: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space" (2020), with its
fourteen operations. Colour operations are Pillow's. The mirrored photo fills what a geometric operation uncovers, where
the paper has grey. Invert, cutout and solarize-add are left out: some implementations add them to the paper's list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tledge.tensorflow_setup import tensorflow
from tledge.training.augmentation_settings import MAX_MAGNITUDE
from tledge.training.counter_random import uniforms
from tledge.training.photo_operations import Colour, Geometry, radians, recolour, to_bytes, warp

_ROTATION_DEGREES, _SHEAR, _SHIFT, _BLEND = 30.0, 0.3, 0.45, 0.9  # at the largest magnitude
_POSTERIZED_BITS = 4.0
_STREAM = 1  # stream of random numbers; stream 0 is for the other settings


def randaugment(pixels: Any, keys: Any, layers: int, magnitude: float) -> Any:
    """Apply ``layers`` operations to each photo, uint8 (N, S, S, 3); ``keys`` int32 (N, 2) draw them.

    ``magnitude`` is in [0, 10]. At 10 a rotation is by 30 degrees, a shear by 0.3, and a shift by 0.45 of the side.
    Brightness, colour, contrast and sharpness change by the factor 0.1 or 1.9. Posterizing leaves 4 bits, and
    solarizing inverts all levels.
    """
    drawn = uniforms(keys, 2 * layers, _STREAM)
    for layer in range(layers):
        pixels = _one_each(pixels, drawn[:, 2 * layer], drawn[:, 2 * layer + 1], magnitude / MAX_MAGNITUDE)
    return pixels


def _one_each(pixels: Any, choice: Any, sign: Any, strength: float) -> Any:
    """Apply to each photo the operation that it drew, together with the other photos that drew the same."""
    tf = tensorflow()
    numbers = tf.cast(choice * len(OPERATIONS), tf.int32)
    signed = tf.where(sign < 0.5, tf.constant(-strength, tf.float64), strength)
    rows = tf.dynamic_partition(tf.range(tf.shape(pixels)[0]), numbers, len(OPERATIONS))
    changed = [
        operation(tf.gather(pixels, row), tf.gather(signed, row))
        for operation, row in zip(OPERATIONS.values(), rows, strict=True)
    ]
    return tf.ensure_shape(tf.dynamic_stitch(rows, changed), pixels.shape)


def _autocontrast(pixels: Any, signed: Any) -> Any:
    """Stretch each channel to [0, 255]."""
    tf = tensorflow()
    low = tf.cast(tf.reduce_min(pixels, axis=(1, 2)), tf.float64)[..., None]
    high = tf.cast(tf.reduce_max(pixels, axis=(1, 2)), tf.float64)[..., None]
    levels = tf.range(256, dtype=tf.float64)
    scale = tf.where(high > low, 255 / tf.maximum(high - low, 1), 1)
    stretched = levels * scale - tf.where(high > low, low * scale, 0)
    return _look_up(pixels, tf.cast(tf.clip_by_value(stretched, 0, 255), tf.uint8))


def _equalize(pixels: Any, signed: Any) -> Any:
    """Level the histogram of each channel."""
    tf = tensorflow()
    channels = tf.range(tf.shape(pixels)[0] * 3)
    bins = tf.cast(pixels, tf.int32) + 256 * tf.reshape(channels, (-1, 1, 1, 3))
    histogram = tf.reshape(tf.math.bincount(tf.reshape(bins, [-1]), minlength=256 * tf.size(channels)), (-1, 3, 256))
    last = tf.reduce_max(tf.where(histogram > 0, tf.range(256), 0), axis=-1, keepdims=True)
    step = (pixels.shape[1] ** 2 - tf.gather(histogram, last, batch_dims=2)) // 255
    below = tf.cumsum(histogram, axis=-1, exclusive=True)
    table = tf.where(step > 0, tf.minimum((below + step // 2) // tf.maximum(step, 1), 255), tf.range(256))
    return _look_up(pixels, tf.cast(table, tf.uint8))


def _look_up(pixels: Any, table: Any) -> Any:
    """Replace each value of uint8 (N, S, S, 3) by its entry in the channel's ``table``, uint8 (N, 3, 256)."""
    tf = tensorflow()
    starts = 256 * tf.reshape(tf.range(tf.shape(pixels)[0] * 3), (-1, 1, 1, 3))
    return tf.gather(tf.reshape(table, [-1]), tf.cast(pixels, tf.int32) + starts)


def _solarize(pixels: Any, signed: Any) -> Any:
    """Invert all values that reach the threshold."""
    tf = tensorflow()
    threshold = tf.cast(tf.round(256 * (1 - abs(signed))), tf.int32)[:, None, None, None]
    return tf.where(tf.cast(pixels, tf.int32) < threshold, pixels, 255 - pixels)


def _posterize(pixels: Any, signed: Any) -> Any:
    """Keep only the high bits."""
    tf = tensorflow()
    lost = tf.cast(tf.round(abs(signed) * (8 - _POSTERIZED_BITS)), tf.uint8)
    mask = tf.bitwise.left_shift(tf.constant(255, tf.uint8), lost)
    return tf.bitwise.bitwise_and(pixels, mask[:, None, None, None])


def _sharpness(pixels: Any, signed: Any) -> Any:
    """Move a photo away from its smoothed copy, or towards it; the outermost pixels stay, and S is at least 3."""
    tf = tensorflow()
    values = tf.cast(pixels, tf.float32)
    inner = values[:, 1:-1, 1:-1]
    # Values are rounded as in Pillow. No sum of thirteenths lies half way, so its order does not change the result.
    smooth = tf.round((9 * tf.nn.avg_pool2d(values, 3, 1, "VALID") + 4 * inner) / 13)
    change = tf.cast(_BLEND * signed, tf.float32)[:, None, None, None]
    return to_bytes(values + change * tf.pad(inner - smooth, ((0, 0), (1, 1), (1, 1), (0, 0))))


def _moved(geometry: Callable[[Any], Geometry]) -> Callable[[Any, Any], Any]:
    def operation(pixels: Any, signed: Any) -> Any:
        tf = tensorflow()
        return to_bytes(warp(tf.cast(pixels, tf.float32), geometry(signed)))

    return operation


def _coloured(colour: Callable[[Any], Colour]) -> Callable[[Any, Any], Any]:
    def operation(pixels: Any, signed: Any) -> Any:
        tf = tensorflow()
        return to_bytes(recolour(tf.cast(pixels, tf.float32), pixels, colour(1 + _BLEND * signed)))

    return operation


# Each operation takes pixels uint8 (n, S, S, 3) and signed strengths in [-1, 1], float64 (n,), and returns pixels.
# n may be 0.
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "identity": lambda pixels, signed: pixels,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "solarize": _solarize,
    "posterize": _posterize,
    "sharpness": _sharpness,
    "brightness": _coloured(lambda factor: Colour(brightness=factor)),
    "contrast": _coloured(lambda factor: Colour(contrast=factor)),
    "color": _coloured(lambda factor: Colour(saturation=factor)),
    "rotate": _moved(lambda signed: Geometry(angle=radians(_ROTATION_DEGREES) * signed)),
    "shear x": _moved(lambda signed: Geometry(shear_x=_SHEAR * signed)),
    "shear y": _moved(lambda signed: Geometry(shear_y=_SHEAR * signed)),
    "translate x": _moved(lambda signed: Geometry(shift_x=_SHIFT * signed)),
    "translate y": _moved(lambda signed: Geometry(shift_y=_SHIFT * signed)),
}
