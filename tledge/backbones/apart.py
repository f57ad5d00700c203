"""The features of a Hub module are computed in a separate process, because a module is a stranger's program.

``python -m tledge.backbones.apart JOB PARENT_PID`` is that process. It runs under the limits of a process that runs an
artifact. Photos and features pass through files, in blocks.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tledge.backbones.layer import features_function, given_for_one
from tledge.cache import scratch_folder
from tledge.errors import InputError, disk_full
from tledge.preprocessing import Pixels
from tledge.saved_models import load_saved_model
from tledge.workers.process import WorkerFailed, WorkerProcess
from tledge.workers.worker import Job, Worker, serve

PROGRAM = "tledge.backbones.apart"
Floats = npt.NDArray[np.float32]
T = TypeVar("T")
_BLOCK_BYTES = 64 * 2**20  # the size of the pixels that pass at a time
_START_S, _PHOTO_S, _CONVERT_S = 120.0, 4.0, 1200.0  # a process that does not answer within these seconds is ended


class Apart:
    """An ``Apart`` runs a Hub module in a separate process. Threads that ask at the same time wait for each other.

    The process starts at the first question. It ends with :meth:`close`, or with this object. Every method but
    :meth:`convert` raises InputError where the process crashes, hangs, or answers anything but features.

    Args:
        folder: The folder of the module.
        what: The name of the module. Errors begin with it.
        input_size: The side S of the photos in pixels.
    """

    def __init__(self, folder: Path, what: str, input_size: int) -> None:
        self._process = _Process(folder, input_size)
        self._what = what
        # Linux ends a process with the thread that started it. This thread lives as long as the process.
        self._asking = ThreadPoolExecutor(1, "backbone")
        self.close: Callable[[], object] = weakref.finalize(self, _close, self._process, self._asking)

    def features(self, pixels: Pixels) -> Floats:
        """Compute float32 (N, feature_dim) from uint8 RGB (N, S, S, 3) by TensorFlow."""
        return self._told(self._process.features, "features", pixels)

    def given(self) -> tuple[str, tuple[int, ...] | None, str]:
        """Run the module on one photo, and return the type name, the shape and the dtype of its output.

        The shape is None where the output is no tensor.
        """
        answer = self._told(self._process.given)
        kind, shape, dtype = (answer.get(name) for name in ("kind", "shape", "dtype"))
        is_tensor = isinstance(shape, list) and all(isinstance(length, int) for length in shape)
        return str(kind), tuple(shape or ()) if is_tensor else None, str(dtype)

    def convert(self) -> None:
        """Make the module ready for :meth:`fast_features`. Raises RuntimeError where LiteRT can't run it."""
        try:
            problem = self._asking.submit(self._process.convert).result()
        except WorkerFailed as failure:
            problem = str(failure)
        if problem:
            raise RuntimeError(problem)

    def fast_features(self, batches: Iterable[Pixels]) -> Iterator[Floats]:
        """Compute float32 (n, feature_dim) by LiteRT for blocks of the batches of photos, uint8 RGB (N, S, S, 3), in order.

        A block joins several batches. :meth:`convert` has to come first.
        """
        for first in (stream := iter(batches)):
            more = itertools.islice(stream, _BLOCK_BYTES // max(1, first.nbytes))
            yield self._told(self._process.features, "fast_features", np.concatenate([first, *more]))

    def _told(self, ask: Callable[..., T], *arguments: Any) -> T:
        try:
            return self._asking.submit(ask, *arguments).result()
        except WorkerFailed as failure:
            raise disk_full(failure) or InputError(
                f"{self._what} gives no features within the limits of its process: {failure}. Choose another --backbone"
            ) from failure


def _close(process: _Process, asking: ThreadPoolExecutor) -> None:
    process.kill()  # a thread that waits for its answer gets WorkerFailed
    asking.shutdown(cancel_futures=True)
    process.close()


class _Process:
    """A ``_Process`` starts and asks the module's process. One thread alone may call the methods other than :meth:`kill`."""

    def __init__(self, folder: Path, input_size: int) -> None:
        self._folder, self._size = folder, input_size
        self._stack = contextlib.ExitStack()
        self._running: WorkerProcess | None = None
        self._is_closed = False

    def features(self, command: str, pixels: Pixels) -> Floats:
        running = self._started()
        Path(running.job.pixels).write_bytes(np.ascontiguousarray(pixels).data)
        answer = self._call(command, _START_S + _PHOTO_S * len(pixels))
        outputs, dim = Path(running.job.outputs), answer.get("num_outputs")
        # The size of the file is checked before it is read: a module that took its process over may have written anything.
        if not isinstance(dim, int) or dim < 1 or outputs.stat().st_size != 4 * len(pixels) * dim:
            raise WorkerFailed("the process did not write features of every photo")
        return np.fromfile(outputs, np.float32).reshape(len(pixels), dim)

    def given(self) -> dict[str, Any]:
        self._started()
        return self._call("given", _START_S + _PHOTO_S)

    def convert(self) -> str:
        self._started()
        return str(self._call("convert", _CONVERT_S).get("problem", ""))

    def kill(self) -> None:
        self._is_closed = True
        if self._running is not None:
            self._running.kill()

    def close(self) -> None:
        self._running = None
        self._stack.close()

    def _started(self) -> WorkerProcess:
        if self._is_closed:
            raise WorkerFailed("stopped")
        if self._running is None:
            scratch = self._stack.enter_context(scratch_folder())
            job = Job(
                artifact=str(self._folder.resolve()),
                runtime="tensorflow",
                kernels="",
                num_threads=0,
                cores=[],
                pixels=str(scratch / "pixels"),
                num_photos=0,
                input_size=self._size,
                outputs=str(scratch / "outputs"),
            )
            Path(job.pixels).touch()
            self._running = self._stack.enter_context(WorkerProcess(PROGRAM, job, scratch))
            if self._is_closed:  # kill() was called while the process started
                self._running.kill()
            self._call("load", _START_S)
        return self._running

    def _call(self, command: str, timeout_s: float) -> dict[str, Any]:
        assert self._running is not None
        try:
            return self._running.call(command, timeout_s)
        except WorkerFailed:
            self.close()  # the next question starts a new process
            raise


class BackboneWorker(Worker):
    """A ``BackboneWorker`` loads the module in the separate process, and runs the commands on it."""

    def commands(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {
            "load": self.load,
            "given": self.given,
            "features": self.features,
            "convert": self.convert,
            "fast_features": self.fast_features,
        }

    def load(self) -> dict[str, Any]:
        module = load_saved_model(Path(self._job.artifact), "the backbone")
        from tensorflow.python.util import tf_inspect

        taken = tf_inspect.getfullargspec(module.__call__)
        # The Hub's own layer does the same in inference. Importing it and Keras would double the time of the start.
        inference = {"training": False} if "training" in (*taken.args, *taken.kwonlyargs) else {}
        self._layer = lambda images, training: module(images, **inference)
        self._features = features_function(self._layer)
        return {}

    def given(self) -> dict[str, Any]:
        return asdict(given_for_one(self._layer, self._job.input_size))

    def features(self) -> dict[str, Any]:
        return self._written(self._features(self._all_photos()).numpy())

    def convert(self) -> dict[str, Any]:
        from tledge.backbones.fast_inference import convert_function
        from tledge.runtimes.litert import LiteRTSession

        try:
            self._model = convert_function(self._features, self._job.input_size)
            LiteRTSession(self._model, num_threads=1)
        except Exception as error:  # the converter and the interpreter raise their own and built-in types
            return {"problem": (str(error).strip() or type(error).__name__).splitlines()[0]}
        return {}

    def fast_features(self) -> dict[str, Any]:
        from tledge.backbones.fast_inference import answers

        photos = self._all_photos()
        few = max(1, _BLOCK_BYTES // 64 // photos[0].nbytes)  # small batches, so that every core gets some
        batches = (photos[start : start + few] for start in range(0, len(photos), few))
        return self._written(np.concatenate(list(answers(self._model, batches))))

    def _written(self, features: Floats) -> dict[str, Any]:
        Path(self._job.outputs).write_bytes(np.ascontiguousarray(features, np.float32).data)
        return {"num_outputs": features.shape[1]}

    def _all_photos(self) -> Pixels:
        size = self._job.input_size
        return np.fromfile(self._job.pixels, np.uint8).reshape(-1, size, size, 3)


if __name__ == "__main__":
    serve(BackboneWorker)
