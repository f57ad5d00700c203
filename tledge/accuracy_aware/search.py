"""This module exports with a budget of accuracy.

It tries the all-integer file first, then files with some layers in float, then a file after quantization-aware
training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tledge.accuracy_aware.scoring import Judge, Score
from tledge.accuracy_aware.sensitivity import NUM_PHOTOS, choices, ranked
from tledge.backbones.own_graph import errors_of
from tledge.cache import scratch_folder
from tledge.compression.codes import Grid
from tledge.errors import ArtifactError, EnvironmentFault, InputError, PromiseBroken
from tledge.exporters import ONE_PHOTO, Format, chosen, formats, mixed_formats, require_batch, require_readers
from tledge.exporters.export import Artifact, and_exported, artifact, keep, model_of, reserved_formats
from tledge.exporters.materials import Materials
from tledge.exporters.options import Options
from tledge.exporters.preparations import Material
from tledge.exporters.preparations.fitted import FittedRecord
from tledge.progress import Progress, Silent
from tledge.records import MIXED_SUFFIX, AccuracySearch, AccuracyStep, ExportRecord
from tledge.run import Run, find_run
from tledge.verification.certification import certify
from tledge.workers.process import WorkerFailed

_TRAINED = "-qat"
_ENDS = ("", MIXED_SUFFIX, _TRAINED)  # a search may keep its artifact under the name of a format with one of these ends


def export_within(
    max_drop_points: float,
    run: Run | str | None,
    format_names: Sequence[str],
    *,
    options: Options | None = None,
    batch: str = ONE_PHOTO,
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> list[ExportRecord]:
    """Export, for each int8 format, the first artifact whose drop is shown to be inside the budget, else the best one.

    A drop is shown to be inside if the whole 95% interval is. The interval is paired: artifact and original answer
    the same validation photos. The record's ``search`` lists what was tried and by how much the budget was missed.

    Raises:
        InputError: ``max_drop_points`` is not from 0 to 100, a format has no int8 artifact to begin with, another
            process
        exports one of the formats, or the run has no validation photos.
        PromiseBroken: a format's artifacts do not run or do not keep its promise. The other formats are exported
            first.
    """
    progress = progress or Silent()
    if not 0 <= max_drop_points <= 100:
        raise InputError(f"--max-drop {max_drop_points:g}: use points from 0 to 100, such as 0.5")
    wanted = chosen(list(format_names))
    known = mixed_formats()
    others = [form.name for form in wanted if form.name not in known]
    if others or not wanted:
        raise InputError(
            f"--max-drop is for {' and '.join(sorted(known))}, and not for {', '.join(others) or 'no format at all'}. "
            "Export those without it."
        )
    require_batch(wanted, batch)
    wanted = [form.with_batch(batch) for form in wanted]
    run = find_run(run, artifacts)
    options = options or Options()
    require_readers(options, [form for one in wanted for form in (one, formats()[f"{one.name}{_TRAINED}"])])
    materials = Materials(run, options, progress)
    ways = [f"{form.name}{end}" for form in wanted for end in _ENDS]
    with reserved_formats(run, ways), scratch_folder() as folder, errors_of(run.manifest.backbone.handle):
        judge = Judge(run, folder, progress)
        if why := too_few(judge.num_photos, max_drop_points):
            progress.warn(why)
        made, refused = [], []
        for form in wanted:
            try:
                made.append(_Search(run, form, materials, judge, max_drop_points, progress).export())
            except PromiseBroken as error:
                refused.append(str(error))
    if refused:
        raise PromiseBroken("; ".join(refused) + and_exported(made))
    return made


def fewest(count: int, suffices: Callable[[int], bool]) -> int | None:
    """Return the smallest number from 1 to ``count`` that suffices, or None where none does.

    The search tries 1, 2, 4, ... and then halves the last gap. It assumes that every larger number suffices too.
    """
    low, high = 0, min(1, count)
    while high and not suffices(high):
        if high == count:
            return None
        low, high = high, min(2 * high, count)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high or None


class MixedRecord(FittedRecord):
    """This record says how weights and ranges were fitted, and which layers compute in float."""

    float_layers: list[str]


@dataclass(frozen=True)
class _Attempt:
    made: Artifact
    num_float: int
    score: Score | WorkerFailed

    @property
    def upper_bound_points(self) -> float:
        """Return the upper end of the drop's 95% interval in points, or infinity where the artifact does not run."""
        return math.inf if isinstance(self.score, WorkerFailed) else self.score.drop.interval_points.high

    @property
    def is_within_budget(self) -> bool:
        return not isinstance(self.score, WorkerFailed) and self.score.drop.verdict == "certified"

    @property
    def step(self) -> AccuracyStep:
        score = None if isinstance(self.score, WorkerFailed) else self.score
        return AccuracyStep(
            format=self.made.record.format,
            float_operators=self.num_float,
            accuracy=score.accuracy if score else None,
            accuracy_drop_points=score.drop.drop_points if score else None,
            accuracy_drop_points_interval=score.drop.interval_points if score else None,
            size_bytes=self.made.record.size_bytes,
            p50_ms=score.p50_ms if score else None,
            is_within_budget=self.is_within_budget,
            error=str(self.score) if isinstance(self.score, WorkerFailed) else None,
        )


