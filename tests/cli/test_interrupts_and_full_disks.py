"""Ctrl-C and a full disk: nothing half-written is taken for whole, and the run before stays usable."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import prepare_dataset
from tledge.outputs import MARK
from tledge.progress import Silent
from tledge.run import Run, open_run, tree_hashes

ENVIRONMENT, INTERRUPTED = 3, 130
Command = Callable[..., Any]


@pytest.mark.parametrize("moment", ["loading the backbone", "training the head", "writing the model"])
def test_ctrl_c_in_a_build_ends_in_130_and_leaves_the_earlier_run(
    tledge: Command, run_copy: Run, tiny_backbone: Path, photo_folder: Callable[..., Path], moment: str
) -> None:
    root, before = run_copy.folder.parent, tree_hashes(run_copy.folder)
    # A suite that a shell runs in the background ignores SIGINT, and so would the command that it starts.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tledge.cli.main import main; main()"
    command = [sys.executable, "-c", heed, "build", "--dataset", str(photo_folder({"cat": 30, "dog": 30}))]
    options = ["--backbone", str(tiny_backbone), "--run", "second", "--artifacts", str(root)]
    endless = (
        ["--head", "mlp:8", "--max-epochs", "10000", "--patience", "10000"]
        if moment == "training the head"
        else ["--max-epochs", "1"]
    )
    process = subprocess.Popen(
        [*command, *options, *endless], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr
    said = ""
    for line in process.stderr:
        said += line
        if moment in line:
            time.sleep(1 if moment == "training the head" else 0)  # into the epochs, which do not end by themselves
            process.send_signal(signal.SIGINT)
            break
    out, rest = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, said + rest
    assert rest.count("interrupted; nothing half-written was kept") == 1
    assert "Traceback" not in rest
    assert out == ""
    assert sorted(path.name for path in root.iterdir()) == ["digits", "latest"]
    assert tree_hashes(run_copy.folder) == before
    assert open_run(root).name == "digits"


@pytest.mark.long
@pytest.mark.parametrize("moment", ["answers to every test photo", "where it was lost", "latency, 2 threads"])
def test_ctrl_c_in_a_verification_ends_in_130_at_once_and_leaves_the_run(run_copy: Run, moment: str) -> None:
    before = tree_hashes(run_copy.folder)
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from tledge.cli.main import main; main()"
    # MLPerf's protocol takes a minute for each of original and artifact at the least.
    options = ["--format", "tflite-int8", "--protocol", "mlperf", "--artifacts", str(run_copy.folder.parent)]
    command = [sys.executable, "-c", heed, "verify", *options]
    # In a group of its own, all of which hears Ctrl-C, as in a terminal.
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr
    for line in process.stderr:
        if moment in line:
            time.sleep(0.3)
            os.killpg(process.pid, signal.SIGINT)
            break
    began = time.monotonic()
    out, rest = process.communicate(timeout=60)
    assert time.monotonic() - began < 10  # far less than what was left to do
    assert process.returncode == INTERRUPTED, rest
    assert "interrupted; nothing half-written was kept" in rest
    assert "Traceback" not in rest
    assert out == ""
    assert tree_hashes(run_copy.folder) == before


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_verification_that_is_told_to_end_leaves_nothing(run_copy: Run, empty_cache: Path, number: int) -> None:
    before = tree_hashes(run_copy.folder)
    command = [sys.executable, "-m", "tledge", "verify", "--artifacts", str(run_copy.folder.parent)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr
    for line in process.stderr:
        if "answers to every test photo" in line:
            process.send_signal(number)
            break
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "interrupted; nothing half-written was kept" in rest
    assert "Traceback" not in rest
    assert list((empty_cache / "scratch").iterdir()) == []
    assert tree_hashes(run_copy.folder) == before


def test_what_a_killed_verification_left_is_removed_by_the_next_one(run_copy: Run, empty_cache: Path) -> None:
    options = ["--format", "tflite-int8", "--accuracy-only", "--artifacts", str(run_copy.folder.parent)]
    command = [sys.executable, "-m", "tledge", "verify", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if "answers to every test photo" in line:
            process.kill()
            break
    process.communicate(timeout=60)
    assert len(list((empty_cache / "scratch").iterdir())) == 2  # the folder and its lock
    assert subprocess.run([*command, "--json"], stdout=subprocess.PIPE, check=False).returncode == 0
    assert list((empty_cache / "scratch").iterdir()) == []


def _small_disk_with_a_run(small_disk: Callable[[int], Path], run: Run, free_bytes: int) -> Path:
    # A tmpfs counts whole pages, so a file costs up to one page more than its size.
    files = [path.stat().st_size for path in run.folder.rglob("*") if path.is_file() and "exports" not in path.parts]
    disk = small_disk(sum(files) + 4096 * (len(files) + 10) + free_bytes)
    shutil.copytree(run.folder, disk / "digits", ignore=shutil.ignore_patterns("exports", "verification"))
    (disk / "latest").write_text("digits\n")
    return disk


@pytest.mark.long
@pytest.mark.parametrize("free_bytes", [0, 200_000])
def test_a_full_disk_in_a_build_leaves_the_earlier_run_and_no_part_of_the_new_one(
    tledge: Command, built: Run, small_disk: Callable[[int], Path], free_bytes: int
) -> None:
    root = _small_disk_with_a_run(small_disk, built, free_bytes)
    outcome = tledge(
        "build", "--dataset", "digits", "--backbone", "bundled", "--run", "second", "--max-epochs", "1",
        "--artifacts", root,
    )  # fmt: skip
    assert outcome.code == ENVIRONMENT, outcome.err
    assert "no space left on the disk" in outcome.err
    assert "--artifacts" in outcome.err
    assert sorted(path.name for path in root.iterdir()) == ["digits", "latest"]
    assert open_run(root).name == "digits"
    listed = json.loads(tledge("runs", "--json", "--artifacts", root).out)["runs"]
    assert [(entry["name"], entry["problem"]) for entry in listed] == [("digits", None)]


@pytest.mark.long
def test_a_full_disk_in_an_export_leaves_the_run_and_its_earlier_artifact(
    tledge: Command, exported: tuple[Run, Any], small_disk: Callable[[int], Path]
) -> None:
    run = exported[0]
    earlier = run.folder / "exports" / "tflite-float32"
    root = _small_disk_with_a_run(small_disk, run, 100_000 + sum(path.stat().st_size for path in earlier.iterdir()))
    shutil.copytree(earlier, root / "digits" / "exports" / "tflite-float32")
    before = tree_hashes(root / "digits")
    outcome = tledge("export", "--format", "tflite-float32", "--artifacts", root)
    assert outcome.code == ENVIRONMENT, outcome.err
    assert "no space left on the disk" in outcome.err
    assert tree_hashes(root / "digits") == before
    assert list(open_run(root).exports()) == ["tflite-float32"]


def test_a_cache_folder_without_room_is_an_environment_error_before_any_work(
    tledge: Command, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = small_disk(200_000)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(disk))
    outcome = tledge("build", "--dataset", "digits", "--backbone", "bundled", "--artifacts", tmp_path / "artifacts")
    assert outcome.code == ENVIRONMENT
    assert f"no space left on the disk: {disk}" in outcome.err
    assert "31 MB" in outcome.err  # 1,797 pictures of 64 x 64 x 3 bytes, and 1,280 features of 4 bytes each
    assert "set TLEDGE_CACHE_DIR to a folder on a larger disk" in outcome.err
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [MARK]


def test_a_cache_folder_that_fills_up_on_the_way_keeps_what_was_whole(
    tledge: Command, small_disk: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    photo_folder: Callable[..., Path],
) -> None:  # fmt: skip
    disk = small_disk(1_500_000)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(disk))
    first = prepare_dataset(open_folder(photo_folder({"cat": 20, "dog": 20})), 64, 0, Silent())
    pixels = first.pixels[:]
    outcome = tledge("build", "--dataset", "digits", "--backbone", "bundled", "--artifacts", tmp_path / "artifacts")
    assert outcome.code == ENVIRONMENT
    assert "no space left on the disk" in outcome.err
    assert "TLEDGE_CACHE_DIR" in outcome.err
    again = prepare_dataset(open_folder(tmp_path / "photos"), 64, 0, Silent())
    assert (again.pixels[:] == pixels).all()
    assert shutil.disk_usage(disk).free > 500_000  # the part that was written is gone


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_folder_that_can_not_be_written_is_an_environment_error(
    tledge: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "cache"))
    outcome = tledge("build", "--dataset", "digits", "--backbone", "bundled")
    tmp_path.chmod(0o700)
    assert outcome.code == ENVIRONMENT
    assert "TLEDGE_CACHE_DIR" in outcome.err
