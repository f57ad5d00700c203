"""A ``BackboneSource`` is what a source of backbones declares of itself. Each file in ``sources/`` holds one, ``SOURCE``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tledge.backbones.backbone import Backbone

DEFAULT = "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4"
BUNDLED = "bundled"  # comes with the package
IMAGENET, NO_WEIGHTS = "imagenet", "none"  # the values that --weights takes, beside a file
MAX_INPUT_SIZE = 4096  # far larger than any image classifier needs: it stops a slip of the finger, not a use

Claim = Literal["name", "path"]
"""A handle is claimed as a name, which means the same on every machine, or as the path of something on this one."""


@dataclass(frozen=True)
class BackboneSource:
    """A ``BackboneSource`` opens one kind of backbones by their handles.

    Args:
        name: The source's own name, which is its file's.
        names: The handles that the source spells out, such as ``lenet``. An error for an unknown handle lists them.
        forms: How its other handles look, as a part of that error's sentence, such as ``a TensorFlow Hub URL``.
        claims: Tells whether a handle is the source's, and as what. It reads no more than what kind of file a path is.
        open: Loads the backbone of a handle; arguments and errors are those of
            :func:`tledge.backbones.open_backbone`, after the size was checked.
        is_pretrained: Tells, without loading anything, whether ``open`` gives trained weights for this ``weights``.
        takes_weights: Whether ``weights`` chooses among trained ones, so that the handle alone does not say which.
        rebuild: Builds the flat tf_keras.Model of a structure, by the ``kind`` that stands in the structure. The weights
            have no meaning yet. A function of it raises ArtifactError for a damaged structure.
    """

    name: str
    names: tuple[str, ...]
    forms: tuple[str, ...]
    claims: Callable[[str], Claim | None]
    open: Callable[[str, int | None, str | None, int], Backbone]
    is_pretrained: Callable[[str | None], bool]
    takes_weights: bool
    rebuild: Mapping[str, Callable[[dict[str, Any]], Any]]


def is_address(handle: str) -> bool:
    """Tell whether a handle is a Hub's address, which means the same module on any machine."""
    return "://" in handle
