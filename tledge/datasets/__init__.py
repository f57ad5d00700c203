"""A data set's spec becomes a stream of labelled photos. Each kind of source is one file of this package."""

from tledge.datasets.photo_source import Photo, Source
from tledge.datasets.spec import open_source

__all__ = ["Photo", "Source", "open_source"]
