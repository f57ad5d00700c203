"""This module keeps the arguments of an unfinished build, and the state that its training reached."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tledge.errors import ArtifactError, EnvironmentFault, InputError, unknown
from tledge.outputs import make_root
from tledge.progress import Progress
from tledge.records import Record
from tledge.resizing import SQUEEZE
from tledge.run import ELSEWHERE, UNFINISHED, check_name, open_run
from tledge.training.checkpoint import STATE
from tledge.training.recipe import Recipe

_REQUEST = "build.json"


class Request(Record):
    """``build.json`` holds the arguments of a build, resolved.

    Paths are absolute, because the build may be resumed from another folder.
    """

    schema_version: int = 2
    dataset: str
    backbone: str
    input_size: int | None
    weights: str | None
    recipe: Recipe
    seed: int
    run: str
    tensorboard: str | None
    mlflow: bool
    pixel_range: list[int] | None = None
    resize: str = str(SQUEEZE)


def recall(root: Path, run: str | None) -> Request:
    """Return the request of a run's unfinished build; without a name, of the only one in ``root``.

    Raises InputError where there is none, or several to choose from.
    """
    names = sorted(path.parent.name.removeprefix(UNFINISHED) for path in root.glob(f"{UNFINISHED}*/{_REQUEST}"))
    if not names:
        raise InputError(f"no unfinished build in {root}: recipe head leaves none, it trains in seconds")
    if run is None and len(names) > 1:
        raise InputError(f"several builds in {root} are unfinished. Name one with --run: {', '.join(names)}.")
    name = run or names[0]
    if name not in names:
        raise unknown("unfinished build", name, names)
    folder = root / f"{UNFINISHED}{name}"
    return Request.load(folder / _REQUEST, f"Remove {folder} and build again.")


def remove_finished(root: Path, run: str, progress: Progress) -> bool:
    """Remove the unfinished build of ``run`` if the run is complete, and tell whether it was.

    Such a build was killed at its very end. A run of the head alone keeps no state: an unfinished build beside it is
    another build of the same name, and stays.
    Precondition: this process holds the run's name (:func:`tledge.run_writer.reserved_run`).
    """
    folder = root / f"{UNFINISHED}{run}"
    if not folder.is_dir() or not (root / run).is_dir():
        return False
    try:
        is_finished: bool = open_run(root, run).manifest.recipe["method"] != "features"
    except ArtifactError:
        return False
    if is_finished:
        shutil.rmtree(folder)
        progress.say(f"run {run} stands whole: removed what its build had kept to be resumed")
    return is_finished


@contextlib.contextmanager
def kept_state(root: Path, request: Request, progress: Progress, *, goes_on: bool) -> Iterator[Path]:
    """Yield a folder for the state of a build, and remove it when the block ends well.

    When the block raises, the folder stays, unless it was made here and holds no epoch's state yet. An unfinished build
    whose run is complete is removed before. Precondition: this process holds the run's name.

    Raises:
        InputError: a build of this name is unfinished, and ``goes_on`` is not set.
        EnvironmentFault: ``root`` can't be written.
    """
    check_name(request.run)
    folder = root / f"{UNFINISHED}{request.run}"
    is_new = True
    try:
        remove_finished(root, request.run, progress)
        make_root(root, ELSEWHERE)
        folder.mkdir()
    except FileExistsError as error:
        is_new = not (folder / _REQUEST).exists()  # a build killed before its request was written has not begun
        if not goes_on and not is_new:
            raise InputError(
                f"run {request.run!r} was begun and not finished. Go on with: tledge build --resume --run {request.run}, "
                f"or choose another --run, or remove {folder}"
            ) from error
    except OSError as error:
        raise EnvironmentFault(f"can't write {root}: {error.strerror}. {ELSEWHERE}") from error
    try:
        request.save(folder / _REQUEST)
        yield folder
    except BaseException as error:
        if (folder / STATE).exists():
            if not isinstance(error, ArtifactError):  # an ArtifactError says itself what to do with the folder
                progress.warn(f"what was trained so far is kept; go on with: tledge build --resume --run {request.run}")
        elif is_new:
            shutil.rmtree(folder, ignore_errors=True)  # the error that is raised says more than one of the removal
        raise
    shutil.rmtree(folder)
