"""Features of the frozen backbone are computed once per photo, or per augmented view of it, and cached.

On a CPU, LiteRT with XNNPACK computes the same network several times faster than TensorFlow. It is used only where its
features of real photos equal TensorFlow's to 1e-4 of their range. Otherwise TensorFlow computes them, and the user is
told. On a GPU TensorFlow always computes them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tledge import preprocessing
from tledge.backbones import Backbone
from tledge.backbones.fast_inference import TOLERANCE, answers, convert_function, difference
from tledge.cache import Array, CachedRows, Remedy, RowCache
from tledge.datasets.prepare import Dataset
from tledge.preprocessing import Pixels
from tledge.progress import Advance, Progress
from tledge.records import FeatureRecord
from tledge.runtimes.litert import LiteRTSession
from tledge.tensorflow_setup import device
from tledge.training.augmentation import keys_of
from tledge.training.augmentation_settings import Augmentation
from tledge.training.batches import view

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
_Run = Callable[[Iterable[Pixels]], Iterator[Floats]]
PROOF_PHOTOS = 32
_BATCH = 32
_FAST, _ON_CPU, _ON_GPU = "litert", "TensorFlow on the CPU", "TensorFlow on the GPU"
_VIEWS_VERSION = 1  # raise it whenever the same settings and keys change a photo in another way


@dataclass(frozen=True)
class Photos:
    """These are photos whose features are wanted.

    ``keys`` has the name of each photo's features in the cache, 32 bytes. ``read`` takes some of the photos' numbers,
    in ascending order, and yields batches of their pixels, uint8 (n, S, S, 3).
    """

    keys: Sequence[bytes]
    read: Callable[[Indices], Iterator[Pixels]]


def as_they_are(dataset: Dataset, rows: Indices) -> Photos:
    """Select the photos ``rows`` of a data set, unchanged."""
    keys = [dataset.pixels_key(row) for row in rows]
    return Photos(keys, lambda some: _pixels(dataset.pixels.select(rows[some])))


def in_a_view(dataset: Dataset, rows: Indices, augment: Augmentation, seed: int, number: int) -> Photos:
    """Select the photos ``rows`` of a data set, each changed as :func:`tledge.training.batches.view` does."""
    settings = f"{_VIEWS_VERSION} {json.dumps(augment.as_json(), sort_keys=True)}".encode()
    drawn = keys_of(seed, number, rows)
    keys = [
        hashlib.sha256(settings + dataset.pixels_key(row) + key.tobytes()).digest()
        for row, key in zip(rows, drawn, strict=True)
    ]
    return Photos(keys, lambda some: view(dataset.pixels, rows[some], augment, seed, number))


def features_of(
    backbone: Backbone,
    dataset: Dataset,
    rows: Indices,
    progress: Progress,
    views: Sequence[Photos] = (),
) -> tuple[CachedRows, FeatureRecord]:
    """Compute the features of the photos ``rows``, unchanged, and then of ``views``.

    Returns the features, float32 (feature_dim,) each, in that order, and the record of how they were computed.
    """
    wanted = [as_they_are(dataset, rows), *views]
    if device().kind == "GPU":
        return _with_tensorflow(backbone, wanted, progress, _ON_GPU)
    sample = as_they_are(dataset, rows[np.unique(np.linspace(0, len(rows) - 1, PROOF_PHOTOS).astype(np.int64))])
    cache = _cache(backbone, _FAST, progress)

    @functools.cache
    def converted() -> _Run:
        with progress.step("converting the backbone for fast features"):
            return _converted(backbone)

    if any(len(numbers) for numbers in _missing(cache, wanted)):
        try:
            converted()
        except Exception as error:  # the converter and the interpreter raise their own and built-in types
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            progress.warn(f"features are computed by TensorFlow, slower: LiteRT can't run this backbone ({reason})")
            return _with_tensorflow(backbone, wanted, progress, _ON_CPU)

    def run(batches: Iterable[Pixels]) -> Iterator[Floats]:
        return converted()(batches)

    actual = _fill(cache, [sample], run, progress, "LiteRT")[:].astype(np.float32)
    expected = np.concatenate(list(by_tensorflow(backbone, sample.read(np.arange(len(actual))))))
    largest, output_range, is_same = difference(actual, expected)
    if not is_same:
        progress.warn(
            f"features are computed by TensorFlow, slower: LiteRT differs by {largest:.2g} on an output range of "
            f"{output_range:.2g}, over the {TOLERANCE:g} allowed"
        )
        return _with_tensorflow(backbone, wanted, progress, _ON_CPU)
    record = FeatureRecord(
        runtime="LiteRT with XNNPACK on the CPU",
        proof_photos=len(actual),
        max_abs_difference=largest,
        output_range=output_range,
    )
    return _fill(cache, wanted, run, progress, "LiteRT"), record


def _converted(backbone: Backbone) -> _Run:
    """Return a function that maps batches of photos to features by LiteRT.

    A backbone that runs in a process of its own is converted and run there.
    """
    if backbone.apart is not None:
        backbone.apart.convert()
        return backbone.apart.fast_features
    model = convert_function(backbone.features_of_pixels, backbone.input_size)
    LiteRTSession(model, num_threads=1)
    return lambda batches: answers(model, batches)


def num_cached(backbone: Backbone) -> int:
    """Count the features of a backbone that the cache holds, of whatever photos."""
    return len(_cache(backbone, _ON_GPU if device().kind == "GPU" else _FAST))


def by_tensorflow(
    backbone: Backbone, pixels: Iterable[Pixels], goes_on: Callable[[], bool] = lambda: True
) -> Iterator[Floats]:
    """Yield the features of batches of photos, float32 (n, feature_dim), as TensorFlow computes them on its own device.

    ``goes_on`` is asked before every batch; where it says no, the function stops.
    """
    for batch in pixels:
        if not goes_on():
            return
        yield backbone.features(batch)


def _pixels(rows: CachedRows) -> Iterator[Pixels]:
    return (np.asarray(batch, np.uint8) for batch in rows.batches(_BATCH))


def _with_tensorflow(
    backbone: Backbone, wanted: Sequence[Photos], progress: Progress, runtime: str
) -> tuple[CachedRows, FeatureRecord]:
    def run(batches: Iterable[Pixels]) -> Iterator[Floats]:
        return (backbone.features(batch) for batch in batches)

    rows = _fill(_cache(backbone, runtime, progress), wanted, run, progress, "TensorFlow")
    return rows, FeatureRecord(runtime=runtime, proof_photos=0, max_abs_difference=0.0, output_range=0.0)


def _cache(backbone: Backbone, runtime: str, progress: Progress | None = None) -> RowCache:
    kind = runtime.lower().replace(" ", "-")
    namespace = f"features-v{preprocessing.VERSION}/{backbone.sha256[:32]}-{backbone.input_size}-{kind}"
    return RowCache(namespace, (backbone.feature_dim,), np.float32, progress)


def _missing(cache: RowCache, wanted: Sequence[Photos]) -> list[Indices]:
    """Find the photos that the cache lacks, as ascending numbers; of identical photos only the first counts."""
    return _first(wanted, {key for photos in wanted for key in photos.keys if key not in cache})


def _first(wanted: Sequence[Photos], keys: Collection[bytes]) -> list[Indices]:
    """Find the photos that have these keys, as ascending numbers; of photos with the same key only the first counts."""
    left, found = set(keys), []
    for photos in wanted:
        numbers = []
        for number, key in enumerate(photos.keys):
            if key in left:
                left.remove(key)
                numbers.append(number)
        found.append(np.array(numbers, np.int64))
    return found


def _fill(
    cache: RowCache,
    wanted: Sequence[Photos],
    run: _Run,
    progress: Progress,
    runtime: str,
) -> CachedRows:
    """Add the features that the cache lacks, and return all that are wanted; damaged ones are computed again."""

    step = f"computing features ({runtime})"

    def computed(numbers: Sequence[Indices], advance: Advance) -> Iterator[tuple[bytes, Array]]:
        for photos, some in zip(wanted, numbers, strict=True):
            keys = (photos.keys[number] for number in some)
            for batch in run(photos.read(some)):
                advance(len(batch))
                for row in batch:
                    yield next(keys), row

    def again(keys: Collection[bytes]) -> Iterator[tuple[bytes, Array]]:
        with progress.step(step, len(keys)) as advance:
            yield from computed(_first(wanted, keys), advance)

    missing = _missing(cache, wanted)
    total = sum(len(numbers) for numbers in missing)
    if total:
        with progress.step(step, total) as advance:
            cache.add(computed(missing, advance), total)
    return cache.rows([key for photos in wanted for key in photos.keys], Remedy(again, progress))
