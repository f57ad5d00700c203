"""A format, as its family declares it, and what its converter reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression import PreparedNetwork
from tledge.exporters.mixed import PROMISE, SUFFIX, float_options
from tledge.exporters.preparations import Preparation
from tledge.records import Promise

TRAINS = "it trains for some epochs"
ONE_PHOTO, ANY_BATCH = "1", "any"  # photos that a file takes at a time


@dataclass(frozen=True)
class ConverterInput:
    """What a converter reads.

    ``calibration_photos``: the representative data set, uint8 RGB (N, S, S, 3), for formats that need it, else None.
    ``metadata``: JSON text with labels, input contract and provenance, to travel inside the artifact. ``prepared``: the
    network with weights and ranges for integer arithmetic; None where its layers are unknown, or none is needed.
    ``bounds_pairs``: whether every pair of int8 weights has to fit into 16 bits. ``batch``: ``ONE_PHOTO`` or ``ANY_BATCH``.
    """

    saved_model: Path
    input_size: int
    metadata: str
    calibration_photos: npt.NDArray[np.uint8] | None
    prepared: PreparedNetwork | None = None
    bounds_pairs: bool = False
    batch: str = ONE_PHOTO


@dataclass(frozen=True)
class Format:
    """One artifact format, as its family's file declares it.

    ``preparation``: how its network is made ready for integers, and None for what the SavedModel alone gives.
    ``on_request``: why it is made only where it is named; empty where ``all`` makes it too.
    ``saturates``: whether its runtime adds products of two codes in 16 bits on CPUs that can do no better.
    ``one_photo``: why its files take one photo at a time; empty where they can take any number. ``batch``: what they do take.
    """

    name: str
    file: str
    promise: Promise
    preparation: Preparation | None
    convert: Callable[[ConverterInput], bytes]
    options: dict[str, Any]
    libraries: tuple[str, ...]
    on_request: str = ""
    saturates: bool = False
    one_photo: str = ""
    batch: str = ONE_PHOTO

    def with_batch(self, batch: str) -> Format:
        """The same format whose files take ``ONE_PHOTO`` or ``ANY_BATCH`` at a time; require_batch() says whether they can."""
        return replace(self, batch=batch)

    def with_float_operators(self, counts: Mapping[str, int], convert: Callable[[ConverterInput], bytes]) -> Format:
        """Its mixed variant, of one model: so many operators, by name, stay float, which the options declare."""
        options = {**self.options, **float_options(counts)}
        return replace(self, name=f"{self.name}{SUFFIX}", promise=PROMISE, convert=convert, options=options)

    @property
    def is_trained(self) -> bool:
        """Whether it takes epochs of training."""
        return self.preparation is not None and self.preparation.trains
