"""What the caches hold of photos, made again from the data set where the disk gives other bytes than were written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from tledge.cache import Array, Remedy
from tledge.datasets import Photo, Source
from tledge.errors import EnvironmentFault, TledgeError
from tledge.preprocessing import UnreadableImage
from tledge.progress import Progress


def from_photos(
    open_source: Callable[[], Source],
    key_of: Callable[[Photo], bytes],
    row_of: Callable[[Photo], Array],
    names: Mapping[bytes, str],
    progress: Progress,
) -> Remedy:
    """A remedy that reads the photos again. ``names``: their ids by their keys.

    Where one is gone, or differs, it raises EnvironmentFault that names it.
    """

    def make(keys: Collection[bytes]) -> Iterator[tuple[bytes, Array]]:
        wanted = set(keys)
        try:
            source = open_source()
            for photo in source.photos():
                if (key := key_of(photo)) in wanted:
                    wanted.remove(key)
                    yield key, row_of(photo)
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