class _Search:
    """A search finds the artifact of one format."""

    def __init__(
        self, run: Run, form: Format, materials: Materials, judge: Judge, max_drop_points: float, progress: Progress
    ) -> None:
        self._run, self._form, self._materials, self._judge = run, form, materials, judge
        self._max_drop_points, self._progress = max_drop_points, progress
        self._attempts: list[_Attempt] = []

    def export(self) -> ExportRecord:
        """Try one artifact after another, and keep the first that suffices, or else the best.

        Raises PromiseBroken where the best artifact does not run.
        """
        best = self._first_that_suffices() or min(self._attempts, key=lambda attempt: attempt.upper_bound_points)
        if isinstance(best.score, WorkerFailed):
            raise PromiseBroken(
                f"{self._form.name} does not run, in any form that was tried: {best.score}. Nothing was kept."
            )
        over = None if best.is_within_budget else best.upper_bound_points - self._max_drop_points
        search = AccuracySearch(
            num_photos=self._judge.num_photos,
            original_accuracy=self._judge.original_accuracy,
            max_drop_points=self._max_drop_points,
            missed_by_points=over,
            steps=[attempt.step for attempt in self._attempts],
        )
        record = keep(self._run, replace(best.made, record=best.made.record.model_copy(update={"search": search})))
        for name in (f"{self._form.name}{end}" for end in _ENDS):
            if name != record.format and name in self._run.export_names():
                self._progress.warn(f"{name} is still there from an earlier export; of this budget is {record.format}")
        return record

    def _first_that_suffices(self) -> _Attempt | None:
        plain = self._attempt(self._form, self._material(self._form))
        if self._suffices(plain):
            return plain
        try:
            folded = self._materials.sources.folded
        except (InputError, ArtifactError, EnvironmentFault) as error:
            self._progress.warn(f"no layer can be left in float, and none trained: {error}")
            return None
        material = self._material(self._form)
        errors = ranked(folded, material.calibration_photos[:NUM_PHOTOS], Grid(bounds_pairs=material.bounds_pairs))
        in_float = choices(folded.network, list(errors))
        found: dict[int, _Attempt] = {}

        def suffices(number: int) -> bool:
            attempt = self._if_it_can_be(lambda: self._mixed(in_float[number - 1]))
            if attempt is not None:
                found[number] = attempt
            return attempt is not None and self._suffices(attempt)

        number = fewest(len(in_float), suffices)
        if number is not None:
            return found[number]
        trained = formats()[f"{self._form.name}{_TRAINED}"].with_batch(self._form.batch)
        last = self._if_it_can_be(lambda: self._attempt(trained, self._material(trained)))
        return last if last is not None and self._suffices(last) else None

    def _if_it_can_be(self, attempt: Callable[[], _Attempt]) -> _Attempt | None:
        """Make an attempt, or warn and return None where the artifact breaks its format's promise.

        Other artifacts may keep the promise, so the search goes on.
        """
        try:
            return attempt()
        except PromiseBroken as error:
            self._progress.warn(f"left out: {error}")
            return None

    def _mixed(self, float_layers: tuple[str, ...]) -> _Attempt:
        sources, bounds_pairs = self._materials.sources, self._material(self._form).bounds_pairs
        prepared = sources.fitted(sources.folded, float_layers=float_layers, bounds_pairs=bounds_pairs)
        made = MixedRecord.of(prepared.fitting, float_layers=list(float_layers))
        material = sources.material(prepared, made, bounds_pairs)
        model = model_of(self._run, self._form.name + MIXED_SUFFIX, material, self._form.batch)
        mixed = mixed_formats()[self._form.name](model).with_batch(self._form.batch)
        return self._attempt(mixed, material)

    def _material(self, form: Format) -> Material:
        material = self._materials.of(form)
        assert material is not None  # integer formats have a material, and a search begins with one
        return material

    def _attempt(self, form: Format, material: Material) -> _Attempt:
        made = artifact(self._run, form, material, self._progress)
        num_float = sum(made.record.options.get("float_operators", {}).values())
        name = f"{form.name}, {num_float} operators in float" if num_float else form.name
        score = self._judge.score(name, form.file, made.data, self._max_drop_points)
        attempt = _Attempt(made, num_float, score)
        self._attempts.append(attempt)
        self._progress.say(f"{name}: {' '.join(_said(attempt))}")
        return attempt

    def _suffices(self, attempt: _Attempt) -> bool:
        """Return whether the search ends with this attempt.

        It ends if the drop is shown to be inside the budget. It also ends if the estimated drop is inside and the
        photos are too few to show more.
        """
        if attempt.is_within_budget or isinstance(attempt.score, WorkerFailed):
            return attempt.is_within_budget
        return attempt.score.drop.verdict == "passed" and bool(too_few(self._judge.num_photos, self._max_drop_points))


