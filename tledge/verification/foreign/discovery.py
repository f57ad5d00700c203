"""This module finds how each foreign file takes a photo and what its outputs mean."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tledge.bench.answers import require_logits, softmax
from tledge.bench.bench import TimeLimits, original_of
from tledge.bench.photos import PhotosOnDisk, lay_out
from tledge.datasets.run_photos import load_split
from tledge.errors import EnvironmentFault, InputError
from tledge.printable import one_line
from tledge.progress import Progress
from tledge.records import ForeignRecord, TriedPreparation
from tledge.run import Run
from tledge.runtimes import Runtime
from tledge.verification.foreign import class_order, labels
from tledge.verification.foreign.files import named
from tledge.verification.foreign.found import Foreign
from tledge.verification.foreign.interfaces import Declared, declared
from tledge.verification.foreign.preparations import candidates, parsed
from tledge.verification.foreign.trial import (
    Choice,
    Floats,
    TrialPhotos,
    Tried,
    chosen,
    is_order_of_channels_open,
    trial_photos,
    tried,
)
from tledge.workers.process import WorkerFailed

_MEANING = {
    "probabilities": "probabilities",
    "scores": "scores from 0 to 1 that do not add up to one: each is divided by their sum",
    "logits": "logits: their softmax is taken",
    "raw": "outputs",
}


class Discovery:
    """A discovery looks at the files of one verification. Photos are prepared once for each input size.

    ``file_input`` is the value of ``--file-input``, or None.
    """

    def __init__(self, run: Run, file_input: str | None, folder: Path, limits: TimeLimits, progress: Progress) -> None:
        self._run, self._folder, self._limits, self._progress = run, folder, limits, progress
        self._given = parsed(file_input)
        self._trials: dict[int, TrialPhotos] = {}
        self._tests: dict[int, PhotosOnDisk] = {}
        self._answers: Floats | None = None

    def found(self, files: Sequence[Path], usable: Sequence[Runtime], target: str) -> list[tuple[Foreign, Runtime]]:
        """Return each file on each usable runtime that runs files of other tools.

        Raises InputError for a file that is no classifier of photos with the run's classes, one for which the target has
        no runtime, and one whose input can't be told.
        """
        manifest = self._run.manifest
        wanted = []
        for name, path in named(files).items():
            runtimes = [one for one in usable if path.suffix in one.suffixes and one.takes_any_input]
            if not runtimes:
                raise InputError(f"--file {one_line(name)}: target {target!r} has no runtime for {path.suffix} files")
            shape = declared(path, one_line(name), len(manifest.labels), manifest.backbone.input_size)
            wanted.append((name, path, runtimes, shape))
        made = []
        for name, path, runtimes, shape in wanted:
            foreign = self._looked_at(name, path, runtimes[0], shape)
            made += [(foreign, runtime) for runtime in runtimes]
        return made

    def _looked_at(self, name: str, path: Path, runtime: Runtime, shape: Declared) -> Foreign:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise EnvironmentFault(f"{path}: {error.strerror}") from error
        own_labels = self._run.manifest.labels
        inside = labels.labels_inside(path, shape.metadata, len(own_labels))
        problem = labels.problem_of(inside, own_labels) if inside else None
        results = tried(
            one_line(name),
            path,
            runtime.name,
            shape,
            candidates(shape, self._given),
            self._trial(shape.side),
            self._progress,
        )
        if isinstance(results, WorkerFailed):
            record = ForeignRecord(
                input=f"{shape.data_type} {shape.layout}, {shape.side} x {shape.side}",
                output="unknown, because the file does not run",
                found_by="nothing",
                num_trial_photos=0,
                tried=[],
                labels_inside=inside,
            )
            return self._foreign(name, path, data, record, [problem] if problem else [], fault=str(results))
        choice = chosen(one_line(name), results, self._given, self._trial(shape.side).labels, self._original)
        best, warning = choice.best, choice.warning
        problems = [class_order.told(best.order, own_labels)] if best.order is not None else []
        # The names inside the file are the better witness where they say the same as the answers.
        if problem and not problems:
            problems.append(problem)
        warnings = [warning] if warning else []
        if inside and sorted(inside) != sorted(own_labels):
            warnings.append(
                f"the class names in the file are not the run's: {', '.join(map(one_line, inside[:3]))}, ..."
            )
        return self._foreign(
            name,
            path,
            data,
            self._record(shape, choice, results, inside),
            problems,
            warnings,
            best=best,
            side=shape.side,
        )

    def _record(
        self, shape: Declared, choice: Choice, results: Sequence[Tried], inside: list[str] | None
    ) -> ForeignRecord:
        best = choice.best
        words = best.preparation.contract(shape)
        if is_order_of_channels_open(results, best):
            words += "; the order of channels makes no difference on these photos"
        own = self._run.manifest.backbone.input_size
        if shape.side != own:
            words += f"; the run itself takes {own} x {own}"
        return ForeignRecord(
            input=words,
            output=_MEANING[best.adapter.answer],
            found_by="given" if self._given.is_whole else "original" if choice.by_original else "trial",
            num_trial_photos=len(best.losses),
            tried=[
                TriedPreparation(preparation=one.preparation.words(), accuracy=one.accuracy, log_loss=one.loss)
                for one in results
            ],
            labels_inside=inside,
        )

    def _foreign(
        self,
        name: str,
        path: Path,
        data: bytes,
        record: ForeignRecord,
        problems: Sequence[str],
        warnings: Sequence[str] = (),
        *,
        best: Tried | None = None,
        side: int | None = None,
        fault: str | None = None,
    ) -> Foreign:
        return Foreign(
            name=name,
            path=path,
            sha256=hashlib.sha256(data).hexdigest(),
            size_bytes=len(data),
            record=record,
            adapters=(best.adapter,) if best else (),
            problems=tuple(problems),
            warnings=tuple(warnings),
            photos=self._test(side) if side else None,
            fault=fault,
        )

    def _original(self) -> Floats:
        """Return the original's probabilities (N, C) of the trial photos."""
        if self._answers is None:
            model = original_of(self._run)
            bench = self._trial(self._run.manifest.backbone.input_size).bench
            (given,) = bench.answers([model], self._progress, "the original's answers to these photos").values()
            self._answers = softmax(require_logits(given, model.path))
        return self._answers

    def _trial(self, side: int) -> TrialPhotos:
        if side not in self._trials:
            self._trials[side] = trial_photos(self._run, side, self._folder, self._limits, self._progress)
        return self._trials[side]

    def _test(self, side: int) -> PhotosOnDisk | None:
        """Lay out the test photos at a size, or return None where the run has that size."""
        if side == self._run.manifest.backbone.input_size:
            return None
        if side not in self._tests:
            pixels = load_split(self._run, "test", self._progress, side).pixels
            step = f"laying out photos of {side} x {side}"
            path = self._folder / f"test-{side}"
            self._tests[side] = lay_out(path, pixels.batches(64), len(pixels), side, self._progress, step)
        return self._tests[side]
