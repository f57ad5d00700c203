"""The version of tledge, which the package's metadata and every record are made with."""

__version__ = "0.1.0"
