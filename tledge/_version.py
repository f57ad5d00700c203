"""The version of tledge stands here for the package's metadata and for every record."""

__version__ = "0.1.0"
