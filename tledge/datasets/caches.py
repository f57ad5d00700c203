"""What is kept of photos on the disk, by their content: pixels, digests and fingerprints; made again where it is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tledge import near_copies, preprocessing
from tledge.cache import Array, Remedy, RowCache
from tledge.datasets.photo_source import Photo, Source
from tledge.errors import EnvironmentFault, TledgeError
from tledge.near_copies import Fingerprints
from tledge.pixel_range import PixelRange
from tledge.preprocessing import Pixels, UnreadableImage
from tledge.progress import Progress

Part = Literal["pixels", "digest", "fingerprint"]


def content_key(photo: Photo) -> bytes:
    """SHA-256 of the example as its source holds it; of nothing, where that can't be read."""
    if isinstance(photo.data, UnreadableImage):
        return hashlib.sha256().digest()
    if isinstance(photo.data, bytes):
        return hashlib.sha256(photo.data).digest()
    return hashlib.sha256(f"{photo.data.shape}".encode() + photo.data.tobytes()).digest()


def pixel_cache(input_size: int, pixel_range: PixelRange | None, progress: Progress | None = None) -> RowCache:
    """Where pixels of this size are kept; a change of the preprocessing, or another range, starts a new cache.

    ``progress`` is told what can't be read of it, as :class:`RowCache` says.
    """
    namespace = f"pixels-{preprocessing.version(pixel_range)}/{input_size}"
    return RowCache(namespace, (input_size, input_size, 3), np.uint8, progress)


def digest_cache(input_size: int, pixel_range: PixelRange | None, progress: Progress | None = None) -> RowCache:
    """Where digests are kept, which are of all pixels before they are resized: of any ``input_size`` the same."""
    return RowCache(f"pixel-digests-{preprocessing.version(pixel_range)}", (32,), np.uint8, progress)


def fingerprint_cache(input_size: int, pixel_range: PixelRange | None, progress: Progress | None = None) -> RowCache:
    """Where fingerprints of pixels of this size are kept."""
    namespace = f"fingerprints-v{near_copies.VERSION}-{preprocessing.version(pixel_range)}/{input_size}"
    return RowCache(namespace, (near_copies.LENGTH,), np.uint8, progress)


@dataclass(frozen=True)
class CachedPhoto:
    """Of a photo, uint8: ``pixels`` (S, S, 3); ``digest`` (32,) of all that was decoded; ``fingerprint`` (256,)."""

    pixels: Pixels
    digest: npt.NDArray[np.uint8]
    fingerprint: Fingerprints


def made(photo: Photo, input_size: int, pixel_range: PixelRange | None) -> CachedPhoto:
    """Decode a photo. Raises UnreadableImage."""
    found = photo.prepared(input_size, pixel_range)
    if isinstance(found, UnreadableImage):
        raise found
    return CachedPhoto(found.pixels, np.frombuffer(found.digest, np.uint8), near_copies.fingerprint(found.pixels))


def remedy(
    open_source: Callable[[], Source],
    input_size: int,
    pixel_range: PixelRange | None,
    part: Part,
    names: Mapping[bytes, str],
    progress: Progress,
) -> Remedy:
    """How damaged rows are made again: by reading the photos. ``names``: their ids by their keys.

    Where one is gone, or differs, it raises EnvironmentFault that names it.
    """

    def make(keys: Collection[bytes]) -> Iterator[tuple[bytes, Array]]:
        wanted = set(keys)
        try:
            source = open_source()
            for photo in source.photos():
                if (key := content_key(photo)) in wanted:
                    wanted.remove(key)
                    yield key, np.asarray(getattr(made(photo, input_size, pixel_range), part))
                if not wanted:
                    return
        except UnreadableImage as error:
            raise _lost({key}, names, str(error)) from error
        except TledgeError as error:
            raise _lost(wanted, names, str(error)) from error
        raise _lost(wanted, names, f"they are no longer in data set {source.spec}")

    return Remedy(make, progress)


def _lost(keys: Collection[bytes], names: Mapping[bytes, str], reason: str) -> EnvironmentFault:
    shown = sorted(names[key] for key in keys)
    return EnvironmentFault(
        f"{len(shown)} photos are damaged in the cache, and can't be read again ({', '.join(shown[:5])}"
        f"{', ...' if len(shown) > 5 else ''}): {reason}. Restore them, or build again."
    )
