"""A backbone: a frozen feature extractor, with the graph of its layers where they are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tledge.backbones.layer import features_function
from tledge.preprocessing import Pixels
from tledge.records import BackboneRecord

if TYPE_CHECKING:
    from tledge.backbones.apart import Apart

RESCALE = "rescale"  # the layer of a graph from [0, 1] to what its network takes


@dataclass(frozen=True)
class Opaque:
    """The answer of a backbone that has no flat graph. ``reason``: why not, as a sentence that names the backbone."""

    reason: str


@dataclass(frozen=True)
class Backbone:
    """A loaded feature extractor. ``layer``: float32 RGB (N, S, S, 3) in [0, 1] to float32 (N, feature_dim).

    ``graph``: the same as a flat functional tf_keras.Model, whose layers can be named, cut and trained; None where the
    network is opaque, a Hub module of unknown structure. ``structure``: JSON values that build ``graph`` again, without
    its weights; None where there is no graph. ``is_pretrained``: whether its weights were trained; features of one
    whose weights were drawn at random say little, and it is trained as a whole. ``apart``: what computes the features of
    a stranger's module in a process of its own; None for a network that is ours. ``take_apart``: what looks for the layers
    of a backbone without a graph, proved on a few photos; None where the source knows no way.
    """

    handle: str
    sha256: str
    input_size: int
    feature_dim: int
    layer: Any
    graph: Any | None = None
    structure: dict[str, Any] | None = None
    is_pretrained: bool = True
    apart: Apart | None = None
    take_apart: Callable[[Backbone, Pixels], Backbone | Opaque] | None = None

    @cached_property
    def features_of_pixels(self) -> Any:
        """A tf.function of raw pixels, uint8 (N, S, S, 3), to features, float32 (N, feature_dim)."""
        return features_function(self.layer)

    def features(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """uint8 RGB (N, S, S, 3) to float32 (N, feature_dim), as TensorFlow computes them: a stranger's in its process."""
        if self.apart is not None:
            return self.apart.features(pixels)
        return np.asarray(self.features_of_pixels(pixels), np.float32)

    def flat(self, photos: Pixels) -> Backbone | Opaque:
        """Give the same backbone with ``graph`` and ``structure``, or the reason why its layers are unknown.

        ``photos``: uint8 RGB (N, S, S, 3), a few dozen at most, on which layers that were found are proved. A graph that is
        made here is trainable but for ``rescale``: who fine-tunes freezes the rest.
        """
        if self.graph is not None:
            return self
        if self.take_apart is None:
            return Opaque(f"backbone {self.handle!r} can't be taken apart into layers; it can serve as frozen features")
        return self.take_apart(self, photos)

    @property
    def output_name(self) -> str:
        """The name of the layer that gives the features."""
        return str(self.layer.name if self.graph is None else self.graph.layers[-1].name)

    def close(self) -> None:
        """End the process of a stranger's module, if there is one."""
        if self.apart is not None:
            self.apart.close()

    def record(self) -> BackboneRecord:
        """What the manifest says of it."""
        return BackboneRecord(
            handle=self.handle, sha256=self.sha256, input_size=self.input_size, feature_dim=self.feature_dim
        )
