"""A trial finds out how photos have to be prepared for a model, and in which order its classes stand.

The usual preparations are tried on labelled photos that are not in the test split. They are compared by their log-loss, photo
by photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tledge.errors import InputError
from tledge.importing.class_order import ClassOrder
from tledge.importing.foreign import NotFinite
from tledge.importing.given_preparation import Given
from tledge.normalization import USUAL, Normalization, both_orders
from tledge.preprocessing import Pixels
from tledge.printable import few
from tledge.progress import Progress
from tledge.resizing import SQUEEZE, Resize, parse_resize
from tledge.statistics import Z, is_clearly_higher

MOST_PHOTOS = 300
_FIRST_PHOTOS = 64  # on so many, all normalizations are tried; only the best of them on all photos
_KEPT = 4
_SAME_LOSS = 1e-6
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Logits = Callable[[Pixels, Normalization], Floats]
Photos = Callable[[Resize, int], Pixels]
"""``photos(resize, count)`` returns the first ``count`` photos of the trial, resized: uint8 RGB (count, S, S, 3)."""


class Undecided(InputError):
    """This error says that a trial decides nothing, and what the user can give. The message does not name the model's file."""


@dataclass(frozen=True)
class Tried:
    """A ``Tried`` is one preparation with one order of classes, and how the model did with it.

    ``losses`` holds the log-loss of each photo, float64 (N,), ``answered`` the number of the output that was largest, int64 (N,),
    and ``accuracy`` the share of photos that were right.
    """

    resize: Resize
    normalization: Normalization
    order: ClassOrder
    losses: Doubles
    answered: npt.NDArray[np.int64]
    accuracy: float

    @property
    def loss(self) -> float:
        """Return the mean log-loss."""
        return float(np.mean(self.losses))

    def __str__(self) -> str:
        return f"resize={self.resize} {self.normalization}"


@dataclass(frozen=True)
class Found:
    """A ``Found`` is the outcome of a trial: the best preparation, and all that were tried, the best first."""

    best: Tried
    tried: tuple[Tried, ...]
    ties: tuple[Tried, ...]
    num_photos: int


def find(
    given: Given,
    size: int,
    channels: int,
    orders: Sequence[ClassOrder],
    labels: Sequence[str],
    targets: npt.NDArray[np.int64],
    photos: Photos,
    logits: Logits,
    progress: Progress,
) -> Found:
    """Find the preparation and the order of classes with which a model answers labelled photos best.

    Args:
        given: What the user says, which is not tried.
        size: The side S of the model's photos, in pixels.
        channels: 1 for a model of grey photos, whose channels have no order.
        orders: The orders of classes to try.
        labels: The labels of the data set.
        targets: The number of each photo's label, int64 (N,).
        photos: Makes the photos.
        logits: Runs the model.
        progress: Is told of the steps.

    Raises:
        Undecided: The scale, the order of the channels or that of the classes can't be decided, or the model answers no better
            than chance with every preparation.
        NotFinite: Its answers are not finite with any preparation.
    """
    first = given.resize or SQUEEZE
    outputs = {order: order.outputs(labels)[targets] for order in orders}
    not_finite: list[NotFinite] = []

    def attempt(resize: Resize, normalization: Normalization, count: int) -> list[Tried]:
        try:
            answers = logits(photos(resize, count), normalization)
        except NotFinite as error:  # of this preparation alone: float16 overflows where pixels are too large
            not_finite.append(error)
            return []
        return [_tried(resize, normalization, order, answers, at[:count]) for order, at in outputs.items()]

    normalizations = _normalizations(given, channels)
    num_photos = len(targets)
    few_photos = min(_FIRST_PHOTOS, num_photos)
    with progress.step("trying preparations", len(normalizations)) as advance:
        begun: list[Tried] = []
        for one in normalizations:
            begun += attempt(first, one, few_photos)
            advance(1)
    if not begun:
        raise not_finite[0]
    ahead = min(begun, key=lambda one: one.loss)
    open_still = [one for one in sorted(begun, key=lambda one: one.loss) if not _is_worse(one, ahead)]
    kept = list(dict.fromkeys(one.normalization for one in open_still))[:_KEPT]
    given_up = [one for one in begun if one.normalization not in kept]
    with progress.step("trying the best of them on more photos", len(kept)) as advance:
        made: list[Tried] = []
        for one in kept:
            made += attempt(first, one, num_photos)
            advance(1)
    if not made:
        raise not_finite[-1]
    made.sort(key=lambda one: one.loss)
    best = made[0]
    _require_usual_order(made, labels, targets)
    _require_better_than_chance(best, [*made, *given_up], len(labels))
    _require_decided(best, made, given)
    tried = [*made, *given_up]
    if given.resize is None:
        others = _of_resizes(best, _resizes(size), attempt, num_photos, progress)
        best = min([best, *(one for one in others if len(one.losses) == num_photos)], key=lambda one: one.loss)
        tried += others
    ranked = tuple(sorted(tried, key=lambda one: one.loss))
    same = [
        one for one in ranked if (one.normalization, one.order) == (best.normalization, best.order) and one is not best
    ]
    same = [one for one in same if len(one.losses) == num_photos]
    return Found(best, ranked, tuple(one for one in same if not _is_worse(one, best)), num_photos)


