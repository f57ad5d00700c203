"""Whether a training fits into this machine: its method says what it needs, and that is asked for once, at the start.

Photos are known by their number alone at that point, so what is asked for is the least that the training will take. What
is written later, such as a cache's segment or the activations of a cut, still looks for its own room before it begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tledge.backbones import Backbone
from tledge.cache import made_root
from tledge.datasets import Source
from tledge.datasets.prepare import uncached_bytes
from tledge.pixel_range import PixelRange
from tledge.room import require_memory, require_space
from tledge.training.recipe import Recipe

_LEAST_TRAINED = 0.5  # of a data set's photos


@dataclass(frozen=True)
class Plan:
    """A training before any photo is read. ``state``: where an interrupted one kept its state, or None."""

    backbone: Backbone
    recipe: Recipe
    num_photos: int
    num_classes: int
    state: Path | None = None

    @property
    def num_train(self) -> int:
        """The photos that are trained on, at least."""
        return int(_LEAST_TRAINED * self.num_photos)


@dataclass(frozen=True)
class Memory:
    """Memory that is taken at once. ``what`` takes it and ``remedy`` is the way out, both as parts of an error."""

    num_bytes: int
    what: str
    remedy: str


@dataclass(frozen=True)
class Needs:
    """What a training takes at least. ``disk_bytes`` lie on the cache's disk at one time, beside the photos' pixels."""

    memory: tuple[Memory, ...] = ()
    disk_bytes: int = 0


def require_room(needs: Needs, source: Source, input_size: int, pixel_range: PixelRange | None) -> None:
    """Raise EnvironmentFault where a training, and the pixels of its photos that are not cached, have no room."""
    for memory in needs.memory:
        require_memory(memory.num_bytes, memory.what, memory.remedy)
    require_space(made_root(), uncached_bytes(source, input_size, pixel_range) + needs.disk_bytes)
