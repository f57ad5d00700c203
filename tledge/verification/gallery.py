"""This module collects the photos that an artifact and the original answer differently, for people to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tledge.datasets.run_photos import SplitPhotos
from tledge.records import FlippedAnswer, FlippedPhoto

MAX_PHOTOS = 300  # limits the size of a report: a thumbnail takes about 3 kB
_THUMBNAIL_SIZE = 112
Floats = npt.NDArray[np.floating]


def flipped(
    photos: SplitPhotos, labels: Sequence[str], original: Floats, answers: Mapping[str, Floats]
) -> tuple[int, list[FlippedPhoto]]:
    """Return how many photos have a flip in any artifact, and at most :data:`MAX_PHOTOS` of these photos.

    ``original`` holds probabilities (N, C), and ``answers`` holds such probabilities for each artifact. The photos on
    which most artifacts differ come first. Among equals, the photos on which the original was surest come first.
    """
    before = np.argmax(original, axis=1)
    sure = np.max(original, axis=1)
    changed = {name: np.argmax(values, axis=1) != before for name, values in answers.items()}
    votes = np.sum(list(changed.values()), axis=0) if changed else np.zeros(len(before), int)
    rows = sorted(np.flatnonzero(votes), key=lambda row: (-votes[row], -sure[row]))
    shown = [
        FlippedPhoto(
            id=photos.ids[row],
            content_sha256=photos.content_sha256[row].hex(),
            label=labels[photos.labels[row]],
            original_predicted=labels[before[row]],
            original_confidence=float(sure[row]),
            answers=[
                FlippedAnswer(
                    artifact=name,
                    predicted=labels[int(np.argmax(values[row]))],
                    confidence=float(np.max(values[row])),
                )
                for name, values in answers.items()
                if changed[name][row]
            ],
            thumbnail_jpeg_base64=_thumbnail(np.asarray(photos.pixels[int(row)], np.uint8)),
        )
        for row in rows[:MAX_PHOTOS]
    ]
    return len(rows), shown


def _thumbnail(pixels: npt.NDArray[np.uint8]) -> str:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((_THUMBNAIL_SIZE, _THUMBNAIL_SIZE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return base64.b64encode(out.getvalue()).decode()
