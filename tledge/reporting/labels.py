"""Labels are placed beside the bubbles of a chart, where they cover neither each other nor a bubble if possible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Circle = tuple[float, float, float]
"""A circle is its centre's x and y and its radius, in pixels."""
_CHARACTER = 6.6  # pixels of an average character in text of 12 pixels: a guess, as the browser chooses the font
_HEIGHT = 15.0


@dataclass(frozen=True)
class Box:
    """A box is a rectangle, in pixels from the top left."""

    left: float
    top: float
    width: float
    height: float

    @property
    def baseline(self) -> float:
        """Return the height of the baseline of a text in the box."""
        return round(self.top + 11.5, 1)

    def overlap(self, other: Box) -> float:
        """Return how many square pixels both boxes cover."""
        wide = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        high = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)


@dataclass(frozen=True)
class Label:
    """A label has a box for its text. ``is_led`` says whether a line has to lead there."""

    box: Box
    is_led: bool


def place(texts: Sequence[str], circles: Sequence[Circle], frame: Box, written: Sequence[Box]) -> list[Label]:
    """Place each text beside its circle, inside ``frame`` and clear of what is ``written`` there already.

    Each label gets the nearest of a few places that is free, or the least covered one.
    """
    taken = [*written, *(Box(x - r, y - r, 2 * r, 2 * r) for x, y, r in circles)]
    placed: list[Label] = []
    for text, circle in zip(texts, circles, strict=True):
        others = taken + [label.box for label in placed]
        candidates = list(_candidates(len(text) * _CHARACTER, circle))
        costs = [_cost(label.box, others, frame) for label in candidates]
        placed.append(candidates[costs.index(min(costs))])
    return placed


def _candidates(width: float, circle: Circle) -> Iterator[Label]:
    """Yield possible places of a label, the nearest first: beside, above and below its circle, then further off."""
    x, y, radius = circle
    for away in (0.0, 16.0, 32.0, 48.0, 64.0, 90.0, 120.0):
        for side in (-1, 1):
            vertical = y + side * away - _HEIGHT / 2
            yield Label(Box(round(x + radius + 5, 1), round(vertical, 1), width, _HEIGHT), away > radius)
            yield Label(Box(round(x - radius - 5 - width, 1), round(vertical, 1), width, _HEIGHT), away > radius)
            above = y + side * (radius + 10 + away) - _HEIGHT / 2
            yield Label(Box(round(x - width / 2, 1), round(above, 1), width, _HEIGHT), away > 0)


def _cost(box: Box, others: Sequence[Box], frame: Box) -> float:
    outside = box.width * box.height - box.overlap(frame)
    return 10 * outside + sum(box.overlap(other) for other in others)
