"""This module changes a batch of photos by one projective transform and one colour matrix per photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tledge.normalization import LUMA
from tledge.tensorflow_setup import tensorflow

_TO_YIQ = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
_GREY = np.outer(np.ones(3), LUMA)
_CHROMA = np.eye(3) - _GREY
_TURN = np.linalg.solve(_TO_YIQ, np.array([(0, 0, 0), (0, 0, -1), (0, 1, 0)]) @ _TO_YIQ)  # turns hue by 90 degrees


@dataclass(frozen=True)
class Geometry:
    """A geometry moves photos: each field is one number, or float64 (N,) with one for each photo.

    The steps are taken in this order. The photo is mirrored where a ``flip`` is -1. It is sheared by the tangent
    ``shear``, right and down as the other coordinate grows. It is enlarged ``zoom`` times. It is turned
    counter-clockwise about the centre by ``angle``, in radians. It is moved right and down by ``shift``, in sides of
    the photo. It is cut to a window of ``crop_width`` by ``crop_height`` sides, which then fills the photo. The
    window's centre is ``crop_x`` and ``crop_y`` sides right of and below the photo's.
    """

    flip_x: Any = 1.0
    flip_y: Any = 1.0
    shear_x: Any = 0.0
    shear_y: Any = 0.0
    zoom: Any = 1.0
    angle: Any = 0.0
    shift_x: Any = 0.0
    shift_y: Any = 0.0
    crop_width: Any = 1.0
    crop_height: Any = 1.0
    crop_x: Any = 0.0
    crop_y: Any = 0.0

    def transforms(self, size: int, num_photos: Any) -> Any:
        """Return where each pixel comes from, float32 (N, 8), as ImageProjectiveTransformV3 takes it.

        This is the inverse of the steps in closed form, computed in float64. Rounded to float32 it is the same in every
        batch, while float32 sines differ in their last bit between a vector unit and the rest of a batch.
        """
        tf = tensorflow()
        values = (tf.convert_to_tensor(value, tf.float64) for value in vars(self).values())
        flip_x, flip_y, shear_x, shear_y, zoom, angle, shift_x, shift_y, width, height, crop_x, crop_y = values
        cos, sin = tf.cos(angle), tf.sin(angle)
        down_x, down_y = sin - shear_y * cos, cos + shear_y * sin
        xx, xy = flip_x * (cos - shear_x * down_x) / zoom, flip_x * (-sin - shear_x * down_y) / zoom
        yx, yy = flip_y * down_x / zoom, flip_y * down_y / zoom
        centre = (size - 1) / 2
        left = (crop_x - shift_x) * size - width * centre
        top = (crop_y - shift_y) * size - height * centre
        rows = (
            xx * width, xy * height, centre + xx * left + xy * top,
            yx * width, yy * height, centre + yx * left + yy * top,
            tf.zeros((), tf.float64), tf.zeros((), tf.float64),
        )  # fmt: skip
        return tf.cast(tf.stack([tf.broadcast_to(row, (num_photos,)) for row in rows], axis=1), tf.float32)


def warp(pixels: Any, geometry: Geometry) -> Any:
    """Move photos, float32 (N, S, S, 3), by bilinear interpolation; the space around a photo is its mirror image."""
    tf = tensorflow()
    size = pixels.shape[1]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels,
        transforms=geometry.transforms(size, tf.shape(pixels)[0]),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


@dataclass(frozen=True)
class Colour:
    """A colour change of photos: each field is one number, or float64 (N,) with one for each photo.

    Saturation (0 is grey) and hue (a rotation in the YIQ plane, in radians) keep a pixel's luma, so a grey pixel stays
    as it is. Contrast (0 is flat) is about the photo's mean luma. Brightness (0 is black) multiplies everything.
    """

    brightness: Any = 1.0
    contrast: Any = 1.0
    saturation: Any = 1.0
    hue: Any = 0.0


def recolour(pixels: Any, original: Any, colour: Colour) -> Any:
    """Change the colours of photos, float32 (N, S, S, 3), without clipping.

    The mean luma is that of ``original``, uint8 (N, S, S, 3).
    """
    tf = tensorflow()
    values = (tf.convert_to_tensor(value, tf.float64)[..., None, None] for value in vars(colour).values())
    brightness, contrast, saturation, hue = values
    matrix = _GREY + saturation * (tf.cos(hue) * _CHROMA + tf.sin(hue) * _TURN)
    matrix = brightness * contrast * matrix
    num_photos, size = tf.shape(pixels)[0], pixels.shape[1]
    offset = brightness * (1 - contrast) * mean_luma(original)[:, None, None]
    by_rows = tf.linalg.matrix_transpose(tf.broadcast_to(tf.cast(matrix, tf.float32), (num_photos, 3, 3)))
    flat = tf.reshape(pixels, (num_photos, size * size, 3)) @ by_rows + tf.cast(offset, tf.float32)
    return tf.reshape(flat, (num_photos, size, size, 3))


def mean_luma(pixels: Any) -> Any:
    """Return the mean luma of photos, float64 (N,) in [0, 255], from uint8 (N, S, S, 3).

    Whole numbers are summed, so their order does not matter.
    """
    tf = tensorflow()
    size = pixels.shape[1]
    sums = tf.reduce_sum(tf.reduce_sum(tf.cast(pixels, tf.int32), axis=2), axis=1)
    return tf.reduce_sum(tf.cast(sums, tf.float64) * tf.constant(LUMA, tf.float64), axis=1) / (size * size)


def to_bytes(pixels: Any) -> Any:
    """Clip float32 values to [0, 255], and round them to uint8 of the same shape."""
    tf = tensorflow()
    return tf.cast(tf.clip_by_value(pixels + 0.5, 0.0, 255.0), tf.uint8)


def radians(degrees: Any) -> Any:
    """Convert degrees to radians."""
    return degrees * (math.pi / 180)
