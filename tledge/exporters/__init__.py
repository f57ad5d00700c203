"""What an artifact can be. One format family is one file that lists its formats.

An exporter turns the run's SavedModel into one file's bytes; :mod:`tledge.audit` then reads
that file, not the options, and compares what it holds with what the format promises.
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
