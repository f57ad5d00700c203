"""Frozen features, computed once per image and cached.

On a CPU, LiteRT with XNNPACK computes the very same network several times faster than TensorFlow. It is
used only where its features of real photos equal TensorFlow's to 1e-4 of their range; otherwise
TensorFlow computes them, and the user is told. On a GPU TensorFlow computes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge import preprocessing
from tledge.backbones import Backbone
from tledge.cache import Array, RowCache, Rows
from tledge.datasets.prepare import Dataset
from tledge.progress import Progress
from tledge.records import FeatureRecord
from tledge.runtimes.litert import LiteRTSession
from tledge.tensorflow_setup import device
from tledge.training.fast_inference import TOLERANCE, answers, convert, difference

Indices = npt.NDArray[np.int64]
PROOF_PHOTOS = 32
_BATCH = 32


def features_of(
    backbone: Backbone,
    dataset: Dataset,
    rows: Indices,
    progress: Progress,
) -> tuple[Rows, FeatureRecord]:
    """Features of the photos ``rows`` of a data set: float32 (feature_dim,) each, in that order, and how they were made."""
    if device().kind == "GPU":
        return _with_tensorflow(backbone, dataset, rows, progress, "TensorFlow on the GPU")
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, PROOF_PHOTOS).astype(np.int64))]
    cache = _cache(backbone, "litert")
    model = b""
    if len(_missing(cache, dataset, rows)):
        try:
            with progress.step("converting the backbone for fast features"):
                model = convert(backbone.features_of_pixels, backbone.input_size)
                LiteRTSession(model, num_threads=1)
        except Exception as error:  # the converter and the interpreter raise their own and built-in types
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            progress.warn(f"features are computed by TensorFlow, slower: LiteRT can't run this backbone ({reason})")
            return _with_tensorflow(backbone, dataset, rows, progress, "TensorFlow on the CPU")
    _fill_litert(cache, model, dataset, sample, progress)
    expected = tensorflow_features(backbone, dataset.pixels.select(sample))
    actual = cache.rows([dataset.content_sha256[row] for row in sample])[:].astype(np.float32)
    largest, output_range, is_same = difference(actual, expected)
    if not is_same:
        progress.warn(
            f"features are computed by TensorFlow, slower: LiteRT differs by {largest:.2g} on an output range of "
            f"{output_range:.2g}, over the {TOLERANCE:g} allowed"
        )
        return _with_tensorflow(backbone, dataset, rows, progress, "TensorFlow on the CPU")
    _fill_litert(cache, model, dataset, rows, progress)
    record = FeatureRecord(
        runtime="LiteRT with XNNPACK on the CPU",
        proof_photos=len(sample),
        max_abs_difference=largest,
        output_range=output_range,
    )
    return cache.rows([dataset.content_sha256[row] for row in rows]), record


def _cache(backbone: Backbone, runtime: str) -> RowCache:
    namespace = f"features-v{preprocessing.VERSION}/{backbone.sha256[:32]}-{backbone.input_size}-{runtime}"
    return RowCache(namespace, (backbone.feature_dim,), np.float32)


def _missing(cache: RowCache, dataset: Dataset, rows: Indices) -> Indices:
    first: dict[bytes, int] = {}
    for row in rows:
        key = dataset.content_sha256[row]
        if key not in cache:
            first.setdefault(key, int(row))
    return np.array(sorted(first.values()), np.int64)


def _fill_litert(cache: RowCache, model: bytes, dataset: Dataset, rows: Indices, progress: Progress) -> None:
    """Add the rows that the cache lacks."""
    missing = _missing(cache, dataset, rows)
    if not len(missing):
        return

    def computed(advance: Any) -> Iterator[tuple[bytes, Array]]:
        starts = range(0, len(missing), _BATCH)
        batches = (np.asarray(dataset.pixels[missing[start : start + _BATCH]], np.uint8) for start in starts)
        for start, features in zip(starts, answers(model, batches), strict=True):
            advance(len(features))
            keys = [dataset.content_sha256[row] for row in missing[start : start + _BATCH]]
            yield from zip(keys, features, strict=True)

    with progress.step("computing features (LiteRT)", len(missing)) as advance:
        cache.add(computed(advance), len(missing))


def tensorflow_features(
    backbone: Backbone, pixels: Rows, goes_on: Callable[[], bool] = lambda: True
) -> npt.NDArray[np.float32]:
    """Features of photos, float32 (N, feature_dim), as the backbone itself computes them on TensorFlow's device.

    ``goes_on`` is asked before every batch; where it says no, the features so far are returned.
    """
    done = [np.empty((0, backbone.feature_dim), np.float32)]
    for batch in pixels.batches(_BATCH):
        if not goes_on():
            break
        done.append(backbone.features_of_pixels(batch).numpy())
    return np.concatenate(done)


def _with_tensorflow(
    backbone: Backbone, dataset: Dataset, rows: Indices, progress: Progress, runtime: str
) -> tuple[Rows, FeatureRecord]:
    cache = _cache(backbone, runtime.lower().replace(" ", "-"))
    missing = _missing(cache, dataset, rows)

    def computed(advance: Any) -> Iterator[tuple[bytes, Array]]:
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            features = tensorflow_features(backbone, dataset.pixels.select(batch))
            advance(len(batch))
            yield from zip((dataset.content_sha256[row] for row in batch), features, strict=True)

    with progress.step("computing features (TensorFlow)", len(missing)) as advance:
        cache.add(computed(advance), len(missing))
    record = FeatureRecord(runtime=runtime, proof_photos=0, max_abs_difference=0.0, output_range=0.0)
    return cache.rows([dataset.content_sha256[row] for row in rows]), record
