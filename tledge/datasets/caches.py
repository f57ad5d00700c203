"""The caches keep pixels, digests and fingerprints of photos on disk, by content; damaged rows are made again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tledge import near_copies
from tledge.cache import Array, Remedy, RowCache
from tledge.datasets.photo_source import Photo, Source
from tledge.errors import EnvironmentFault, TledgeError
from tledge.near_copies import Fingerprints
from tledge.preprocessing import Pixels, Preparation, UnreadableImage
from tledge.printable import counted, few, sentence
from tledge.progress import Progress
from tledge.resizing import SQUEEZE

Part = Literal["pixels", "digest", "fingerprint"]


def content_key(photo: Photo) -> bytes:
    """Return the SHA-256 of a photo as its source holds it. An unreadable photo has the SHA-256 of no bytes."""
    if isinstance(photo.data, UnreadableImage):
        return hashlib.sha256().digest()
    if isinstance(photo.data, bytes):
        return hashlib.sha256(photo.data).digest()
    return hashlib.sha256(f"{photo.data.shape}".encode() + photo.data.tobytes()).digest()


def pixel_cache(input_size: int, preparation: Preparation, progress: Progress | None = None) -> RowCache:
    """Open the cache of photos resized to this size. Another preparation has another cache.

    ``progress`` is told which of its rows can't be read, as :class:`RowCache` says.
    """
    namespace = f"pixels-{preparation.name}/{input_size}"
    return RowCache(namespace, (input_size, input_size, 3), np.uint8, progress)


def digest_cache(input_size: int, preparation: Preparation, progress: Progress | None = None) -> RowCache:
    """Open the cache of digests. A digest is the SHA-256 of a photo's pixels before the resize.

    ``input_size`` and the resize have no effect. The arguments are there because the three caches are opened alike.
    """
    return RowCache(f"pixel-digests-{preparation.squeezed.name}", (32,), np.uint8, progress)


def fingerprint_cache(input_size: int, preparation: Preparation, progress: Progress | None = None) -> RowCache:
    """Open the cache of fingerprints. A fingerprint is made from a photo squeezed to this size, whatever its resize."""
    namespace = f"fingerprints-v{near_copies.VERSION}-{preparation.squeezed.name}/{input_size}"
    return RowCache(namespace, (near_copies.LENGTH,), np.uint8, progress)


@dataclass(frozen=True)
class CachedPhoto:
    """A photo is kept as three arrays of uint8.

    ``pixels`` (S, S, 3) is the resized photo. ``digest`` (32,) is the SHA-256 of the decoded photo before the resize.
    ``fingerprint`` (256,) is made from the photo squeezed to S x S.
    """

    pixels: Pixels
    digest: npt.NDArray[np.uint8]
    fingerprint: Fingerprints


def made(photo: Photo, input_size: int, preparation: Preparation) -> CachedPhoto:
    """Decode a photo, and make its digest and fingerprint. A photo that can't be read raises UnreadableImage."""
    others = () if preparation.resize == SQUEEZE else (SQUEEZE,)
    found = photo.prepared(input_size, preparation, others)
    if isinstance(found, UnreadableImage):
        raise found
    squeezed = found.others[0] if others else found.pixels
    return CachedPhoto(found.pixels, np.frombuffer(found.digest, np.uint8), near_copies.fingerprint(squeezed))


def remedy(
    open_source: Callable[[], Source],
    input_size: int,
    preparation: Preparation,
    part: Part,
    names: Mapping[bytes, str],
    progress: Progress,
) -> Remedy:
    """Return the remedy that makes damaged rows again, by reading their photos from the source.

    ``names`` are the ids of the photos by their keys. Where a photo is gone, or differs, the remedy raises
    EnvironmentFault that names it.
    """

    def make(keys: Collection[bytes]) -> Iterator[tuple[bytes, Array]]:
        wanted = set(keys)
        try:
            source = open_source()
            for photo in source.photos():
                if (key := content_key(photo)) in wanted:
                    wanted.remove(key)
                    yield key, np.asarray(getattr(made(photo, input_size, preparation), part))
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
        f"{counted(len(shown), 'photo', 'is', 'are')} damaged in the cache, and can't be read again "
        f"({few(shown, ', ')}): {sentence(reason)} Restore the data set, or build again."
    )
