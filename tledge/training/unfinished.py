"""Builds that were begun and not finished: what was asked for, and how far the training came."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from tledge.errors import EnvironmentFault, InputError, unknown
from tledge.progress import Progress
from tledge.records import Record
from tledge.run import check_name
from tledge.training.checkpoint import STATE
from tledge.training.recipe import Recipe

_PREFIX, _REQUEST, _LOCK = ".unfinished-", "build.json", "lock"


class Request(Record):
    """build.json: what a build was asked for, resolved."""

    schema_version: int = 1
    dataset: str
    backbone: str
    input_size: int | None
    weights: str | None
    recipe: Recipe
    seed: int
    run: str
    tensorboard: str | None
    mlflow: bool


def recall(root: Path, run: str | None) -> Request:
    """The unfinished build of a run, or the only one of ``root`` where none is named.

    Raises InputError where there is none, or several to choose from.
    """
    names = sorted(path.parent.name.removeprefix(_PREFIX) for path in root.glob(f"{_PREFIX}*/{_REQUEST}"))
    if not names:
        raise InputError(f"no unfinished build in {root}: recipe head leaves none, it trains in seconds")
    if run is None and len(names) > 1:
        raise InputError(f"several builds in {root} are unfinished; name one with --run: {', '.join(names)}")
    name = run or names[0]
    if name not in names:
        raise unknown("unfinished build", name, names)
    folder = root / f"{_PREFIX}{name}"
    return Request.load(folder / _REQUEST, f"remove {folder} and build again")


@contextlib.contextmanager
def kept(root: Path, request: Request, progress: Progress, *, goes_on: bool) -> Iterator[Path]:
    """A folder for the state of a build, which is removed when the block ends well.

    When it does not, the folder stays, but for one that was made here and holds no epoch's state yet.
    Raises InputError where another process is at this build, or one of its name is unfinished and ``goes_on`` is not set;
    EnvironmentFault where ``root`` can't be written.
    """
    check_name(request.run)
    folder = root / f"{_PREFIX}{request.run}"
    is_new = True
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        if not goes_on:
            raise InputError(
                f"run {request.run!r} was begun and not finished. Go on with: tledge build --resume --run {request.run}; "
                f"or choose another --run, or remove {folder}"
            ) from error
        is_new = False
    except OSError as error:
        raise EnvironmentFault(
            f"can't write {root}: {error.strerror}. Name another folder with --artifacts."
        ) from error
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is building run {request.run!r}") from error
        try:
            request.save(folder / _REQUEST)
            yield folder
        except BaseException:
            if (folder / STATE).exists():
                progress.warn(f"what was trained so far is kept; go on with: tledge build --resume --run {request.run}")
            elif is_new:
                shutil.rmtree(folder, ignore_errors=True)  # the error that is raised tells more
            raise
        shutil.rmtree(folder)