def too_few(num_photos: int, max_drop_points: float) -> str:
    """Say why this number of photos can't show that any drop is inside the budget; return "" where it can."""
    equal = certify(0, 0, num_photos, max_drop_points)
    if equal.verdict == "certified":
        return ""
    more = f"{equal.num_more_photos:,} more would" if equal.num_more_photos else "no number would"
    least = math.ceil(100 * equal.interval_points.high) / 100
    return (
        f"with {num_photos} validation photos not even equal answers would show a drop of at most {max_drop_points:g} points; "
        f"{more}, and these can show {least:g}"
    )


def missed(record: ExportRecord) -> str:
    """Say by how much an artifact missed the budget of its search; return "" where it did not miss it or had none."""
    if record.search is None or record.search.missed_by_points is None:
        return ""
    search, why = record.search, too_few(record.search.num_photos, record.search.max_drop_points)
    return (
        f"{record.format} is the best that was found, and misses the budget of {search.max_drop_points:g} points by "
        f"{search.missed_by_points:.2f}: so far above it is the upper end of the 95% interval of its drop. It is kept, and "
        f"its record says so{f'; {why}' if why else ''}"
    )


def _said(attempt: _Attempt) -> Iterator[str]:
    if isinstance(attempt.score, WorkerFailed):
        yield f"does not run: {attempt.score}"
        return
    drop = attempt.score.drop
    yield f"drop {drop.drop_points:.2f} points, 95% interval {drop.interval_points.low:.2f} to {drop.interval_points.high:.2f}:"
    yield "inside the budget" if attempt.is_within_budget else "not shown to be inside the budget"
    yield f"of {drop.max_drop_points:g}"
