"""A trial finds what a model takes, and refuses to guess where the photos do not tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tledge.errors import InputError
from tledge.importing.class_order import ClassOrder, usual_orders
from tledge.importing.foreign import NotFinite
from tledge.importing.given_preparation import Given, parse_given
from tledge.importing.trial import Found, find
from tledge.normalization import CAFFE, IMAGENET, Normalization, of_range
from tledge.preprocessing import Pixels
from tledge.progress import Silent
from tledge.resizing import SQUEEZE, Resize, parse_resize

LABELS = ("tulip", "daisy", "rose", "violet")
SIZE = 8
COUNT = 240


def _photos(seed: int = 0) -> tuple[npt.NDArray[np.int64], dict[Resize, Pixels]]:
    """Photos whose colour tells their class, by resize: other resizes are darker by a few levels."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, len(LABELS), COUNT)
    colours = np.array([[200, 60, 30], [60, 200, 90], [40, 90, 200], [160, 160, 20]])
    noise = draw.normal(0, 18, (COUNT, SIZE, SIZE, 3))
    made = np.clip(colours[targets][:, None, None] + noise, 0, 255).astype(np.uint8)
    return targets.astype(np.int64), {SQUEEZE: made}


class Model:
    """A model that knows the colours in one normalization, for outputs in one order."""

    def __init__(self, takes: Normalization, labels: Sequence[str], resize: Resize = SQUEEZE) -> None:
        self.targets, self.made = _photos()
        self.takes, self.labels, self.resize = takes, labels, resize
        self.asked: list[tuple[Resize, int]] = []

    def photos(self, resize: Resize, count: int) -> Pixels:
        self.asked.append((resize, count))
        rows = self.made[SQUEEZE][:count]
        return rows if resize == self.resize else (rows // 6 + 100).astype(np.uint8)

    def logits(self, pixels: Pixels, normalization: Normalization) -> npt.NDArray[np.float32]:
        given = pixels.astype(np.float64).mean(axis=(1, 2)) * normalization.scale + normalization.offset
        if normalization.is_bgr:
            given = given[:, ::-1]
        own = (
            np.array([[200, 60, 30], [60, 200, 90], [40, 90, 200], [160, 160, 20]]) * self.takes.scale
            + self.takes.offset
        )
        if self.takes.is_bgr:
            own = own[:, ::-1]
        order = [LABELS.index(label) for label in self.labels]
        distances = np.linalg.norm(given[:, None] - own[order][None], axis=2)
        return (-12 * distances / np.linalg.norm(own.max(axis=0) - own.min(axis=0))).astype(np.float32)

    def find(self, given: Given | None = None, orders: Sequence[ClassOrder] | None = None, channels: int = 3) -> Found:
        return find(
            given or Given(), SIZE, channels, orders or usual_orders(LABELS, ()), LABELS, self.targets,
            self.photos, self.logits, Silent(),
        )  # fmt: skip


@pytest.mark.parametrize("takes", [of_range(0, 255), of_range(0, 1), of_range(-1, 1), IMAGENET, CAFFE], ids=str)
@pytest.mark.parametrize("is_bgr", [False, True])
@pytest.mark.parametrize("labels", [LABELS, tuple(sorted(LABELS))], ids=["own order", "alphabet"])
def test_the_scale_the_channels_and_the_classes_are_found(
    takes: Normalization, is_bgr: bool, labels: tuple[str, ...]
) -> None:
    found = Model(takes._replace(is_bgr=is_bgr), labels).find().best
    assert (found.normalization, found.order.labels) == (takes._replace(is_bgr=is_bgr), labels)
    assert found.accuracy > 0.95


def test_the_resize_of_the_lowest_loss_is_found() -> None:
    crop = parse_resize("crop:9")  # what a model of 224 pixels gets by crop:256
    found = Model(IMAGENET, LABELS, resize=crop).find()
    assert found.best.resize == crop
    assert found.tried[0] is found.best


def test_resizes_that_do_alike_are_told() -> None:
    class Indifferent(Model):
        def photos(self, resize: Resize, count: int) -> Pixels:
            return self.made[SQUEEZE][:count]

    found = Indifferent(IMAGENET, LABELS).find()
    assert found.best.resize == SQUEEZE
    assert parse_resize("pad") in {one.resize for one in found.ties}


def test_what_is_given_is_not_tried() -> None:
    model = Model(of_range(0, 1), LABELS)
    found = model.find(parse_given("scale=0..1 resize=squeeze order=rgb"))
    assert {str(one.normalization) for one in found.tried} == {"scale=0..1 order=rgb"}
    assert {resize for resize, _ in model.asked} == {SQUEEZE}


def test_channels_of_grey_photos_have_no_order_and_red_green_and_blue_are_taken() -> None:
    model = Model(of_range(0, 1), LABELS)
    grey = model.made[SQUEEZE].mean(axis=3, keepdims=True).astype(np.uint8)
    levels = np.array([30, 90, 150, 210])
    model.made[SQUEEZE] = np.repeat(
        (grey // 16 + levels[model.targets][:, None, None, None] - 8).astype(np.uint8), 3, axis=3
    )

    def logits(pixels: Pixels, normalization: Normalization) -> Any:
        given = pixels.astype(np.float64).mean(axis=(1, 2)) * normalization.scale + normalization.offset
        return -np.abs(given[:, :1] - levels / 255).astype(np.float32) * 40

    model.logits = logits  # type: ignore[method-assign]
    assert not model.find().best.normalization.is_bgr


def test_two_scales_that_do_alike_are_refused_and_asked_for() -> None:
    class Scaleless(Model):
        def logits(self, pixels: Pixels, normalization: Normalization) -> npt.NDArray[np.float32]:
            jitter = np.random.default_rng(len(normalization.name)).normal(0, 0.01, (len(pixels), len(LABELS)))
            seen = self.takes._replace(is_bgr=normalization.is_bgr)
            return (super().logits(pixels, seen) + jitter).astype(np.float32)

    with pytest.raises(InputError, match=r"what the model takes can't be decided on 240 photos: .* --prepare"):
        Scaleless(of_range(0, 1), LABELS).find()


def test_a_model_that_knows_nothing_is_refused_with_what_was_tried() -> None:
    class Blind(Model):
        def logits(self, pixels: Pixels, normalization: Normalization) -> npt.NDArray[np.float32]:
            return np.random.default_rng(7).normal(size=(len(pixels), len(LABELS))).astype(np.float32)

    with pytest.raises(
        InputError, match=r"no better than chance \(25.0%\) under every preparation tried on 240 photos"
    ):
        Blind(of_range(0, 1), LABELS).find()


def test_an_order_of_classes_that_nobody_uses_is_named() -> None:
    strange = ("rose", "violet", "daisy", "tulip")
    with pytest.raises(InputError, match=r"if its outputs are rose, violet, daisy, tulip\. Name them .* --labels FILE"):
        Model(of_range(0, 1), strange).find()
    found = Model(of_range(0, 1), strange).find(orders=[ClassOrder("that of --labels", strange)])
    assert found.best.order.labels == strange


def test_a_preparation_whose_answers_are_not_finite_only_loses() -> None:
    class Overflowing(Model):
        def logits(self, pixels: Pixels, normalization: Normalization) -> npt.NDArray[np.float32]:
            if normalization.name == "0..255":  # as in float16
                raise NotFinite("its answers are not finite")
            return super().logits(pixels, normalization)

    found = Overflowing(of_range(0, 1), LABELS).find()
    assert found.best.normalization == of_range(0, 1)
    assert "0..255" not in {one.normalization.name for one in found.tried}
    with pytest.raises(NotFinite):
        Overflowing(of_range(0, 1), LABELS).find(Given(normalization=of_range(0, 255)))
