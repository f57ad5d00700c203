"""The worker's zip runs where neither TensorFlow nor tledge is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from packaging.requirements import Requirement
from small_models import int8_tflite

from tledge.runtimes import runtime
from tledge.workers.package import PROGRAMS, write_worker

from .jobs import job


def _with_requirements(name: str) -> set[str]:
    """Name a distribution and all that it requires, whatever that requires too; extras are left out."""
    found, waiting = set[str](), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            wanted = map(Requirement, distribution(one).requires or ())
            waiting += [need.name for need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def _environment(folder: Path, name: str) -> Path:
    """Make a folder that holds this installed distribution, what it requires and nothing else, by links."""
    folder.mkdir()
    for one in _with_requirements(name):
        found = distribution(one)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(str(found.locate_file(top)))
    return folder


def _python(zipped: Path, environment: Path, *arguments: str, said: str = "") -> str:
    """Run Python without its site-packages; what it prints."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (zipped, environment)))}
    ended = subprocess.run(
        [sys.executable, "-S", "-P", *arguments], input=said, env=variables, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _onnx() -> bytes:
    """Ten numbers of a photo of 32 x 32 pixels: the means of its rows of red pixels, and what else comes first."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("Slice", ["means", "first", "last", "axis"], ["probabilities"]),
    ]
    numbers = {"first": [0], "last": [10], "axis": [1]}
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, 32, 32, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zip") / "worker.zip"
    write_worker(path)
    return path


@pytest.mark.parametrize(
    ("name", "library", "model"), [("litert", "ai-edge-litert", int8_tflite), ("onnxruntime", "onnxruntime", _onnx)]
)
def test_the_zip_runs_an_artifact_where_tensorflow_is_not_installed(
    tmp_path: Path, zipped: Path, name: str, library: str, model: Callable[[], bytes]
) -> None:
    environment = _environment(tmp_path / "environment", library)
    here = "import importlib.util as u; print([n for n in ('tensorflow', 'pydantic', 'typer') if u.find_spec(n)])"
    assert _python(zipped, environment, "-c", here) == "[]\n"
    for program in PROGRAMS:
        asked = f"import {program} as program; print(program.__file__)"
        assert _python(zipped, environment, "-c", asked).startswith(str(zipped))

    photos = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    made = job(tmp_path, model(), name, photos)
    (tmp_path / "job.json").write_text(json.dumps(asdict(made)))
    said = "".join(json.dumps({"do": command}) + "\n" for command in ("load", "answer", "end"))
    told = _python(zipped, environment, "-m", PROGRAMS[0], str(tmp_path / "job.json"), str(os.getpid()), said=said)
    assert json.loads(told.splitlines()[1]) == {"num_outputs": 10}

    found = runtime(name)
    session = found.load(model(), 1, found.kernels[0])
    expected = np.stack([session.predict(photo[None]) for photo in photos])
    np.testing.assert_array_equal(np.fromfile(made.outputs, np.float32).reshape(5, 10), expected)


def test_the_zip_is_small_and_holds_nothing_that_starts_workers(zipped: Path) -> None:
    with zipfile.ZipFile(zipped) as archive:
        names = archive.namelist()
    assert {"tledge/workers/worker.py", "tledge/runtimes/litert.py", "tledge/confinement.py"} <= set(names)
    assert not [name for name in names if name.endswith(("process.py", "place.py", "original.py", "package.py"))]
    assert zipped.stat().st_size < 40_000


def test_the_same_modules_make_the_same_zip(zipped: Path, tmp_path: Path) -> None:
    write_worker(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == zipped.read_bytes()
