"""A SavedModel is checked, and only then loaded; every loading in tledge goes through here."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tledge.errors import ArtifactError, InputError
from tledge.plain_path import plain_path
from tledge.tensorflow_setup import tensorflow

GRAPH = "saved_model.pb"
# The weights lie beside the graph. The graphs of the largest published image networks take some tens of MB.
_MAX_GRAPH_BYTES = 2**30


class DamagedSavedModel(InputError):
    """This error says that the graph of a SavedModel can't be read."""


def load_saved_model(folder: Path, what: str, loader: Callable[[str], Any] | None = None) -> Any:
    """Load a SavedModel that holds only what image networks need, by TensorFlow's loader or another one.

    ``what`` is the subject of the error's sentence. Nothing of the SavedModel runs while it is loaded. Raises
    InputError, which names the operators, where it holds more, and DamagedSavedModel where its graph can't be read.
    Errors of the loader are raised as they are.
    """
    require_image_network(folder, what)
    with contextlib.ExitStack() as stack:
        loaded = (loader or tensorflow().saved_model.load)(stack.enter_context(plain_path(folder)))
        # Saving what was loaded copies its assets from this path, so the path lasts as long as the object.
        weakref.finalize(loaded, stack.pop_all().close)
    return loaded


@contextlib.contextmanager
def saved_variables(folder: Path) -> Iterator[Any]:
    """Give TensorFlow's reader of the variables of a SavedModel. Errors of the reader are raised as they are."""
    with plain_path(folder) as path:
        yield tensorflow().train.load_checkpoint(f"{path}/variables/variables")


def load_original(folder: Path) -> Any:
    """Load the original of a run; ``folder`` is the folder of its SavedModel.

    Raises what :func:`load_saved_model` raises, but ArtifactError where its graph can't be read.
    """
    try:
        return load_saved_model(folder, f"the original in {folder}")
    except DamagedSavedModel as error:
        raise ArtifactError(f"{error}. Build the run again.") from error


def require_image_network(folder: Path, what: str) -> None:
    """Raise InputError where a SavedModel holds more than image networks need.

    Raises DamagedSavedModel where it can't be read.
    """
    from google.protobuf.message import DecodeError

    from tledge.saved_models.check import objection

    tensorflow()
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / GRAPH
    if not path.is_file():  # TensorFlow would load a file of another name instead
        raise DamagedSavedModel(f"{what}: {path} is missing")
    for file in folder.rglob("*"):
        if not file.is_file() and not file.is_dir():  # reading a pipe or a device need not end
            raise InputError(f"{what} is refused: {file} is no regular file")
    if (size := path.stat().st_size) > _MAX_GRAPH_BYTES:
        raise InputError(f"{what} is refused: {path} has {size / 1e9:.1f} GB, more than any graph of an image network")
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except DecodeError as error:
        raise DamagedSavedModel(f"{what}: {path} is damaged ({error})") from error
    if not saved_model.meta_graphs:
        raise DamagedSavedModel(f"{what}: {path} holds no graph")
    if problem := objection(saved_model):
        raise InputError(
            f"{what} is refused: {problem}, so its program could do more on this machine than classify images"
        )
