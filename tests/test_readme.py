"""The README's commands do what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tledge.run import open_run
from tledge.stages import export, verify
from tledge.verification.measurement import Wanted

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _run(script: str, folder: Path, *program: str) -> subprocess.CompletedProcess[str]:
    """A block in a shell, or in ``program``, as a user has it: this environment's ``tledge`` first on the path."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        [*(program or ("sh", "-euc")), script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def _recipe(target: str) -> str:
    """The commands of a make target, without those that install. ``make test`` calls this, so that its own flags are taken away."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", ".venv/.ready", target],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return printed.replace(".venv/bin/tledge", "tledge").replace(".venv/bin/python", shlex.quote(sys.executable))


def _block(command: str) -> str:
    (found,) = [block for block in BLOCKS if command in block]
    return found


def test_every_command_block_is_run_by_a_test_here() -> None:
    assert [block.splitlines()[0].split(" #")[0].strip() for block in BLOCKS] == [
        "make demo",
        "tledge build --dataset tf_flowers",
        "tledge predict ./photos --artifact tflite-int8",
    ]


def test_the_two_make_commands_are_the_demo_and_the_suite() -> None:
    commands = [line.split(" #")[0].strip() for line in _block("make demo").splitlines()]
    assert commands == ["make demo", "make test"]
    assert "-m pytest" in _recipe("test")


@pytest.mark.long  # it exports every format
def test_make_demo_ends_with_a_table_of_seven_artifacts_and_a_passed_verdict(tmp_path: Path) -> None:
    ended = _run(_recipe("demo"), tmp_path)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    rows = re.findall(r"^(?:tflite|onnx)-\S+ +\d.* (?:passed|certified) *$", ended.stdout, re.MULTILINE)
    assert len(rows) == 7
    assert "verdict: passed" in ended.stdout


def test_the_lines_of_python_print_two_rows_and_a_verdict(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len(block.splitlines()) <= 10
    ended = _run(block, tmp_path, sys.executable, "-c")
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert len(re.findall(r"^tflite-\w+: 0\.\d+ MB, drop .* points: \w+$", ended.stdout, re.MULTILINE)) == 2


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.fixture(scope="module")
def three_commands(real_data: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What they print, and the folder in which they ran: real photos, and a real ImageNet backbone."""
    folder = tmp_path_factory.mktemp("flowers")
    ended = _run(_block("tledge build"), folder)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout, folder


@pytest.mark.long  # real photos at 224 x 224
def test_the_three_commands_build_export_and_verify_tf_flowers(three_commands: tuple[str, Path]) -> None:
    assert re.search("^verdict: (passed|certified)$", three_commands[0], re.MULTILINE)


@pytest.mark.long  # real photos at 224 x 224
def test_flowers_reach_89_percent_and_float_files_and_that_of_integers_stay_close_to_the_original(
    three_commands: tuple[str, Path],
) -> None:
    run = open_run(three_commands[1] / "artifacts", None)
    assert run.manifest.metrics["test"].accuracy >= 0.89
    assert run.manifest.splits["test"].num_photos == 539, "the split of seed 0 is the same in every version"
    export(run, ["tflite-float32", "onnx-float32"])
    drifts = {row.format: row.drift for row in verify(run, wanted=Wanted(accuracy_only=True)).rows}
    for name in ("tflite-float32", "onnx-float32"):
        drift = drifts[name]
        assert drift is not None
        assert drift.agreement == 1.0, name
    drift = drifts["tflite-int8"]
    assert drift is not None
    assert drift.accuracy_drop_points <= 1.0


@pytest.mark.usefixtures("run_copy")
def test_a_run_is_put_to_use_by_predict_and_evaluate(tmp_path: Path, photo_folder: Callable[..., Path]) -> None:
    photo_folder({"1": 2, "7": 1})
    ended = _run(_block("tledge predict"), tmp_path)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert len(re.findall(r"^photos/[17]/00\d\.png  (?:\d +\d+\.\d\d% *){3}$", ended.stdout, re.MULTILINE)) == 3
    assert "tflite-int8 on litert, on photos: accuracy" in ended.stdout
