"""This module tries the preparations that a file could want on labelled photos, and finds the one that fits.

The photos are of the run's validation split, and of its training split where that has too few. Test photos are never used.
The measure is the log-loss, whose differences are paired by photo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tledge.bench.bench import Bench, Runnable, TimeLimits
from tledge.bench.photos import lay_out
from tledge.datasets.run_photos import load_split
from tledge.errors import InputError
from tledge.progress import Progress
from tledge.run import Run
from tledge.statistics import CONFIDENCE, is_clearly_higher, mcnemar_p_value
from tledge.verification.foreign.class_order import other_order
from tledge.verification.foreign.interfaces import Declared
from tledge.verification.foreign.preparations import EXAMPLE, Given, Preparation, allowed
from tledge.workers.adapter import Adapter, Answer
from tledge.workers.place import Here
from tledge.workers.process import WorkerFailed

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]
NUM_PHOTOS = 300
_LEAST = 1e-4  # A smaller probability counts as this one, since 8-bit outputs hold exact zeros.
_NEAR = 0.1  # Answers are those of one model where half the sum of their differences is no larger on average.
_SAME = 1e-3  # Answers of which no probability differs by more are the same.
_SUM = 0.02  # Probabilities add up to one within this, and integers within half a step for each class more.


@dataclass(frozen=True)
class TrialPhotos:
    """The photos of a trial are laid out at a file's input size. ``labels`` are their true classes, (N,)."""

    bench: Bench
    labels: Labels


@dataclass(frozen=True)
class Tried:
    """A preparation was tried: ``answers`` (N, C) are probabilities, and ``losses`` (N,) are in nats.

    ``order`` is the output of each class, where the classes stand in another order than the run's.
    """

    preparation: Preparation
    adapter: Adapter
    answers: Floats
    losses: Floats
    order: npt.NDArray[np.int64] | None
    accuracy: float

    @property
    def loss(self) -> float:
        """Return the mean log-loss, in nats."""
        return float(np.mean(self.losses))

    @property
    def ordered(self) -> Floats:
        """Return the answers in the order of the run's classes."""
        return self.answers if self.order is None else self.answers[:, self.order]

    def words(self) -> str:
        """Say the preparation with its accuracy and its loss."""
        return f"{self.preparation.words()} ({100 * self.accuracy:.1f}%, log-loss {self.loss:.3f})"


@dataclass(frozen=True)
class Choice:
    """A choice is the preparation that fits.

    ``by_original`` says that the labels alone did not decide. ``warning`` names one that fits better than the given one.
    """

    best: Tried
    by_original: bool
    warning: str | None


def trial_photos(run: Run, side: int, folder: Path, limits: TimeLimits, progress: Progress) -> TrialPhotos:
    """Lay out at most 300 labelled photos that are not of the test split, at an input size."""
    chosen, labels, missing = [], [], NUM_PHOTOS
    for split in ("validation", "train"):
        if missing <= 0:
            break
        photos = load_split(run, split, progress, side)
        count = min(missing, len(photos.labels))
        rows = np.unique(np.linspace(0, len(photos.labels) - 1, count).astype(np.int64))
        chosen.append(photos.pixels.select(rows))
        labels.append(photos.labels[rows])
        missing -= len(rows)
    batches = (batch for pixels in chosen for batch in pixels.batches(64))
    total = sum(map(len, labels))
    laid_out = lay_out(folder / f"trial-{side}", batches, total, side, progress, "photos to try preparations on")
    return TrialPhotos(Bench(Here(folder), laid_out, len(run.manifest.labels), limits), np.concatenate(labels))


def tried(
    name: str,
    path: Path,
    runtime: str,
    declared: Declared,
    preparations: Sequence[Preparation],
    photos: TrialPhotos,
    progress: Progress,
) -> list[Tried] | WorkerFailed:
    """Try every preparation of a file, and return them with the lowest loss first; or why the file does not run."""
    model = Runnable(name, path, runtime, adapters=tuple(one.adapter for one in preparations))
    (given,) = photos.bench.answers([model], progress, f"trying how {name} takes its input").values()
    if isinstance(given, WorkerFailed):
        return given
    raw = dict(zip(preparations, np.split(given, len(preparations)), strict=True))
    usable = {one: answers for one, answers in raw.items() if np.all(np.isfinite(answers))}
    if not usable:
        return WorkerFailed("the output holds NaN or infinity under every preparation")
    dequantization = declared.output_quantization if path.suffix == ".onnx" else None
    step = declared.output_quantization[0] if declared.output_quantization else 0.0
    kind = _kind(list(usable.values()), dequantization, step)
    results = []
    for one, values in usable.items():
        adapter = replace(one.adapter, answer=kind, dequantization=dequantization)
        answers = np.stack([adapter.output(row) for row in values])
        order = other_order(answers, photos.labels)
        ordered = answers if order is None else answers[:, order]
        results.append(
            Tried(
                one,
                adapter,
                answers,
                _losses(ordered, photos.labels),
                order,
                float(np.mean(np.argmax(ordered, axis=1) == photos.labels)),
            )
        )
    return sorted(results, key=lambda result: result.loss)


