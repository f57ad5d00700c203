"""Exporters convert a run's SavedModel into the bytes of one artifact. Each family of formats is one file that lists them.

After the conversion :mod:`tledge.audit` reads the file, not the options. It compares what the file holds with what the format
promises.
"""

from tledge.exporters.format import ANY_BATCH, ONE_PHOTO, TRAINS, ConverterInput, Format
from tledge.exporters.known_formats import ALL, chosen, formats, mixed_formats, require_batch, require_readers

__all__ = [
    "ALL",
    "ANY_BATCH",
    "ONE_PHOTO",
    "TRAINS",
    "ConverterInput",
    "Format",
    "chosen",
    "formats",
    "mixed_formats",
    "require_batch",
    "require_readers",
]
