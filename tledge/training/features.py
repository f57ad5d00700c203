"""Frozen features, computed once per image and cached.

On a CPU, LiteRT with XNNPACK computes the very same network several times faster than TensorFlow. It is
used only where its features of real photos equal TensorFlow's to 1e-4 of their range; otherwise
TensorFlow computes them, and the user is told. On a GPU TensorFlow computes them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge import preprocessing
from tledge.backbones import Backbone
from tledge.cache import Array, RowCache, Rows
from tledge.datasets.prepare import Dataset
from tledge.machine import usable_cores
from tledge.progress import Progress
from tledge.records import FeatureRecord
from tledge.runtimes.litert import LiteRTSession
from tledge.tensorflow_setup import device, tensorflow

Indices = npt.NDArray[np.int64]
TOLERANCE = 1e-4  # of the output range, as for a transplanted backbone
PROOF_PHOTOS = 8
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
                model = _convert(backbone)
                LiteRTSession(model, num_threads=1)
        except Exception as error:  # the converter and the interpreter raise their own and built-in types
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            progress.warn(f"features are computed by TensorFlow, slower: LiteRT can't run this backbone ({reason})")
            return _with_tensorflow(backbone, dataset, rows, progress, "TensorFlow on the CPU")
    _fill_litert(cache, model, dataset, sample, progress)
    expected = _tensorflow_features(backbone, np.asarray(dataset.pixels[sample]))
    actual = cache.rows([dataset.content_sha256[row] for row in sample])[:].astype(np.float32)
    difference, output_range = float(np.max(np.abs(actual - expected))), float(np.ptp(expected))
    if not difference <= TOLERANCE * output_range:  # also where one of them is NaN
        progress.warn(
            f"features are computed by TensorFlow, slower: LiteRT differs by {difference:.2g} on an output range of "
            f"{output_range:.2g}, over the {TOLERANCE:g} allowed"
        )
        return _with_tensorflow(backbone, dataset, rows, progress, "TensorFlow on the CPU")
    _fill_litert(cache, model, dataset, rows, progress)
    record = FeatureRecord(
        runtime="LiteRT with XNNPACK on the CPU",
        proof_photos=len(sample),
        max_abs_difference=difference,
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


def _convert(backbone: Backbone) -> bytes:
    tf = tensorflow()
    size = backbone.input_size

    @tf.function(input_signature=[tf.TensorSpec([1, size, size, 3], tf.uint8, name="pixels")])  # type: ignore[untyped-decorator]
    def features(pixels: Any) -> Any:
        return backbone.layer(tf.cast(pixels, tf.float32) * preprocessing.PIXEL_SCALE, training=False)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([features.get_concrete_function()], backbone.layer)
    return bytes(converter.convert())


def _fill_litert(cache: RowCache, model: bytes, dataset: Dataset, rows: Indices, progress: Progress) -> None:
    """Add the rows that the cache lacks; one single-threaded interpreter a core."""
    missing = _missing(cache, dataset, rows)
    if not len(missing):
        return
    local = threading.local()

    def work(batch: Indices) -> list[tuple[bytes, Array]]:
        if not hasattr(local, "session"):
            local.session = LiteRTSession(model, num_threads=1)
        pixels = dataset.pixels[batch]
        return [
            (dataset.content_sha256[row], local.session.predict(photo[None]))
            for row, photo in zip(batch, np.asarray(pixels, np.uint8), strict=True)
        ]

    def computed(advance: Any) -> Iterator[tuple[bytes, Array]]:
        pending: deque[Future[list[tuple[bytes, Array]]]] = deque()
        with ThreadPoolExecutor(usable_cores()) as pool:
            for start in range(0, len(missing), _BATCH):
                pending.append(pool.submit(work, missing[start : start + _BATCH]))
                if len(pending) > 2 * usable_cores():
                    done = pending.popleft().result()
                    advance(len(done))
                    yield from done
            for future in pending:
                done = future.result()
                advance(len(done))
                yield from done

    with progress.step("computing features (LiteRT)", len(missing)) as advance:
        cache.add(computed(advance), len(missing))


def _tensorflow_features(backbone: Backbone, pixels: Array) -> npt.NDArray[np.float32]:
    tf = tensorflow()
    scaled = tf.cast(pixels, tf.float32) * preprocessing.PIXEL_SCALE
    return np.asarray(backbone.layer(scaled, training=False), np.float32)


def _with_tensorflow(
    backbone: Backbone, dataset: Dataset, rows: Indices, progress: Progress, runtime: str
) -> tuple[Rows, FeatureRecord]:
    cache = _cache(backbone, runtime.lower().replace(" ", "-"))
    missing = _missing(cache, dataset, rows)
    tf = tensorflow()
    compiled = tf.function(
        lambda pixels: backbone.layer(tf.cast(pixels, tf.float32) * preprocessing.PIXEL_SCALE, training=False)
    )

    def computed(advance: Any) -> Iterator[tuple[bytes, Array]]:
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            features = compiled(tf.constant(dataset.pixels[batch])).numpy()
            advance(len(batch))
            yield from zip((dataset.content_sha256[row] for row in batch), features, strict=True)

    with progress.step("computing features (TensorFlow)", len(missing)) as advance:
        cache.add(computed(advance), len(missing))
    record = FeatureRecord(runtime=runtime, proof_photos=0, max_abs_difference=0.0, output_range=0.0)
    return cache.rows([dataset.content_sha256[row] for row in rows]), record
