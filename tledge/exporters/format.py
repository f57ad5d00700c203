"""This module defines ``Format``, which describes one artifact format, and ``ConverterInput``, which its converter reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.compression import PreparedNetwork
from tledge.exporters.mixed import PROMISE, float_options
from tledge.exporters.preparations import Preparation
from tledge.records import MIXED_SUFFIX, Promise

TRAINS = "it trains for some epochs"
ONE_PHOTO, ANY_BATCH = "1", "any"  # how many photos a file takes at a time


@dataclass(frozen=True)
class ConverterInput:
    """A ``ConverterInput`` holds all that a converter reads.

    Args:
        saved_model: The folder of the run's SavedModel.
        input_size: The side S of the photos in pixels.
        metadata: JSON text with the labels, the input contract and the provenance. It travels inside the artifact.
        calibration_photos: The representative data set, uint8 RGB (N, S, S, 3). It is None for formats that need none.
        prepared: The network with weights and ranges for integer arithmetic. It is None where the layers of the network are
            unknown, or the format needs none.
        bounds_pairs: Whether the products of every pair of int8 weights have to fit into 16 bits.
        batch: How many photos the file takes at a time: ``ONE_PHOTO`` or ``ANY_BATCH``.
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
    """A ``Format`` describes one artifact format, as its family's file declares it.

    Args:
        name: The name by which a user asks for the format, such as ``tflite-int8``.
        file: The name of its file in a run.
        promise: What the format says of its content. The audit compares the file with it.
        preparation: How the network is prepared for integer arithmetic. It is None where the SavedModel alone is converted.
        convert: Computes the bytes of the artifact.
        options: What export.json records of the conversion.
        libraries: The distributions whose versions export.json records.
        purpose: What the format is for, as a sentence. The help of ``tledge export`` and the reference show it.
        cost: What the format costs: size, time or accuracy, as a sentence. It is shown beside the purpose.
        on_request: Why ``all`` leaves the format out. It is empty where ``all`` makes the format.
        saturates: Whether its runtime adds two products of quantized values in 16 bits, on CPUs without a better instruction.
        one_photo: Why its files take one photo at a time. It is empty where they can take any number.
        batch: How many photos its files take at a time: ``ONE_PHOTO`` or ``ANY_BATCH``.
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
    _: KW_ONLY
    purpose: str
    cost: str

    def with_batch(self, batch: str) -> Format:
        """Return a copy of the format whose files take ``batch`` photos: ``ONE_PHOTO`` or ``ANY_BATCH``.

        :func:`require_batch` checks whether the files can take them.
        """
        return replace(self, batch=batch)

    def with_float_operators(self, counts: Mapping[str, int], convert: Callable[[ConverterInput], bytes]) -> Format:
        """Return the mixed variant of the format for one model.

        ``counts``: how many operators stay float, by the operator's name. The options of the variant declare them.
        ``convert``: computes the bytes of the mixed artifact.
        """
        options = {**self.options, **float_options(counts)}
        return replace(self, name=f"{self.name}{MIXED_SUFFIX}", promise=PROMISE, convert=convert, options=options)

    @property
    def is_trained(self) -> bool:
        """Tell whether the preparation of the format trains the network."""
        return self.preparation is not None and self.preparation.trains
