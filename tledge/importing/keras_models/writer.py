"""A ``Writer`` collects the described layers of a network while its calls are walked through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tledge.backbones.described import IMAGES, DescribedLayer, DescribedNetwork, Floats, plain_name

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Value:
    """A ``Value`` is the output of a described layer. Its shape's first size is that of the batch; open sizes are None."""

    name: str
    shape: Shape

    @property
    def rank(self) -> int:
        """Return the number of its axes."""
        return len(self.shape)

    @property
    def channels(self) -> int:
        """Return the size of its last axis."""
        return int(self.shape[-1] or 0)


@dataclass(frozen=True)
class Channel:
    """A ``Channel`` is one channel of a value. It has no layer of its own; layers that stack channels read it."""

    value: Value
    number: int


class Writer:
    """A ``Writer`` collects layers with names that no two share."""

    def __init__(self) -> None:
        self._layers: list[DescribedLayer] = []
        self._names: set[str] = set()

    def add(
        self,
        name: str,
        kind: str,
        config: dict[str, Any],
        reads: Value | Sequence[Value],
        weights: Sequence[Any] = (),
        shape: Shape | None = None,
    ) -> Value:
        """Add a layer and return its output, which has the shape of what it reads unless ``shape`` says another."""
        given = [reads] if isinstance(reads, Value) else list(reads)
        plain = plain_name(name, self._names)
        self._names.add(plain)
        arrays = tuple(floats(one) for one in weights)
        self._layers.append(DescribedLayer(plain, kind, config, tuple(one.name for one in given), arrays))
        return Value(plain, given[0].shape if shape is None else shape)

    def network(self, input_size: int, output: Value) -> DescribedNetwork:
        """Return the layers on which ``output`` depends. It is the last one."""
        needed = {output.name}
        for layer in reversed(self._layers):
            if layer.name in needed:
                needed.update(layer.reads)
        return DescribedNetwork(input_size, tuple(layer for layer in self._layers if layer.name in needed))


def images(input_size: int) -> Value:
    """Return the network's input."""
    return Value(IMAGES, (None, input_size, input_size, 3))


def floats(value: Any) -> Floats:
    """Return weights as float32."""
    return np.asarray(value, np.float32)


def affine(writer: Writer, name: str, value: Value, scale: Any, offset: Any) -> Value:
    """Add ``scale * value + offset``; both are numbers, or one number a channel."""
    config = {"scale": _plain(scale), "offset": _plain(offset)}
    return value if config == {"scale": 1.0, "offset": 0.0} else writer.add(name, "Rescaling", config, value)


def _plain(value: Any) -> float | list[float]:
    array = np.asarray(value, np.float64).reshape(-1)
    if array.size > 1 and np.ptp(array):
        return [float(one) for one in array]
    return float(array[0])
