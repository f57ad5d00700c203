"""A run's folder: there when it is whole, and not before."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tledge.errors import ArtifactError, InputError
from tledge.files import write_sealed
from tledge.run import Run, artifacts_root, list_runs, open_run, run_names, tree_hashes
from tledge.run_writer import staged_run


def _stage(root: Path, run: Run, name: str) -> None:
    """Build a run out of a copy of one."""
    with staged_run(root, name) as staging:
        shutil.copytree(run.folder / "model", staging / "model")
        for file in ("splits.csv", "reference.npz", "history.csv", "history.png", "fingerprints.npy"):
            shutil.copy(run.folder / file, staging / file)
        run.manifest.model_copy(update={"name": name}).save(staging / "manifest.json")


def test_a_staged_run_becomes_the_latest(built: Run, tmp_path: Path) -> None:
    _stage(tmp_path, built, "one")
    _stage(tmp_path, built, "two")
    assert open_run(tmp_path).name == "two"
    assert open_run(tmp_path, "one").manifest.labels == built.manifest.labels
    assert run_names(tmp_path) == ["one", "two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one", "two"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, InputError])
def test_an_error_in_the_body_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), staged_run(tmp_path, "one") as staging:
        (staging / "model").mkdir()
        (staging / "model" / "part").write_text("half")
        raise error("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_manifest_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no manifest"), staged_run(tmp_path, "one"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_build_is_no_run_and_the_next_build_removes_it(built: Run, tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\nfrom tledge.run_writer import staged_run\n"
        "with staged_run(pathlib.Path(sys.argv[1]), 'lost') as staging:\n"
        "    (staging / 'manifest.json').write_text('{}')\n    print('staged', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "staged\n"
    # While it lives, another build leaves its folder alone.
    _stage(tmp_path, built, "one")
    assert len(list(tmp_path.glob(".building-*"))) == 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert run_names(tmp_path) == ["one"]
    assert [entry.name for entry in list_runs(tmp_path)] == ["one"]
    _stage(tmp_path, built, "two")
    assert list(tmp_path.glob(".building-*")) == []


def test_a_name_that_appears_in_the_meantime_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="appeared in"), staged_run(tmp_path, "one") as staging:
        (staging / "manifest.json").write_text("{}")
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "mine").write_text("keep")
    assert (tmp_path / "one" / "mine").read_text() == "keep"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_every_file_of_a_run_is_in_its_manifest(built: Run) -> None:
    hashes = tree_hashes(built.folder)
    for name in list(hashes):
        if name == "manifest.json" or name.startswith(("exports/", "verification/")):
            del hashes[name]
    assert hashes == built.manifest.files_sha256
    assert {"splits.csv", "reference.npz", "history.csv", "history.png", "model/saved_model.pb"} <= set(hashes)


def test_no_export_is_proposed_of_a_name_that_may_be_no_format(lenet_copy: Run) -> None:
    folder = lenet_copy.export_folder("mine")
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(b"mine")
    with pytest.raises(ArtifactError) as caught:
        lenet_copy.export_record("mine")
    assert str(caught.value).endswith(f"Export it again, or remove {folder}.")


def test_a_manifest_of_a_newer_tledge_says_so_and_not_to_build_again(lenet_copy: Run) -> None:
    path = lenet_copy.folder / "manifest.json"
    for newer in ({"schema_version": 99}, {"colour": "of a later version"}):
        write_sealed(path, {**lenet_copy.manifest.as_json(), **newer})
        with pytest.raises(
            ArtifactError, match=r"(newer tledge \(schema version 99|another tledge made it).* Update tledge\.$"
        ):
            open_run(lenet_copy.folder.parent, "lenet")


def test_a_manifest_of_another_schema_version_is_refused_by_number(run_copy: Run) -> None:
    run_copy.manifest.model_copy(update={"schema_version": 0}).save(run_copy.folder / "manifest.json")
    with pytest.raises(ArtifactError, match="schema version 0, this tledge reads 2"):
        open_run(run_copy.folder.parent)


@pytest.mark.parametrize("name", ["../other", "/etc/hostname", "model/../../other", "model//x", "./x", ""])
def test_a_manifest_lists_no_file_outside_its_run(lenet_copy: Run, name: str) -> None:
    hashes = {**lenet_copy.manifest.files_sha256, name: "0" * 64}
    lenet_copy.manifest.model_copy(update={"files_sha256": hashes}).save(lenet_copy.folder / "manifest.json")
    with pytest.raises(ArtifactError, match="leads out of the folder"):
        open_run(lenet_copy.folder.parent, "lenet")


def test_the_latest_that_was_removed_is_an_error_with_the_runs_that_are_there(run_copy: Run) -> None:
    (run_copy.folder.parent / "latest").write_text("digitz\n")
    with pytest.raises(InputError, match="unknown run 'digitz'. Did you mean 'digits'"):
        open_run(run_copy.folder.parent)


def test_runs_are_listed_oldest_first(built: Run, tmp_path: Path) -> None:
    for age, name in enumerate(("b", "c", "a")):
        _stage(tmp_path, built, name)
        past = time.time() - 100 + age
        os.utime(tmp_path / name / "manifest.json", (past, past))
    assert run_names(tmp_path) == ["b", "c", "a"]


def test_the_artifacts_folder_is_the_argument_then_the_variable_then_the_working_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TLEDGE_ARTIFACTS", "elsewhere")
    assert artifacts_root(Path("here")) == Path("here")
    assert artifacts_root() == Path("elsewhere")
    monkeypatch.delenv("TLEDGE_ARTIFACTS")
    assert artifacts_root() == Path("artifacts")
