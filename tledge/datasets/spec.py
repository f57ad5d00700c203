"""This module opens the source that a data set's spec names."""

from __future__ import annotations

import os
from pathlib import Path

from tledge.datasets.photo_source import Source
from tledge.errors import InputError
from tledge.home import expanded


def open_moved(spec: str) -> Source:
    """Open what holds the photos of a run now: a folder of any shape, or what :func:`open_source` opens.

    Whoever reads it looks for photos by their content, and takes neither labels nor splits from it.
    """
    from tledge.datasets import folder

    if not spec or not expanded(spec, f"data set {spec}").is_dir() or _is_ambiguous(spec):
        return open_source(spec)  # which refuses what is ambiguous, or empty
    return folder.open_any(expanded(spec, f"data set {spec}"))


def _is_ambiguous(spec: str) -> bool:
    """Return whether a name of a folder here is the name of a data set, too."""
    from tledge.datasets import digits, tfds

    is_path = os.sep in spec or spec.startswith((".", "~"))
    return not is_path and (spec == digits.NAME or tfds.is_known(spec))


def open_source(spec: str) -> Source:
    """Open the source of a spec: ``digits``, a folder, or a TensorFlow Datasets name with an optional ``:version``.

    A spec with a path separator, or one that starts with ``.`` or ``~``, is a folder. A known name that is also a
    folder here is refused rather than guessed. ``tfds:NAME`` always means TensorFlow Datasets. Raises InputError for an
    unknown spec, and EnvironmentFault where data would have to be downloaded and can't be.
    """
    from tledge.datasets import digits, folder, tfds

    if spec.startswith("tfds:"):
        return tfds.open_tfds(spec.removeprefix("tfds:"))
    path = expanded(spec, f"data set {spec}")
    looks_like_path = os.sep in spec or spec.startswith((".", "~"))
    if looks_like_path and (path.exists() or spec.startswith((".", "~", os.sep)) or not tfds.is_known(spec)):
        return folder.open_folder(path)
    if not spec:
        raise InputError("an empty data set name. Give a folder, digits, or a TensorFlow Datasets name.")
    known = spec == digits.NAME or tfds.is_known(spec)
    if path.is_dir():
        if known:
            raise InputError(f"{spec!r} is a data set and also a folder here. Write ./{spec} or tfds:{spec}.")
        return folder.open_folder(path)
    return digits.open_digits() if spec == digits.NAME else tfds.open_tfds(spec)


def meant_instead(source: Source) -> str:
    """Ask after the data set that was probably meant instead, as text to put behind a sentence; empty if none is known."""
    from tledge.datasets import folder

    return folder.did_you_mean(Path(source.spec)) if isinstance(source, folder.Folder) else ""
