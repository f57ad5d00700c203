"""This module changes training photos at random, and writes a contact sheet that shows the changes."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.files import atomic_write
from tledge.preprocessing import Pixels
from tledge.tensorflow_setup import tensorflow
from tledge.training.augmentation_settings import Augmentation
from tledge.training.counter_random import uniforms
from tledge.training.photo_operations import Colour, Geometry, radians, recolour, to_bytes, warp
from tledge.training.randaugment import randaugment

LARGEST_ASPECT = 4 / 3  # largest width / height of a crop; the smallest is its inverse
_SHEET_ROWS, _SHEET_VIEWS, _SHEET_GAP = 6, 7, 4
# Names of a photo's random numbers. Each setting has its own, so that turning one on leaves the others unchanged.
_DRAWS = (
    "flip_x", "flip_y", "angle", "shear", "zoom", "shift_x", "shift_y", "area", "aspect", "crop_x", "crop_y",
    "brightness", "contrast", "saturation", "hue",
)  # fmt: skip


def keys_of(seed: int, view: int, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int32]:
    """Return the keys, int32 (n, 2), that draw the changes of one view of the photos ``rows``.

    A view may be an epoch. ``rows`` are the photos' numbers, int (n,) below 2**31.
    """
    digest = hashlib.sha256(f"{seed}:{view}".encode()).digest()
    first = np.full(len(rows), np.frombuffer(digest, "<i4", 1)[0])
    return np.stack([first, np.asarray(rows)], axis=1).astype(np.int32)


def augmenter(settings: Augmentation, input_size: int) -> Callable[[Any, Any], Any]:
    """Return a function that changes photos at random, uint8 (N, S, S, 3) to the same shape and dtype.

    Its second argument is the photos' keys, int32 (N, 2). A photo's changes depend on its own key alone. The function
    is a graph, also inside tf.data, where its work belongs. All movements are one bilinear transform, which mirrors the
    photo past its edges. One colour matrix follows. Values are rounded to bytes once, before RandAugment. Settings that
    change nothing return the same bytes.
    """
    tf = tensorflow()

    def augment(pixels: Any, keys: Any) -> Any:
        drawn = dict(zip(_DRAWS, tf.unstack(uniforms(keys, len(_DRAWS)), axis=1), strict=True))
        geometry, colour = _geometry(settings, drawn), _colour(settings, drawn)
        if geometry or colour:
            values = tf.cast(pixels, tf.float32)
            values = warp(values, geometry) if geometry else values
            values = recolour(values, pixels, colour) if colour else values
            changed = to_bytes(values)
        else:
            changed = pixels
        return randaugment(changed, keys, settings.randaugment_layers, settings.randaugment_magnitude)

    photos = tf.TensorSpec((None, input_size, input_size, 3), tf.uint8)
    graph: Callable[[Any, Any], Any] = tf.function(
        augment, input_signature=[photos, tf.TensorSpec((None, 2), tf.int32)], autograph=False
    )
    return graph


def _geometry(settings: Augmentation, drawn: dict[str, Any]) -> Geometry | None:
    """Turn uniform numbers in [0, 1), each float64 (N,), into the movements of the photos; None where all are off."""
    tf = tensorflow()
    changes: dict[str, Any] = {}
    if settings.horizontal_flip:
        changes["flip_x"] = _sign(drawn["flip_x"])
    if settings.vertical_flip:
        changes["flip_y"] = _sign(drawn["flip_y"])
    if settings.rotation_degrees:
        changes["angle"] = _between(drawn["angle"], radians(settings.rotation_degrees))
    if settings.shear_degrees:
        changes["shear_x"] = tf.tan(_between(drawn["shear"], radians(settings.shear_degrees)))
    if settings.zoom:
        changes["zoom"] = 1 + _between(drawn["zoom"], settings.zoom)
    if settings.shift:
        changes |= {axis: _between(drawn[axis], settings.shift) for axis in ("shift_x", "shift_y")}
    if settings.crop < 1:
        part = settings.crop + drawn["area"] * (1 - settings.crop)
        # A window of this aspect fits into the photo as long as the aspect and its inverse are not below its area.
        logarithm = _between(drawn["aspect"], tf.minimum(-tf.math.log(part), math.log(LARGEST_ASPECT)))
        width, height = tf.sqrt(part * tf.exp(logarithm)), tf.sqrt(part * tf.exp(-logarithm))
        changes |= {"crop_width": width, "crop_x": _between(drawn["crop_x"], (1 - width) / 2)}
        changes |= {"crop_height": height, "crop_y": _between(drawn["crop_y"], (1 - height) / 2)}
    return Geometry(**changes) if changes else None


def _colour(settings: Augmentation, drawn: dict[str, Any]) -> Colour | None:
    """Turn uniform numbers in [0, 1), each float64 (N,), into the changes of colour; None where all are off."""
    changes: dict[str, Any] = {}
    for name in ("brightness", "contrast", "saturation"):
        if limit := getattr(settings, name):
            changes[name] = 1 + _between(drawn[name], limit)
    if settings.hue:
        changes["hue"] = _between(drawn["hue"], 2 * math.pi * settings.hue)
    return Colour(**changes) if changes else None


def _between(uniform: Any, limit: Any) -> Any:
    """Stretch a uniform number in [0, 1) to [-limit, limit)."""
    return (2 * uniform - 1) * limit


def _sign(uniform: Any) -> Any:
    """Turn a uniform number in [0, 1) into -1 or 1 at even odds."""
    tf = tensorflow()
    return tf.where(uniform < 0.5, tf.constant(-1.0, tf.float64), 1.0)


def contact_sheet(photos: Pixels, settings: Augmentation, seed: int, path: Path) -> None:
    """Write a PNG that shows how the settings change photos: one row for each of the first six.

    The first column is the original, and the others are seven views. White gaps of four pixels separate them.
    ``photos`` are uint8 (n, S, S, 3) with n at least 1. The same arguments give the same bytes.
    """
    from PIL import Image

    photos = photos[:_SHEET_ROWS]
    augment = augmenter(settings, photos.shape[1])
    rows = np.arange(len(photos))
    views = [np.asarray(augment(photos, keys_of(seed, view, rows))) for view in range(_SHEET_VIEWS)]
    step = photos.shape[1] + _SHEET_GAP
    sheet = np.full((len(photos) * step - _SHEET_GAP, (_SHEET_VIEWS + 1) * step - _SHEET_GAP, 3), 255, np.uint8)
    for column, view in enumerate([photos, *views]):
        for row, picture in enumerate(view):
            sheet[row * step :, column * step :][: step - _SHEET_GAP, : step - _SHEET_GAP] = picture
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "PNG")
    atomic_write(path, out.getvalue())
