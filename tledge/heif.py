"""HEIC photos, as phones take them, are read by the extra ``heic``, since Pillow itself does not read them."""

from __future__ import annotations

import functools

SUFFIXES = (".heic", ".heics", ".heif", ".heifs", ".hif")
# Brands of ISO/IEC 23008-12: the first eight say that the pictures are coded by HEVC, the next two only that there are some.
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_ANY, _AVIF = {b"mif1", b"msf1"}, {b"avif", b"avis"}


def is_heif(data: bytes) -> bool:
    """Return whether encoded bytes say that they are a HEIF file other than AVIF."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4]), 256)
    brands = {data[8:12], *(data[start : start + 4] for start in range(16, end, 4))}
    return bool(brands & _HEVC) or bool(brands & _ANY and not brands & _AVIF)


@functools.cache
def is_readable() -> bool:
    """Return whether the extra is installed, and teach Pillow the format ``HEIF`` if it is."""
    try:
        import pillow_heif
    except ModuleNotFoundError:
        return False
    pillow_heif.register_heif_opener()
    return True
