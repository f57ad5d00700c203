"""A model serves as the original that foreign files are judged against, without a run of the user's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tledge.cache import made_root
from tledge.errors import InputError
from tledge.files import make_folder
from tledge.home import expanded
from tledge.importing.model import format_of, sha256_of
from tledge.importing.stage import import_model
from tledge.locks import reserved
from tledge.progress import Progress, Silent
from tledge.run import MANIFEST, Run, open_run

_FOLDER = "references"
_ELSEWHERE = "Name another folder with TLEDGE_CACHE_DIR."


def reference_run(model: str, dataset: str | None, progress: Progress | None = None) -> Run:
    """Import a model into the cache, unless it is there already, and return its run.

    Raises InputError where no data set is named, and what :func:`tledge.importing.stage.import_model` raises.
    """
    if dataset is None:
        raise InputError("--against needs --dataset: the labelled photos on which the files are judged")
    path = expanded(model, f"model {model}")
    format_of(path)
    root = references_root()
    name = hashlib.sha256(f"{sha256_of(path)} {dataset}".encode()).hexdigest()[:16]
    with reserved(root, f"{name}@reference", f"importing model {path}. Wait for its end."):
        if not (root / name / MANIFEST).is_file():
            import_model(str(path), dataset, run=name, artifacts=root, progress=progress or Silent())
        return open_run(root, name)


def references_root() -> Path:
    """Make the folder of references in the cache if it is missing, and return it."""
    root = made_root() / _FOLDER
    make_folder(root, _ELSEWHERE)
    return root


def require_files(files: object, run: object, formats: object) -> None:
    """Raise InputError for options that do not go with ``--against``."""
    if not files:
        raise InputError("--against needs --file: the files that are judged against the model")
    if run is not None or formats:
        raise InputError("--against takes the model in place of a run: drop --run and --format")
