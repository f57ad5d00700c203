"""What a runtime is: how it names itself, which files it runs, and what opens them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tledge.runtimes.layer_graph import Layer

Values = npt.NDArray[np.float32]


class Session(Protocol):
    """A loaded artifact."""

    def predict(self, pixels: npt.NDArray[np.uint8]) -> Values:
        """Answer one photo: uint8 RGB (1, S, S, 3) to float32 outputs (C,), dequantized where they are integers."""


class LayerSession(Protocol):
    """A loaded artifact that gives the output of each of its layers. ``is_float``: whether a layer's output is float32."""

    layers: tuple[Layer, ...]
    is_float: tuple[bool, ...]

    def run(self, pixels: npt.NDArray[np.uint8], fed: Sequence[Values] = ()) -> list[Values]:
        """Compute every layer: uint8 RGB (1, S, S, 3) to dequantized outputs in the order of ``layers``.

        ``fed``: values of the layers that the session was made to be fed with.
        """


class LayerReader(Protocol):
    """What opens the bytes of a model to read its layers. ``fed``: places of layers that get their values from the caller."""

    def __call__(self, model: bytes, num_threads: int, fed: Sequence[int] = ()) -> LayerSession: ...


@dataclass(frozen=True)
class Runtime:
    """A runtime as its file declares it, in a constant ``RUNTIME``.

    ``suffixes``: of the files that it runs. ``kernels``: the sets of kernels that it can compute with, first the one that is
    deployed, last the plain reference; one is enough. ``load(model, num_threads, kernels)`` opens an artifact's bytes.
    ``libraries``: the distributions that it needs, whose versions a report names. ``rank``: of several runtimes for one kind
    of file, the lowest is used where one is needed. ``layers``: what reads the layers of its files; None: nothing does.
    ``cuts_sums_off``: whether it adds two int8 products in 16 bits on an x86 CPU without VNNI.
    """

    name: str
    suffixes: tuple[str, ...]
    kernels: tuple[str, ...]
    load: Callable[[bytes, int, str], Session]
    libraries: tuple[str, ...]
    rank: int = 100
    layers: LayerReader | None = None
    cuts_sums_off: bool = False

    def missing_libraries(self) -> list[str]:
        """List those of its libraries that are not installed; it is available where there are none."""
        return [name for name in self.libraries if not _is_installed(name)]


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
