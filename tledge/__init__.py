"""tledge turns labelled photos into a verified image classifier for small devices, by one function a stage.

run = tledge.build("tf_flowers")
tledge.export(run, ["tflite-int8"])
report = tledge.verify(run)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tledge._version import __version__

__all__ = [
    "Options", "Progress", "Recipe", "Report", "Run", "TledgeWarning", "Wanted", "__version__", "build", "export", "import_model",
    "verify",
]  # fmt: skip

if TYPE_CHECKING:
    from tledge.api import (
        Options,
        Progress,
        Recipe,
        Report,
        Run,
        TledgeWarning,
        Wanted,
        build,
        export,
        import_model,
        verify,
    )


def __getattr__(name: str) -> Any:
    """Import a public name on first use, because what is behind it takes a moment."""
    if name not in __all__:
        raise AttributeError(f"module 'tledge' has no attribute {name!r}")
    from tledge.systems import unsupported

    if reason := unsupported():
        raise ImportError(reason)
    from tledge import api

    return getattr(api, name)
