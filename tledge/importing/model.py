"""An ``OpenedModel`` asks the process in which a stranger's model runs, and checks what it answers."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import io
import pkgutil
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones.described import DescribedNetwork, from_files
from tledge.errors import ArtifactError, InputError, disk_full
from tledge.files import sha256_file
from tledge.importing import formats as package
from tledge.importing.foreign import LayersUnknown, ModelFormat, NotFinite, Taken
from tledge.importing.program import NETWORK
from tledge.importing.strangers import stranger
from tledge.normalization import Normalization
from tledge.preprocessing import Pixels
from tledge.printable import few, sentence
from tledge.run import tree_hashes
from tledge.workers.process import OutOfMemory, WorkerFailed, WorkerProcess
from tledge.workers.worker import Job

PROGRAM = "tledge.importing.program"
Floats = npt.NDArray[np.float32]
_BLOCK_PHOTOS = 256
_OPEN_S, _PHOTO_S, _DESCRIBE_S = 180.0, 4.0, 180.0  # a process that does not answer within these seconds is ended


@functools.cache
def model_formats() -> tuple[ModelFormat, ...]:
    """Return every format of model files, in the order of their names. A new file is found by its ``FORMAT``."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(importlib.import_module(f"{package.__name__}.{name}").FORMAT for name in names)


def format_of(path: Path) -> ModelFormat:
    """Return the format of a model's file or folder. Raises InputError, with a way out, where there is none."""
    if not path.exists():
        raise InputError(f"model {path}: no such file or folder")
    if told := stranger(path):
        raise InputError(f"model {path}: {told}.")
    for one in model_formats():
        if one.claims(path):
            return one
    kinds = [one.described for one in model_formats()]
    raise InputError(f"model {path}: neither {', nor '.join(kinds)}. Export the model to one of these.")


