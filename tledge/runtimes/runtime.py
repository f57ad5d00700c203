"""A runtime declares its name, the files that it runs, and what opens them."""

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
    """A session is a loaded artifact that answers photos."""

    def predict(self, pixels: npt.NDArray[np.uint8]) -> Values:
        """Answer one photo, uint8 RGB (1, S, S, 3), with float32 outputs (C,), dequantized where they are integers."""


class LayerSession(Protocol):
    """A layer session is a loaded artifact that returns the output of each of its layers.

    ``is_float`` tells of each layer whether its output is float32.
    """

    layers: tuple[Layer, ...]
    is_float: tuple[bool, ...]

    def run(self, pixels: npt.NDArray[np.uint8], fed: Sequence[Values] = ()) -> list[Values]:
        """Return the output of every layer for one photo, uint8 RGB (1, S, S, 3), dequantized, in their order.
        ``fed`` holds the values of the layers that the session was made to be fed with.
        """


class LayerReader(Protocol):
    """A layer reader opens the bytes of a model to read its layers.

    ``fed`` are the places of layers whose values the later layers get from the caller.
    """

    def __call__(self, model: bytes, num_threads: int, fed: Sequence[int] = ()) -> LayerSession: ...


@dataclass(frozen=True)
class Runtime:
    """A runtime is declared by its file, in a constant ``RUNTIME``.

    Attributes:
        name: name of the runtime in options and reports.
        suffixes: suffixes of the files that it runs.
        kernels: sets of kernels that it can compute with. The first is the deployed one, the last the plain reference.
            One is enough.
        load: function of (model, num_threads, kernels) that opens an artifact's bytes.
        libraries: distributions that it needs. A report names their versions.
        rank: order of preference among runtimes for one kind of file. The lowest is used where one is needed.
        layers: what reads the layers of its files; None where they can't be read.
        cuts_sums_off: whether it adds two int8 products in 16 bits on an x86 CPU without VNNI.
        takes_any_input: whether its sessions pass any array on to the model, of the data type and the layout that a file
            of another tool wants. Only such a runtime runs these files.
    """

    name: str
    suffixes: tuple[str, ...]
    kernels: tuple[str, ...]
    load: Callable[[bytes, int, str], Session]
    libraries: tuple[str, ...]
    rank: int = 100
    layers: LayerReader | None = None
    cuts_sums_off: bool = False
    takes_any_input: bool = False

    def missing_libraries(self) -> list[str]:
        """List the libraries of this runtime that are not installed. It is available where the list is empty."""
        return [name for name in self.libraries if not _is_installed(name)]


def _is_installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
