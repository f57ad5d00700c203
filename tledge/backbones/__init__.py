"""A backbone is a frozen feature extractor that a handle opens. Each kind of source is one file of ``sources/``."""

from tledge.backbones.backbone import RESCALE, Backbone, Opaque
from tledge.backbones.opening import is_name, is_pretrained, open_backbone, rebuild_flat, takes_weights
from tledge.backbones.source import DEFAULT, IMAGENET, NO_WEIGHTS, is_address

__all__ = [
    "DEFAULT",
    "IMAGENET",
    "NO_WEIGHTS",
    "RESCALE",
    "Backbone",
    "Opaque",
    "is_address",
    "is_name",
    "is_pretrained",
    "open_backbone",
    "rebuild_flat",
    "takes_weights",
]
