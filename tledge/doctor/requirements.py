"""This module reads what tledge requires from its installed metadata, and the versions that it is tested with."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DEVELOPMENT = "dev"
# What a distribution is imported as, where that is not its name.
_MODULES = {
    "pillow": "PIL.Image", "scikit-learn": "sklearn", "ai-edge-litert": "ai_edge_litert.interpreter",
    "setuptools": "pkg_resources", "pillow-heif": "pillow_heif",
}  # fmt: skip


def required(extra: str = "") -> list[Requirement]:
    """Return what tledge needs on this Python, or what one of its extras adds to that."""
    from packaging.requirements import Requirement

    listed = [Requirement(line) for line in metadata.requires("tledge") or ()]
    always = [one for one in listed if one.marker is None or one.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    return [one for one in listed if one not in always and one.marker and one.marker.evaluate({"extra": extra})]


def extras() -> list[str]:
    """Return the names of tledge's extras, but for that of its developers."""
    named = metadata.metadata("tledge").get_all("Provides-Extra") or []
    return sorted(name for name in named if name != _DEVELOPMENT)


def version(name: str) -> str | None:
    """Return the version of an installed distribution; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def module(name: str) -> str:
    """Return the module that a distribution is imported as."""
    return _MODULES.get(name, name.replace("-", "_"))


def tested() -> dict[str, str]:
    """Return the versions that tledge is tested with on this Python, by distribution.

    They stand in requirements.lock: inside the package in a wheel, beside the package in a checkout.
    """
    from packaging.requirements import Requirement

    package = Path(__file__).parent.parent
    packaged = package / "requirements.lock"
    lock = packaged if packaged.is_file() else package.parent / "requirements.lock"
    lines = [line.removesuffix("\\") for line in lock.read_text().splitlines() if line[:1].isalnum()]
    pins = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    return {one.name: str(one.specifier).removeprefix("==") for one in pins}
