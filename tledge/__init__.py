"""tledge: from labelled photos to a verified image classifier for small devices.

The public API is three functions, one a stage; each reads only what the stage before wrote:

    run = tledge.build("tf_flowers")
    tledge.export(run, ["tflite-int8"])
    report = tledge.verify(run)

They are imported on first use, because TensorFlow takes seconds to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tledge._version import __version__

__all__ = ["__version__", "build", "export", "verify"]

if TYPE_CHECKING:
    from tledge.api import export, verify
    from tledge.training.build import build

_HOMES = {
    "build": "tledge.training.build",
    "export": "tledge.api",
    "verify": "tledge.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tledge' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
