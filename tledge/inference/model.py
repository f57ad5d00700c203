"""One model of a run, the original or an artifact, and its answers to any number of photos."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tledge.audit.contract import interface
from tledge.cache import scratch_folder
from tledge.errors import ArtifactError, InputError, unknown
from tledge.pixel_range import PixelRange
from tledge.preprocessing import Pixels
from tledge.progress import Progress
from tledge.room import require_space
from tledge.run import Run, find
from tledge.runtimes import runtime as runtime_named
from tledge.runtimes import runtimes_for
from tledge.runtimes.launch import ORIGINAL, WorkerFailed
from tledge.verification.drift import softmax
from tledge.verification.measure import Bench, Task, TimeLimits
from tledge.verification.measurement import ORIGINAL_NAME
from tledge.verification.probabilities import why_no_probabilities

Probabilities = npt.NDArray[np.floating]
T = TypeVar("T")

BLOCK_BYTES = 256 * 2**20
"""Pixels laid out at a time: 1,783 photos of 224 x 224. Each block starts a process, which pays off from hundreds on."""


@dataclass(frozen=True)
class Model:
    """Made by :func:`open_model`. ``name``: ``original``, or the artifact's format.

    ``pixel_range``: that of 16-bit photos it is asked about, the run's where no other was named.
    """

    run: Run
    name: str
    task: Task
    pixel_range: PixelRange | None

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of the probabilities."""
        return self.run.manifest.labels

    @property
    def input_size(self) -> int:
        """Of the square input, in pixels."""
        return self.run.manifest.backbone.input_size

    def answers(
        self, photos: Iterable[tuple[T, Pixels]], num_photos: int, progress: Progress
    ) -> Generator[tuple[list[T], Probabilities], None, None]:
        """Blocks of photos, in order: what came with each, and the probabilities (n, C) of all of them.

        ``photos``: anything at all with uint8 pixels (S, S, 3); ``num_photos``: how many there are at most. Pixels wait
        on disk for the process that runs the model, in blocks of ``BLOCK_BYTES``: neither memory nor disk grows with the
        photos. Raises ArtifactError where the model crashes, hangs, or answers what is no probability.
        """
        stream, row_bytes = iter(photos), 3 * self.input_size**2
        height = max(1, BLOCK_BYTES // row_bytes)
        with scratch_folder() as folder:
            require_space(folder, min(height, num_photos) * row_bytes)
            while True:
                with progress.step("reading photos", min(height, num_photos)) as advance:
                    marks = []
                    with (folder / "photos").open("wb") as file:
                        for mark, pixels in itertools.islice(stream, height):
                            file.write(np.ascontiguousarray(pixels).tobytes())
                            marks.append(mark)
                            advance(1)
                if marks:
                    yield marks, self._probabilities(folder, len(marks), progress)
                if len(marks) < height:
                    return

    def _probabilities(self, folder: Path, num_photos: int, progress: Progress) -> Probabilities:
        bench = Bench(folder, folder / "photos", num_photos, self.input_size, len(self.labels), TimeLimits())
        (found,) = bench.answers([self.task], progress, f"answers of {self.task.name}").values()
        if isinstance(found, WorkerFailed):
            raise self._fault(f"does not run on this machine: {found}")
        if not np.all(np.isfinite(found)):
            raise self._fault("its output holds NaN or infinity")
        if self.name == ORIGINAL_NAME:  # its process gives logits
            return softmax(found)
        if problem := why_no_probabilities(found):
            raise self._fault(problem)
        return found

    def _fault(self, problem: str) -> ArtifactError:
        if self.name == ORIGINAL_NAME:
            remedy = "build the run again with tledge build"
        else:
            remedy = f"tledge verify --run {self.run.name} --format {self.name} says more"
        return ArtifactError(f"{self.task.artifact}: {problem}; {remedy}")


def open_model(
    run: Run | str | None = None,
    *,
    artifact: str | None = None,
    runtime: str | None = None,
    pixel_range: PixelRange | None = None,
    artifacts: Path | None = None,
) -> Model:
    """The original of a run (the latest where none is named), or its artifact of a format, on the runtime of that file.

    ``pixel_range``: of 16-bit photos, where theirs is not that of the photos that the run was trained on.
    Raises InputError for an unknown run, artifact or runtime, or a runtime for other files; ArtifactError where a file
    changed since it was written, is no model, or keeps weights outside itself.
    """
    run = find(run, artifacts)
    pixel_range = pixel_range or run.manifest.pixel_range
    if artifact is None:
        if runtime is not None:
            raise InputError(f"--runtime {runtime} is for an artifact: name it with --artifact, or drop --runtime")
        return Model(
            run, ORIGINAL_NAME, Task(ORIGINAL_NAME, run.folder / "model", "tensorflow", "", ORIGINAL), pixel_range
        )
    names = run.export_names()
    if artifact not in names:
        raise unknown(f"artifact of run {run.name}", artifact, names, "Or make it with tledge export.")
    path = run.export_folder(artifact) / run.export_record(artifact).file
    usable = [found.name for found in runtimes_for(path)]
    if not usable or (runtime and runtime_named(runtime).name not in usable):
        listed = f"; use --runtime {' or '.join(usable)}" if usable else ", nor does any other runtime"
        raise InputError(f"{runtime or 'no runtime'} does not run {path.name}, the file of {artifact}{listed}")
    interface(path)  # a file that the audit would not read is not run, as in a verification
    chosen = runtime or usable[0]
    return Model(run, artifact, Task(f"{artifact} on {chosen}", path, chosen), pixel_range)