def _of_resizes(
    best: Tried,
    resizes: Sequence[Resize],
    attempt: Callable[[Resize, Normalization, int], list[Tried]],
    num_photos: int,
    progress: Progress,
) -> list[Tried]:
    """Try other resizes with the best normalization: all of them on a few photos, and those that may be better on all."""
    few_photos = min(_FIRST_PHOTOS, num_photos)
    squeezed = replace(best, losses=best.losses[:few_photos], answered=best.answered[:few_photos])
    made = []
    with progress.step("trying resizes", len(resizes)) as advance:
        for resize in resizes:
            for count in (few_photos, num_photos):
                answered = [one for one in attempt(resize, best.normalization, count) if one.order == best.order]
                if not answered:
                    break
                (found,) = answered
                if count < num_photos and _is_worse(found, squeezed):
                    break
            if answered:
                made.append(found)
            advance(1)
    return made


def _normalizations(given: Given, channels: int) -> list[Normalization]:
    known = list(USUAL.values()) if given.normalization is None else [given.normalization]
    if channels == 1:
        return known
    if given.is_bgr is not None:
        return [one._replace(is_bgr=given.is_bgr) for one in known]
    return [order for one in known for order in both_orders(one)]


def _resizes(size: int) -> list[Resize]:
    """Return the resizes that are tried beside a squeeze: how libraries of training bring photos to their size."""
    larger = round(size * 256 / 224)  # the crop of ImageNet's networks
    texts = ["squeeze,no-antialias", f"crop:{larger}", f"crop:{larger},bicubic", f"crop:{size}", "pad"]
    return [parse_resize(text) for text in texts]


def _tried(
    resize: Resize, normalization: Normalization, order: ClassOrder, logits: Floats, outputs: npt.NDArray[np.int64]
) -> Tried:
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    logarithms = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    losses = -logarithms[np.arange(len(outputs)), outputs]
    answered = values.argmax(axis=1)
    return Tried(resize, normalization, order, losses, answered, float(np.mean(answered == outputs)))


def _is_worse(one: Tried, best: Tried) -> bool:
    return is_clearly_higher(one.losses, best.losses)


def _is_same(one: Tried, best: Tried) -> bool:
    return float(np.max(np.abs(one.losses - best.losses))) <= _SAME_LOSS


def _require_usual_order(made: Sequence[Tried], labels: Sequence[str], targets: npt.NDArray[np.int64]) -> None:
    """Raise Undecided where another order of classes than those tried has much better answers, and name that order."""
    from scipy.optimize import linear_sum_assignment

    best, found, most = made[0], None, 0.0
    for one in made:
        counts = np.zeros((len(labels), len(labels)), np.int64)
        np.add.at(counts, (one.answered, targets), 1)
        _, of_output = linear_sum_assignment(counts, maximize=True)
        right = of_output[one.answered] == targets
        if np.mean(right) > most:
            most, found = float(np.mean(right)), (one, of_output, right)
    assert found is not None
    one, of_output, right = found
    usual = max(other.accuracy for other in made)
    # A few photos fit some order of many classes by chance. So the other order has to be right on half of the photos.
    if most < 0.5 or most - usual < 0.2:
        return
    named = [labels[number] for number in of_output]
    raise Undecided(
        f"the model's classes stand in an order of their own: with {best.order.name} {usual:.1%} of {len(right)} photos are right, "
        f"and {most:.1%} if its outputs are {few(named, ', ')}. Name them in their order with --labels FILE, one a line."
    )


def _require_better_than_chance(best: Tried, made: Sequence[Tried], num_classes: int) -> None:
    chance, num_photos = 1 / num_classes, len(best.losses)
    if (best.accuracy - chance) * num_photos > Z * math.sqrt(num_photos * chance * (1 - chance)):
        return
    shown = [f"{one.normalization}: {one.accuracy:.1%}" for one in made]
    raise Undecided(
        f"the model answers no better than chance ({chance:.1%}) under every preparation tried on {num_photos} photos: "
        f"{few(shown, '; ')}. Say what it takes with --prepare, name its classes in their order with --labels, or give the data "
        "set that it was trained for."
    )


def _require_decided(best: Tried, made: Sequence[Tried], given: Given) -> None:
    """Raise Undecided where another normalization or order of classes does as well."""
    for one in made:
        if one is best or _is_worse(one, best) or _is_same(one, best):
            continue
        told = f"{_told(best)}, {_told(one)}"
        if one.order != best.order:
            raise Undecided(
                f"the order of the model's classes can't be decided on {len(best.losses)} photos: {best.order.name} and "
                f"{one.order.name} do alike ({told}). Name the classes in their order with --labels FILE, one a line."
            )
        raise Undecided(
            f"what the model takes can't be decided on {len(best.losses)} photos: two preparations do alike ({told}). Say which "
            f'one it is, as in --prepare "{best.normalization}".'
        )


def _told(one: Tried) -> str:
    return f"{one.normalization}: {one.accuracy:.1%}, log-loss {one.loss:.3f}"
