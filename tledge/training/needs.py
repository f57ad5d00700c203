"""This module checks once, at the start, whether a training fits into this machine; the method says what it needs.

Only the number of photos is known at that point, so the check asks for the least that the training will take. Files
that are written later, such as a cache's segment or the activations at a cut, have their room checked before they
begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tledge.backbones import Backbone
from tledge.cache import made_root
from tledge.datasets import Source
from tledge.datasets.prepare import uncached_bytes
from tledge.preprocessing import Preparation
from tledge.room import require_memory, require_space
from tledge.training.recipe import Recipe

_LEAST_TRAINED = 0.5  # share of a data set's photos


@dataclass(frozen=True)
class Plan:
    """A plan describes a training before any photo is read.

    ``state`` is the folder where an interrupted training kept its state, or None.
    """

    backbone: Backbone
    recipe: Recipe
    num_photos: int
    num_classes: int
    state: Path | None = None

    @property
    def num_train(self) -> int:
        """Return the number of photos that are trained on, at least."""
        return int(_LEAST_TRAINED * self.num_photos)


@dataclass(frozen=True)
class Memory:
    """This is an amount of memory that is taken at once.

    An error message quotes ``what`` takes the memory, and ``remedy``, the way out.
    """

    num_bytes: int
    what: str
    remedy: str


@dataclass(frozen=True)
class Needs:
    """These are the least memory and disk space that a training takes.

    ``disk_bytes`` lie on the cache's disk at one time, besides the photos' pixels.
    """

    memory: tuple[Memory, ...] = ()
    disk_bytes: int = 0


def require_room(needs: Needs, source: Source, input_size: int, preparation: Preparation) -> None:
    """Raise EnvironmentFault where memory or disk have no room for a training and its photos' uncached pixels."""
    for memory in needs.memory:
        require_memory(memory.num_bytes, memory.what, memory.remedy)
    require_space(made_root(), uncached_bytes(source, input_size, preparation) + needs.disk_bytes)
