"""One model of a run, the original or an artifact, is opened here, and answers any number of photos."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tledge.audit.contract import interface
from tledge.bench.answers import probabilities_or_fault, require_logits, softmax
from tledge.bench.bench import ORIGINAL_NAME, Bench, Runnable, original_of
from tledge.bench.photos import PhotosOnDisk, lay_out
from tledge.cache import scratch_folder
from tledge.errors import ArtifactError, InputError, unknown
from tledge.pixel_range import PixelRange
from tledge.preprocessing import Pixels, Preparation, as_recorded
from tledge.printable import sentence
from tledge.progress import Progress
from tledge.run import Run, find_run
from tledge.runtimes import runtime as runtime_named
from tledge.runtimes import runtimes_for
from tledge.workers.place import Here
from tledge.workers.process import WorkerFailed

Probabilities = npt.NDArray[np.floating]
T = TypeVar("T")

BLOCK_BYTES = 256 * 2**20
"""Each block has this many bytes of pixels: 1,783 photos of 224 x 224. It starts a process, which hundreds pay for."""


@dataclass(frozen=True)
class RunModel:
    """A run's model is its original or one of its artifacts. :func:`open_model` makes it.

    ``name`` is ``original``, or the artifact's format. ``preparation`` says how the photos to answer become pixels: as
    those of the run did, unless another range of 16-bit photos was named.
    """

    run: Run
    name: str
    runnable: Runnable
    preparation: Preparation

    @property
    def labels(self) -> list[str]:
        """Return the classes in the order of the probabilities."""
        return self.run.manifest.labels

    @property
    def input_size(self) -> int:
        """Return the side of the square input, in pixels."""
        return self.run.manifest.backbone.input_size

    def answers(
        self, photos: Iterable[tuple[T, Pixels]], num_photos: int, progress: Progress
    ) -> Generator[tuple[list[T], Probabilities], None, None]:
        """Answer photos in blocks, in order.

        Pixels wait on disk for the process that runs the model, in blocks of ``BLOCK_BYTES``. So neither memory nor
        disk grows with the photos.

        Args:
            photos: pairs of anything at all and uint8 pixels (S, S, 3).
            num_photos: number of photos at most.
            progress: what is told of steps.

        Yields:
            For each block, the list of what came with the photos, and their probabilities (n, C).

        Raises:
            ArtifactError: The model crashes, hangs, or answers what is no probability.
        """
        stream, row_bytes = iter(photos), 3 * self.input_size**2
        height = max(1, BLOCK_BYTES // row_bytes)
        with scratch_folder() as folder:
            while True:
                marks: list[T] = []
                block = _noting(marks, itertools.islice(stream, height))
                at_most = min(height, num_photos)
                laid_out = lay_out(folder / "photos", block, at_most, self.input_size, progress, "reading photos")
                if marks:
                    yield marks, self._probabilities(folder, laid_out, progress)
                if len(marks) < height:
                    return

    def _probabilities(self, folder: Path, photos: PhotosOnDisk, progress: Progress) -> Probabilities:
        bench = Bench(Here(folder), photos, len(self.labels))
        (given,) = bench.answers([self.runnable], progress, f"answers of {self.runnable.name}").values()
        if self.name == ORIGINAL_NAME:  # its process gives logits
            return softmax(require_logits(given, self.runnable.path))
        answers = probabilities_or_fault(given)
        if isinstance(answers, WorkerFailed):
            remedy = f"tledge verify --run {self.run.name} --format {self.name} says more."
            raise ArtifactError(
                f"{self.runnable.path}: gives no answers that can be used on this machine: {sentence(str(answers))} {remedy}"
            )
        return answers


def _noting(marks: list[T], photos: Iterable[tuple[T, Pixels]]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield photos as batches of one, uint8 (1, S, S, 3), and note what came with each."""
    for mark, pixels in photos:
        marks.append(mark)
        yield pixels[None]


def open_model(
    run: Run | str | None = None,
    *,
    format_name: str | None = None,
    runtime: str | None = None,
    pixel_range: PixelRange | None = None,
    artifacts: Path | None = None,
) -> RunModel:
    """Open the original of a run, or its artifact of a format, to answer photos.

    Args:
        run: the run; None for the latest.
        format_name: format of the artifact; None for the original.
        runtime: runtime of the artifact; None for the preferred one for its file.
        pixel_range: range of 16-bit photos, where it is not that of the photos that the run was trained on.
        artifacts: folder of the runs.

    Raises:
        InputError: The run, format or runtime is unknown, or the runtime does not run this kind of file.
        ArtifactError: A file changed since it was written, is no model, or keeps weights outside itself.
    """
    run = find_run(run, artifacts)
    preparation = as_recorded(run.manifest.preprocessing, pixel_range)
    if format_name is None:
        if runtime is not None:
            raise InputError(f"--runtime {runtime} is for an artifact: name it with --artifact, or drop --runtime")
        return RunModel(run, ORIGINAL_NAME, original_of(run), preparation)
    names = run.export_names()
    if format_name not in names:
        raise unknown(f"artifact of run {run.name}", format_name, names, "Or make it with tledge export.")
    path = run.export_folder(format_name) / run.export_record(format_name).file
    usable = [found.name for found in runtimes_for(path)]
    if not usable or (runtime and runtime_named(runtime).name not in usable):
        listed = f". Use --runtime {' or '.join(usable)}." if usable else ", nor does any other runtime"
        raise InputError(f"{runtime or 'no runtime'} does not run {path.name}, the file of {format_name}{listed}")
    interface(path)  # A file that the audit would refuse is not run, as in a verification.
    chosen = runtime or usable[0]
    return RunModel(run, format_name, Runnable(f"{format_name} on {chosen}", path, chosen), preparation)
