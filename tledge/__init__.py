"""tledge turns labelled photos into a verified image classifier for small devices, by one function a stage.

run = tledge.build("tf_flowers")
tledge.export(run, ["tflite-int8"])
report = tledge.verify(run)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tledge._version import __version__

__all__ = [
    "Options", "Progress", "Recipe", "Report", "Run", "TledgeWarning", "Wanted", "__version__", "build", "export", "verify",
]  # fmt: skip

if TYPE_CHECKING:
    from tledge.api import build, export, verify
    from tledge.exporters.options import Options
    from tledge.progress import Progress
    from tledge.progress_by_default import TledgeWarning
    from tledge.records import Report
    from tledge.run import Run
    from tledge.training.recipe import Recipe
    from tledge.verification.measurement import Wanted

# The names are imported on first use, because TensorFlow takes seconds to import.
_HOMES = {
    "Options": "tledge.exporters.options", "Progress": "tledge.progress", "Recipe": "tledge.training.recipe",
    "Report": "tledge.records", "Run": "tledge.run", "TledgeWarning": "tledge.progress_by_default",
    "Wanted": "tledge.verification.measurement",
    "build": "tledge.api", "export": "tledge.api", "verify": "tledge.api",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tledge' has no attribute {name!r}")
    import importlib

    from tledge.systems import unsupported

    if reason := unsupported():
        raise ImportError(reason)
    return getattr(importlib.import_module(_HOMES[name]), name)
