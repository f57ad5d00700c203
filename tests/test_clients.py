"""Other programs that run tledge's artifacts answer what tledge's own runtimes do, or refuse in words."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tledge.inference.run_model import open_model
from tledge.progress import Silent
from tledge.run import Run, open_run
from tledge.stages import export

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("client_environments")


@pytest.fixture
def clients(environments: ModuleType) -> ModuleType:
    return importlib.import_module("clients")


def test_every_client_requires_what_its_file_pins_and_is_the_first_of_it(environments: ModuleType) -> None:
    assert {path.stem for path in environments.FOLDER.glob("*.txt")} == {one.module for one in environments.CLIENTS}
    for client in environments.CLIENTS:
        lines = [line for line in client.requirements.read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)
        assert lines[0].endswith(f"=={client.version}")
        assert any(line.startswith("numpy==") for line in lines)


def test_a_client_in_a_process_of_its_own_gives_tledges_answers_or_its_own_error(
    environments: ModuleType, lenet_copy: Run, tmp_path: Path
) -> None:
    export(lenet_copy, ["tflite-float32", "onnx-float32"])
    size = lenet_copy.manifest.backbone.input_size
    photos = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    np.save(tmp_path / "photos.npy", photos)
    for name, labels in (("litert", None), ("onnxruntime", lenet_copy.manifest.labels)):
        (client,) = [one for one in environments.CLIENTS if one.name == name]
        (form,) = [form for form in ("tflite-float32", "onnx-float32") if form[:4] == client.runs[0][1:5]]
        artifact = lenet_copy.export_folder(form) / lenet_copy.export_record(form).file
        found = environments.answers(client, Path(sys.executable), artifact, tmp_path / "photos.npy", tmp_path)
        ((_, own),) = open_model(lenet_copy, format_name=form).answers(((None, one) for one in photos), 3, Silent())
        np.testing.assert_allclose(found.outputs, own, atol=1e-6)
        assert (found.shape, found.labels) == ((1, 10), labels)
        artifact.write_bytes(b"garbage")
        with pytest.raises(environments.Refused, match=r"\w"):
            environments.answers(client, Path(sys.executable), artifact, tmp_path / "photos.npy", tmp_path)


OWN = np.eye(4)[[0, 1, 2, 3] * 5]  # 20 photos of 4 classes


@pytest.mark.parametrize(
    ("outputs", "shape", "problem"),
    [
        (OWN, (1, 4), None),
        (OWN[[1, *range(1, 20)]], (1, 4), None),  # 19 of 20
        (OWN[[1, 2, *range(2, 20)]], (1, 4), "agrees on 18 of 20 photos, and says nothing"),
        (OWN, (4, 4), r"its output is \[4, 4\], and the file declares \[1, 4\]"),
        (OWN[:, :3], (1, 3), r"its output is \[1, 3\]"),
        (np.where(np.arange(20)[:, None] == 7, np.nan, OWN), (1, 4), "not finite"),
    ],
)
def test_a_client_that_answers_otherwise_is_a_problem(
    clients: ModuleType, outputs: np.ndarray, shape: tuple[int, ...], problem: str | None
) -> None:
    row = clients.compared(clients.Row("openvino", "1", "tflite-int8", 20), OWN, outputs, shape)
    assert (row.problem is None) == (problem is None)
    assert re.search(problem or "", row.problem or "")


def test_a_refusal_is_a_problem_where_it_is_not_known(clients: ModuleType) -> None:
    for client, form in clients.REFUSED:
        assert clients.refused(clients.Row(client, "1", form, 20), "no").problem is None
    assert clients.refused(clients.Row("litert", "2", "tflite-int8", 20), "no").problem == "it refuses the file"


@pytest.mark.long
def test_no_index_within_reach_is_no_fault_of_a_client(
    environments: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nno-index = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(environments.Unavailable, match=r"openvino\.txt"):
        environments.interpreter(environments.Client("openvino", (".onnx",)), tmp_path)
    with pytest.raises(environments.Unavailable, match="Python 2.0 only"):
        environments.interpreter(environments.Client("litert", (".tflite",), python="2.0"), tmp_path)


@pytest.mark.long
def test_openvino_answers_what_tledges_runtimes_do(built: Run, tmp_path: Path) -> None:
    """It keys tensors by their names, and runs another network, silently, where two share one."""
    formats = ["tflite-float32", "tflite-int8", "onnx-float32", "onnx-int8"]
    run = _exported(built, formats, tmp_path / "artifacts")
    told = _benchmark(run, "--clients", "openvino", "--formats", *formats, "--folder", tmp_path / "environments")
    if told["no_environment"]:
        pytest.skip(f"no environment for OpenVINO: {told['no_environment']['openvino']}")
    assert [(row["format"], row["problem"], row["shape"]) for row in told["rows"]] == [
        (name, None, [1, len(run.manifest.labels)]) for name in formats
    ]
    floats = [row["largest_difference"] for row in told["rows"] if row["format"].endswith("float32")]
    assert max(floats) < 0.15  # bfloat16 on a CPU that is fast at it; 1e-6 on others


def _exported(run: Run, formats: list[str], root: Path) -> Run:
    """A copy of the run with these artifacts."""
    shutil.copytree(run.folder, root / run.name)
    copy = open_run(root, run.name)
    export(copy, formats)
    return copy


def _benchmark(run: Run, *options: str | Path) -> Any:
    command = [sys.executable, str(BENCHMARKS / "clients.py"), str(run.folder), *map(str, options)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    return json.loads(ended.stdout)
