"""This module finds the source that opens a handle or rebuilds a structure. It asks every file of ``sources/``."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Any

from tledge.backbones import described
from tledge.backbones import sources as package
from tledge.backbones.backbone import Backbone
from tledge.backbones.source import MAX_INPUT_SIZE, BackboneSource
from tledge.backbones.structure import structure_fault
from tledge.errors import InputError, unknown


@functools.cache
def sources() -> tuple[BackboneSource, ...]:
    """Return every source of backbones, in the order of their names. A new file is found by its ``SOURCE``."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(importlib.import_module(f"{package.__name__}.{name}").SOURCE for name in names)


def source_of(handle: str) -> BackboneSource:
    """Return the source that opens a handle. A source that claims it as a name goes before one that claims a path.

    Raises InputError where no source claims the handle.
    """
    for claim in ("name", "path"):
        for source in sources():
            if source.claims(handle) == claim:
                return source
    names = [name for source in sources() for name in source.names]
    *forms, last = [form for source in sources() for form in source.forms]
    raise unknown("backbone", handle, names, f"Or give {', '.join(forms)}, or {last}.")


def is_name(handle: str) -> bool:
    """Tell whether a handle names a backbone by anything but a path."""
    return any(source.claims(handle) == "name" for source in sources())


def open_backbone(handle: str, input_size: int | None = None, weights: str | None = None, seed: int = 0) -> Backbone:
    """Load the backbone that a handle names.

    Args:
        handle: A handle that a source claims, such as ``bundled``, the address of a TensorFlow Hub module, a local folder
            in the Hub's format, ``keras:NAME`` for a network of tf_keras.applications, or ``lenet``.
        input_size: The side of the photos in pixels. None takes the backbone's own; a module that takes any size needs one.
        weights: For a ``keras:`` network None or ``imagenet``, ``none`` for weights drawn from ``seed``, or the path of an
            HDF5 file.
        seed: The seed of weights that are drawn.

    Raises:
        InputError: The handle is unknown, the size is out of range, or the backbone brings its own weights.
        EnvironmentFault: The backbone would have to be downloaded, and can't be.
    """
    if input_size is not None and not 1 <= input_size <= MAX_INPUT_SIZE:
        raise InputError(f"--image-size {input_size}: use a whole number from 1 to {MAX_INPUT_SIZE}")
    return source_of(handle).open(handle, input_size, weights, seed)


def is_pretrained(handle: str, weights: str | None) -> bool:
    """Tell, without loading it, whether :func:`open_backbone` would give trained weights.

    Raises InputError where no source claims the handle.
    """
    return source_of(handle).is_pretrained(weights)


def takes_weights(handle: str) -> bool:
    """Tell whether the handle alone does not say which trained weights a backbone has.

    Raises InputError where no source claims the handle.
    """
    return source_of(handle).takes_weights


def rebuild_flat(structure: dict[str, Any]) -> Any:
    """Build the flat tf_keras.Model that a backbone's ``structure`` describes. Its weights have no meaning yet.

    Raises ArtifactError for an unknown or damaged structure, because structures are read from files.
    """
    kind = structure.get("kind") if isinstance(structure, dict) else None
    builders = {known: build for source in sources() for known, build in source.rebuild.items()}
    builders[described.KIND] = described.rebuild  # of an imported model, which no handle opens
    if not isinstance(kind, str) or kind not in builders:
        raise structure_fault(f"unknown kind {kind!r}")
    return builders[kind](structure)
