"""This source builds the graphs of imported networks again. It opens no handle: ``tledge import`` reads their files."""

from __future__ import annotations

from tledge.backbones.backbone import Backbone
from tledge.backbones.described import KIND, rebuild
from tledge.backbones.source import BackboneSource
from tledge.errors import InputError


def _open(handle: str, input_size: int | None, weights: str | None, seed: int) -> Backbone:
    raise InputError(f"{handle!r} is an imported model. Import it with tledge import.")


SOURCE = BackboneSource(
    name=KIND,
    names=(),
    forms=(),
    claims=lambda handle: "name" if handle.startswith("import:") else None,
    open=_open,
    is_pretrained=lambda weights: True,
    takes_weights=False,
    rebuild={KIND: rebuild},
)
