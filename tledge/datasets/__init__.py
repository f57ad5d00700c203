"""A data set spec becomes a stream of labelled photos. One source is one file of this package."""

from tledge.datasets.photo_source import Photo, Source
from tledge.datasets.spec import open_source

__all__ = ["Photo", "Source", "open_source"]
