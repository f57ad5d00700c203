"""A ``ForeignModel`` is a model of another program, opened in a process of its own that runs its own framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from tledge.backbones.described import DescribedNetwork
from tledge.errors import InputError

Floats = npt.NDArray[np.float32]
Ending = Literal["logits", "softmax", "sigmoid"]


class Refused(Exception):
    """This error says why a file is no image classifier that tledge can take. The message is a sentence with a way out."""


class LayersUnknown(Exception):
    """This error says why a model has no flat graph. The message names the layer or operator; the model stays opaque."""


class NotFinite(InputError):
    """This error says that a model's answers to photos are NaN or infinite, as they can be after a wrong preparation."""


@dataclass(frozen=True)
class Taken:
    """A ``Taken`` says what a model takes and gives, as its file declares it.

    Args:
        input_size: The side S of its photos in pixels. None where the file leaves it open.
        channels: 3 for a colour input, 1 for a grey one.
        num_outputs: How many numbers it gives for a photo.
        ending: What its last operator makes of the logits. ``answers`` stops before that operator.
        labels: The names of its classes where the file holds them, in the order of its outputs.
        framework: The distribution that computes its answers, such as ``keras``, and the version.
        notes: Sentences for the user, such as that augmentation layers were left out.
    """

    input_size: int | None
    channels: int
    num_outputs: int
    ending: Ending
    labels: tuple[str, ...] = ()
    framework: str = ""
    notes: tuple[str, ...] = ()


class ForeignModel(Protocol):
    """A format's file opens its models as such objects, in the process that `tledge.importing.program` starts."""

    def taken(self) -> Taken:
        """Say what the model takes and gives. Raises Refused where it is no classifier of one image."""

    def answers(self, images: Floats) -> Floats:
        """Compute logits, float32 (N, num_outputs), from float32 (N, S, S, channels) by the model's own framework.

        ``images`` have the range and the order of channels that the model was trained with. A last softmax or sigmoid is left
        out. The model's own layers that only training needs do nothing.
        """

    def network(self, input_size: int) -> DescribedNetwork:
        """Describe the same computation as layers, from float32 RGB-like (N, S, S, 3) to logits (N, num_outputs).

        Raises LayersUnknown where that can't be done.
        """

    def saved_model(self, folder: Path) -> Path | None:
        """Write a SavedModel of the same model to ``folder``, and return the folder; None where there can be none.

        Its signature ``serving_default`` takes one tensor of images, and gives one of logits, as ``answers`` does.
        """


@dataclass(frozen=True)
class ModelFormat:
    """A ``ModelFormat`` is what the file of a format declares of itself, as ``FORMAT``.

    Args:
        name: The name of the format, which is its file's.
        described: How its files look, as a part of an error's sentence, such as ``a Keras 3 file (.keras)``.
        claims: Tells by the name and the first bytes whether a path is of this format. It reads no more than a few kB.
        open: Opens a model. It is called in the model's own process, which is confined already. Raises Refused.
    """

    name: str
    described: str
    claims: Callable[[Path], bool]
    open: Callable[[Path], ForeignModel]


def json_of(taken: Taken) -> dict[str, Any]:
    """Return plain JSON values of what a model takes."""
    return {**vars(taken), "labels": list(taken.labels), "notes": list(taken.notes)}