@contextlib.contextmanager
def opened_model(path: Path, folder: Path) -> Iterator[OpenedModel]:
    """Open a model in a process of its own, which ends with the context. ``folder`` is for the files that pass.

    Raises InputError where it is no classifier of one image, or where its process fails.
    """
    found = format_of(path)
    job = Job(
        artifact=str(path.resolve()),
        runtime=found.name,
        kernels="",
        num_threads=0,
        cores=[],
        pixels=str(folder / "pixels"),
        num_photos=0,
        input_size=0,
        outputs=str(folder / "outputs"),
    )
    Path(job.pixels).touch()
    with WorkerProcess(PROGRAM, job, folder) as process:
        yield OpenedModel(path, found, process)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a model's file, or of the names and hashes of its folder's files."""
    if path.is_file():
        return sha256_file(path)
    listed = "\n".join(f"{digest} {name}" for name, digest in sorted(tree_hashes(path).items()))
    return hashlib.sha256(listed.encode()).hexdigest()


class OpenedModel:
    """An ``OpenedModel`` is a model of another program, in its own process. ``taken`` says what it takes and gives."""

    def __init__(self, path: Path, form: ModelFormat, process: WorkerProcess) -> None:
        self.path, self.form, self._process = path, form, process
        answer = self._asked("open", _OPEN_S)
        if isinstance(refused := answer.get("refused"), str):
            raise InputError(f"model {path}: {refused}")
        self.taken = _taken(answer)

    def logits(self, batches: Iterable[Pixels], normalization: Normalization) -> Floats:
        """Compute logits, float32 (N, num_outputs), of batches of photos, uint8 RGB (n, S, S, 3), by the model's own framework."""
        blocks = [self._logits(pixels, normalization) for pixels in _joined(batches)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.taken.num_outputs), np.float32)

    def network(self, input_size: int) -> DescribedNetwork:
        """Return the model's layers, which take what the model itself takes. Raises LayersUnknown where they are not known."""
        answer = self._asked("describe", _DESCRIBE_S, input_size=input_size)
        if isinstance(unknown := answer.get("unknown"), str):
            raise LayersUnknown(unknown)
        try:
            with np.load(io.BytesIO(Path(self._process.job.outputs).read_bytes()), allow_pickle=False) as arrays:
                return from_files(arrays[NETWORK].tobytes(), arrays)
        except (ArtifactError, ValueError, KeyError, OSError) as error:
            raise InputError(f"model {self.path}: its layers can't be read ({sentence(str(error))})") from error

    def saved_model(self, folder: Path) -> Path | None:
        """Return the folder of a SavedModel of the model, in ``folder`` if it had to be made; None where there is none."""
        answer = self._asked("save", _DESCRIBE_S)
        told = answer.get("folder")
        if not isinstance(told, str):
            return None
        # The process may have been taken over by the model: only what lies in its own folder is taken.
        source, own = Path(told).resolve(), Path(self._process.folder).resolve()
        if own not in source.parents or any(path.is_symlink() for path in source.rglob("*")):
            raise InputError(f"model {self.path}: its process names a folder that is not its own")
        return Path(shutil.copytree(source, folder / "saved", symlinks=True))

    def _logits(self, pixels: Pixels, normalization: Normalization) -> Floats:
        Path(self._process.job.pixels).write_bytes(np.ascontiguousarray(pixels).data)
        answer = self._asked(
            "answers_to",
            _OPEN_S + _PHOTO_S * len(pixels),
            input_size=pixels.shape[1],
            channels=self.taken.channels,
            scale=",".join(map(repr, normalization.scale)),
            offset=",".join(map(repr, normalization.offset)),
            is_bgr=int(normalization.is_bgr),
        )
        outputs, expected = Path(self._process.job.outputs), 4 * len(pixels) * self.taken.num_outputs
        # The size is checked before the file is read: a model that took its process over may have written anything.
        if answer.get("num_outputs") != self.taken.num_outputs or outputs.stat().st_size != expected:
            raise InputError(f"model {self.path}: it does not give {self.taken.num_outputs} numbers for every photo")
        found = np.fromfile(outputs, np.float32).reshape(len(pixels), -1)
        if not np.isfinite(found).all():
            raise NotFinite(
                f"model {self.path}: its answers are not finite on {int(np.sum(~np.isfinite(found).all(axis=1)))} of "
                f"{len(pixels)} photos. Train it again, or export it again."
            )
        return found

    def _asked(self, command: str, timeout_s: float, **arguments: int | str) -> dict[str, Any]:
        try:
            return self._process.call(command, timeout_s, **arguments)
        except OutOfMemory as failure:
            raise InputError(f"model {self.path} needs more memory than there is: {failure}") from failure
        except WorkerFailed as failure:
            raise disk_full(failure) or InputError(
                f"model {self.path} can't be run by its own framework: {sentence(str(failure))}"
            ) from failure


def _joined(batches: Iterable[Pixels]) -> Iterator[Pixels]:
    waiting: list[Pixels] = []
    for batch in batches:
        waiting.append(np.asarray(batch))
        if sum(map(len, waiting)) >= _BLOCK_PHOTOS:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _taken(answer: dict[str, Any]) -> Taken:
    """Check what a model's process says of the model. It may be taken over by the model."""
    size, channels, count = answer.get("input_size"), answer.get("channels"), answer.get("num_outputs")
    texts = {name: answer.get(name) for name in ("labels", "notes")}
    ending, framework = answer.get("ending"), answer.get("framework")
    is_sound = (
        (size is None or (isinstance(size, int) and 1 <= size <= 4096))
        and channels in (1, 3)
        and isinstance(count, int)
        and 1 <= count <= 100_000
        and ending in ("logits", "softmax", "sigmoid")
        and isinstance(framework, str)
        and all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in texts.values())
    )
    if not is_sound:
        raise InputError("the model's process does not say what the model takes")
    assert isinstance(count, int)
    labels, notes = (tuple(text[:200] for text in (texts[name] or ())) for name in ("labels", "notes"))
    return Taken(size, int(channels or 0), count, ending or "logits", labels, (framework or "")[:100], notes)


def listed(names: Iterable[str]) -> str:
    """Return a few names with commas between, for a message."""
    return few(list(names), ", ")