def chosen(
    name: str,
    results: Sequence[Tried],
    given: Given,
    labels: Labels,
    original: Callable[[], Floats],
) -> Choice:
    """Return the preparation that fits the photos, whose true classes are ``labels``.

    The labels decide, by log-loss and by accuracy. A network that is not sure enough has a lower log-loss on pixels of a
    wrong, larger scale, so log-loss alone is not trusted. Where both leave several alike, the original's answers to the same
    photos decide, if one of them comes near these. ``original`` returns its probabilities (N, C), and is called only
    then. Where each of them is clearly worse than the original, the file has lost its accuracy whatever it wants: then the
    best one is taken, with a warning.

    Raises InputError where several still fit about as well and answer otherwise, or where none that was given was tried.
    """
    among = set(allowed([one.preparation for one in results], given))
    left = [one for one in results if one.preparation in among]
    if not left:
        raise InputError(f"--file {name} gives no finite numbers for the preparation that --file-input asks for")
    best, by_original, alike = (left[0], False, []) if given.is_whole else _fitting(left, labels, original)
    if alike and not all(is_clearly_higher(one.losses, _losses(original(), labels)) for one in (best, *alike)):
        shown = " and ".join(one.words() for one in [best, *alike[:2]])
        raise InputError(
            f"--file {name}: {len(best.losses)} labelled photos do not tell how it takes its input: {shown} are too alike. "
            f"Say it, as in {EXAMPLE}."
        )
    if alike:
        return Choice(
            best,
            False,
            f"no usual preparation fits: it is judged by the best of {len(results)}, {best.words()}; {alike[0].words()} is "
            f"not clearly worse. If it takes another, say so, as in {EXAMPLE}.",
        )
    if len(left) < len(results) and is_clearly_higher(best.losses, results[0].losses):
        better, _, _ = _fitting(results, labels, original)
        if is_clearly_higher(best.losses, better.losses) and not _is_same(better, best):
            return Choice(
                best,
                by_original,
                f"--file-input was taken as given, {best.words()}, but another one fits better on {len(best.losses)} labelled "
                f'photos: {better.words()}. Ask for it with --file-input "{better.preparation.as_given()}".',
            )
    return Choice(best, by_original, None)


def _fitting(
    results: Sequence[Tried], labels: Labels, original: Callable[[], Floats]
) -> tuple[Tried, bool, list[Tried]]:
    """Return the preparation that fits, whether the original decided, and those that are alike where nothing decided."""
    best = results[0]
    others = [one for one in results[1:] if not _is_same(best, one)]
    alike = [
        one for one in others if not is_clearly_higher(one.losses, best.losses) or not _errs_more(best, one, labels)
    ]
    if not alike:
        return best, False, []
    nearest = _nearest([best, *alike], original())
    if nearest is not None:
        return nearest, True, []
    return best, False, [one for one in alike if not is_clearly_higher(one.losses, best.losses)]


def _errs_more(best: Tried, other: Tried, labels: Labels) -> bool:
    """Tell whether a preparation is wrong on more photos than the best one, by more than chance."""
    was_right, is_right = (np.argmax(one.ordered, axis=1) == labels for one in (best, other))
    lost, won = int(np.sum(was_right & ~is_right)), int(np.sum(~was_right & is_right))
    return lost > won and mcnemar_p_value(lost, won) < 1 - CONFIDENCE


def _nearest(alike: Sequence[Tried], original: Floats) -> Tried | None:
    """Return the one whose answers come clearly nearest to the original's and near enough to be the same model's."""
    distances = {id(one): np.sum(np.abs(one.ordered - original), axis=1) / 2 for one in alike}
    best, *others = sorted(alike, key=lambda one: float(np.mean(distances[id(one)])))
    if np.mean(distances[id(best)]) > _NEAR:
        return None
    clear = all(_is_same(best, one) or is_clearly_higher(distances[id(one)], distances[id(best)]) for one in others)
    return best if clear else None


def is_order_of_channels_open(results: Sequence[Tried], best: Tried) -> bool:
    """Tell whether the other order of channels gives the same answers, as on grey photos."""
    return any(
        one.preparation.normalization._replace(is_bgr=False) == best.preparation.normalization._replace(is_bgr=False)
        and one.preparation.normalization.is_bgr != best.preparation.normalization.is_bgr
        and _is_same(one, best)
        for one in results
    )


def _is_same(one: Tried, other: Tried) -> bool:
    return bool(np.max(np.abs(one.answers - other.answers)) <= _SAME)


def _losses(answers: Floats, labels: Labels) -> Floats:
    mine = answers[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(mine, _LEAST, 1.0)))


def _kind(answers: Sequence[Floats], dequantization: tuple[float, int] | None, step: float) -> Answer:
    """Tell probabilities, scores that do not add up to one, and logits apart by the numbers themselves."""
    scale, zero_point = dequantization or (1.0, 0)
    real = [scale * (values.astype(np.float64) - zero_point) for values in answers]
    if min(float(values.min()) for values in real) < -_SUM or max(float(values.max()) for values in real) > 1 + _SUM:
        return "logits"
    slack = _SUM + step * answers[0].shape[1] / 2
    sums = np.concatenate([values.sum(axis=1) for values in real])
    return "probabilities" if np.all(np.abs(sums - 1) <= slack) else "scores"
