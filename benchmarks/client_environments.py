"""The environments of the clients: one each, for what two of them require can't be installed together.

What a client requires stands in ``clients/NAME.txt``, all of it, each at one version: pip installs these and no more. An
environment is made once for a file's content and a Python, in a folder of the cache, never in the checkout.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

FOLDER = Path(__file__).resolve().parent / "clients"
_LAST_LINES = 4
_PATIENCE_S = 600
_EXCEPTION = re.compile(r"[\w.]*([Ee]rror|Exception|Fail)\w*: ")
# pip's words where it reaches no index, or one that lacks the project altogether.
_OUT_OF_REACH = ("connection broken by", "from versions: none", "Could not fetch URL", "Network is unreachable")


class Unavailable(Exception):
    """Why there can be no environment here: no index within reach, or no Python that the client has wheels for."""


class Refused(Exception):
    """What a client said of an artifact that it did not answer with."""


@dataclass(frozen=True)
class Client:
    """One program that runs artifacts. ``runs``: the suffixes of the files that it is said to read.

    ``python``: the only version that its wheels are for, None where any that tledge runs on will do.
    ``options``: what answer.py is told besides. ``environment``: the requirements' name, where another row has them too.
    """

    name: str
    runs: tuple[str, ...]
    python: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    environment: str = ""

    @property
    def module(self) -> str:
        """By which name requirements and answer.py know it."""
        return self.environment or self.name

    @property
    def requirements(self) -> Path:
        return FOLDER / f"{self.module}.txt"

    @property
    def version(self) -> str:
        """Of the package that is the client, from the first line of its requirements that pins one."""
        pinned = [line for line in self.requirements.read_text().splitlines() if "==" in line]
        return pinned[0].split("==")[1].split()[0]


CLIENTS = (
    Client("litert", (".tflite",)),
    Client("litert, reference kernels", (".tflite",), options={"kernels": "reference"}, environment="litert"),
    Client("tflite-runtime", (".tflite",), python="3.11"),
    Client("mediapipe", (".tflite",)),
    Client("onnxruntime", (".onnx",)),
    Client("openvino", (".onnx", ".tflite")),
    Client("openvino, f32", (".onnx", ".tflite"), options={"precision": "f32"}, environment="openvino"),
    Client("opencv", (".onnx", ".tflite")),
)


@dataclass(frozen=True)
class Answers:
    """A client's outputs, float64 (N, C'), the shape that it gave for one photo, and the classes that it can name."""

    outputs: npt.NDArray[np.float64]
    shape: tuple[int, ...]
    labels: list[str] | None


def interpreter(client: Client, root: Path) -> Path:
    """The Python of the client's environment, which is made below ``root`` where it does not stand yet.

    Raises Unavailable where it can't be made here; SystemExit, with pip's last lines, where its requirements are wrong.
    """
    python = _base_python(client)
    key = hashlib.sha256(client.requirements.read_bytes() + python.encode()).hexdigest()[:16]
    folder = root / f"{client.module}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    with (root / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be making it
        if not (folder / "ready").exists():
            shutil.rmtree(folder)
            _make(python, folder)
            _install(client, folder / "bin" / "python")
            (folder / "ready").touch()
    return folder / "bin" / "python"


def answers(client: Client, python: Path, artifact: Path, photos: Path, folder: Path) -> Answers:
    """What the client answers to the photos of an .npy file, in a process of its own; ``folder`` is for its files.

    Raises Refused where it refuses the artifact, crashes, or gives another number of answers than photos.
    """
    out, job = folder / "answers.npy", folder / "job.json"
    out.unlink(missing_ok=True)
    wanted = {
        "client": client.module,
        "artifact": artifact,
        "options": client.options,
        "photos": photos,
        "answers": out,
    }
    job.write_text(json.dumps(wanted, default=str))
    try:
        ended = _run([python, "-I", FOLDER / "answer.py", job], timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise Refused(f"no answers in {_PATIENCE_S} s") from error
    if ended.returncode:
        died = f"ended by signal {-ended.returncode}; it said last: " if ended.returncode < 0 else ""
        raise Refused(f"{died}{_error(ended.stderr)}")
    told = json.loads(ended.stdout.splitlines()[-1])  # some clients greet on standard output
    outputs = np.load(out, allow_pickle=False)
    if len(outputs) != len(np.load(photos, mmap_mode="r", allow_pickle=False)):
        raise Refused(f"{len(outputs)} answers")
    return Answers(outputs, tuple(told["shape"]), told["labels"])


def _error(said: str) -> str:
    """The exception of a traceback, whose text may be several lines; else the last line."""
    lines = said.strip().splitlines() or ["nothing"]
    begins = [number for number, line in enumerate(lines) if _EXCEPTION.match(line)]
    return " ".join(lines[begins[-1] if begins else -1 :])


def _base_python(client: Client) -> str:
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    if client.python in (None, this):
        return sys.executable
    found = shutil.which(f"python{client.python}")
    if found is None:
        raise Unavailable(f"{client.name} has wheels for Python {client.python} only, which is not on PATH")
    return found


def _make(python: str, folder: Path) -> None:
    ended = _run([python, "-m", "venv", folder])
    if ended.returncode:  # Debian has venv's other half in a package of its own
        raise Unavailable(f"{python} -m venv: {ended.stdout.strip()} {ended.stderr.strip()}")


def _install(client: Client, python: Path) -> None:
    pip = [python, "-m", "pip", "install", "--no-deps", "--only-binary", ":all:", "--retries", "2"]
    ended = _run([*pip, "--requirement", client.requirements])
    if ended.returncode:
        said = " / ".join(ended.stderr.strip().splitlines()[-_LAST_LINES:])
        if any(words in ended.stderr for words in _OUT_OF_REACH):
            raise Unavailable(f"pip reaches no index with {client.requirements.name}: {said}")
        raise SystemExit(f"{client.requirements}: pip can't install it: {said}")


def _run(command: Sequence[str | Path], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """A process that takes no modules of elsewhere from this one's environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False, timeout=timeout,
    )  # fmt: skip
