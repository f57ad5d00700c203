"""Builds that were begun and not finished: what was asked for, and how far the training came."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from tledge.errors import InputError, unknown
from tledge.progress import Progress
from tledge.records import Record
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
    """A folder for the state of a build, which is removed when the block ends well and stays when it does not.

    Raises InputError where another process is at this build, or one of its name is unfinished and ``goes_on`` is not set.
    """
    folder = root / f"{_PREFIX}{request.run}"
    if folder.exists() and not goes_on:
        raise InputError(
            f"run {request.run!r} was begun and not finished. Go on with: tledge build --resume --run {request.run}; "
            f"or choose another --run, or remove {folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is building run {request.run!r}") from error
        request.save(folder / _REQUEST)
        try:
            yield folder
        except InputError:  # it would fail again
            shutil.rmtree(folder)
            raise
        except BaseException:
            progress.warn(f"what was trained so far is kept; go on with: tledge build --resume --run {request.run}")
            raise
        shutil.rmtree(folder)
