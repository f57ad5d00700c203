"""This module says on which operating systems tledge runs, and what one of them lacks."""

from __future__ import annotations

import sys

_NAMES = {"darwin": "macOS"}


def unsupported() -> str | None:
    """Say why tledge can't run on this system, and what to do. The result is None where it can."""
    if sys.platform == "win32":
        return (
            "tledge does not run on Windows itself: install it in WSL, the Windows Subsystem for Linux (wsl --install)"
        )
    return None


def lacking() -> str | None:
    """Say which limits this system does not set for the process of a model. The result is None on Linux."""
    if sys.platform == "linux":
        return None
    name = _NAMES.get(sys.platform, sys.platform)
    return (
        f"{name} limits neither the memory of a model's process nor what it writes: verify only models that you trust, or "
        "use Linux"
    )
