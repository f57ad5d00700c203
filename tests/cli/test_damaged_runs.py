"""A run whose files were edited and sealed again, or that goes away meanwhile, is damaged, and no bug of tledge."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tledge.cache import cache_root
from tledge.cli.console import run_guarded
from tledge.datasets.run_photos import load_split, members
from tledge.errors import ArtifactError
from tledge.exporters.export import export_formats
from tledge.files import read_sealed, sha256_file, write_sealed
from tledge.progress import Advance, Silent
from tledge.records import SPLITS
from tledge.run import MANIFEST, Run, open_run
from tledge.verification.measurement import Wanted
from tledge.verification.verify import verify_artifacts

ENVIRONMENT = 3
Command = Callable[..., Any]


def _sealed_again(run: Run, **changes: Any) -> Run:
    """Write the manifest as it is with its files now, and with other values."""
    path = run.folder / MANIFEST
    written = read_sealed(path, "")
    files = {name: sha256_file(run.folder / name) for name in written["files_sha256"]}
    write_sealed(path, {**written, "files_sha256": files, **changes})
    return open_run(run.folder.parent, run.name)


def _with_label(label: str) -> Callable[[bytes], bytes]:
    def edit(text: bytes) -> bytes:
        head, first, rest = text.split(b"\n", 2)
        split, _, end = first.split(b",", 2)
        return b"\n".join([head, b",".join([split, f'"{label}"'.encode(), end]), rest])

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        *(pytest.param(_with_label(label), id=f"label {label}") for label in ("99", "-1", "rose", "")),
        pytest.param(lambda text: text.split(b"\n", 1)[1], id="no header"),
        pytest.param(lambda text: text.replace(b'"id"', b'"name"'), id="another header"),
        pytest.param(lambda text: text + b"\xff\xfe\n", id="not UTF-8"),
        pytest.param(lambda text: b"", id="empty"),
        pytest.param(lambda text: text[: len(text) // 2], id="half of it"),
        pytest.param(lambda text: text.replace(b'"test"', b'"tset"', 1), id="another split"),
        pytest.param(lambda text: text.replace(b'"', b"\0", 1), id="a zero"),
    ],
)
def test_an_edited_list_of_photos_is_named_with_the_way_out(lenet_copy: Run, edit: Callable[[bytes], bytes]) -> None:
    path = lenet_copy.folder / "splits.csv"
    path.write_bytes(edit(path.read_bytes()))
    run = _sealed_again(lenet_copy)
    with pytest.raises(ArtifactError, match=r"splits\.csv: .*Build the run again"):
        for split in SPLITS:
            members(run, split)


def test_an_edited_list_of_photos_ends_a_command_with_3(tledge: Command, lenet_copy: Run) -> None:
    path = lenet_copy.folder / "splits.csv"
    path.write_bytes(_with_label("99")(path.read_bytes()))
    run = _sealed_again(lenet_copy)
    outcome = tledge("export", "--format", "tflite-int8", "--artifacts", run.folder.parent)
    assert outcome.code == ENVIRONMENT, outcome.err
    assert str(path) in outcome.err


@pytest.mark.parametrize(
    ("key", "change", "told"),
    [
        ("splits", lambda splits: {"train": splits["train"]}, "the validation split is missing"),
        ("splits", lambda splits: {name: splits[name] for name in SPLITS[:2]}, "the test split is missing"),
        ("labels", lambda labels: [], "a classifier has two labels or more"),
        ("metrics", lambda metrics: {"validation": metrics["validation"]}, "the metrics of the test split are missing"),
    ],
)
def test_a_manifest_without_what_every_run_has_is_damaged(
    tledge: Command, lenet_copy: Run, key: str, change: Callable[[Any], Any], told: str
) -> None:
    path = lenet_copy.folder / MANIFEST
    written = read_sealed(path, "")
    write_sealed(path, {**written, key: change(written[key])})
    outcome = tledge("verify", "--artifacts", lenet_copy.folder.parent)
    assert outcome.code == ENVIRONMENT, outcome.err
    assert f"{path}: {told}. Build the run again" in outcome.err


@pytest.mark.parametrize("content", [b"no array", b"\x93NUMPY cut short"])
def test_answers_of_the_original_that_can_not_be_read_are_named(
    tledge: Command, exported_lenet: Run, content: bytes
) -> None:
    path = exported_lenet.folder / "reference.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ids.npy", content)
    run = _sealed_again(exported_lenet)
    record = run.export_folder("tflite-float32") / "export.json"
    write_sealed(record, {**read_sealed(record, ""), "source_manifest_sha256": run.manifest_sha256})
    outcome = tledge("verify", "--accuracy-only", "--artifacts", run.folder.parent)
    assert outcome.code == ENVIRONMENT, outcome.err
    assert f"{path}: does not hold the original's answers" in outcome.err
    assert "Build the run again" in outcome.err


def test_a_folder_of_an_artifact_whose_name_is_not_utf_8_is_named(tledge: Command, exported_lenet: Run) -> None:
    exports = exported_lenet.folder / "exports"
    shutil.copytree(exports / "tflite-float32", exports / os.fsdecode(b"\xff\xfe"))
    outcome = tledge("verify", "--accuracy-only", "--artifacts", exports.parent.parent)
    assert outcome.code == ENVIRONMENT, outcome.err
    assert "its name is not UTF-8, so it is no format's. Move it out of the run" in outcome.err
    listed = json.loads(tledge("runs", "--json", "--artifacts", exports.parent.parent).out)["runs"]
    assert "its name is not UTF-8" in listed[0]["problem"]


@pytest.fixture(scope="module")
def _exported(lenet: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("exported")
    shutil.copytree(lenet.folder, root / "lenet")
    run = open_run(root, "lenet")
    export_formats(run, ["tflite-float32"])
    return run


@pytest.fixture
def exported_lenet(_exported: Run, tmp_path: Path) -> Run:
    """A run with one artifact, alone in its artifacts folder, to be changed at will."""
    shutil.copytree(_exported.folder, tmp_path / "artifacts" / "lenet")
    (tmp_path / "artifacts" / "latest").write_text("lenet\n")
    return open_run(tmp_path / "artifacts", "lenet")


class _AtTheFirstStep(Silent):
    def __init__(self, does: Callable[[], object]) -> None:
        super().__init__()
        self._does = [does]

    @contextlib.contextmanager
    def step(self, description: str, total: int | None = None) -> Iterator[Advance]:
        if self._does:
            self._does.pop()()
        with super().step(description, total) as advance:
            yield advance


@pytest.mark.parametrize(
    ("what", "accuracy_only"), [("the run", True), ("the run", False), ("the scratch folder", True)]
)
@pytest.mark.usefixtures("empty_cache")
def test_what_is_removed_during_a_verification_ends_it_with_3(
    exported_lenet: Run, what: str, accuracy_only: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    gone = exported_lenet.folder if what == "the run" else cache_root() / "scratch"
    wanted = Wanted(accuracy_only=accuracy_only)
    # In an empty cache the first step reads the photos, so they are read before.
    load_split(exported_lenet, "test", Silent())
    progress = _AtTheFirstStep(lambda: shutil.rmtree(gone))
    code = run_guarded(lambda: verify_artifacts(exported_lenet, wanted=wanted, progress=progress))
    told = capfd.readouterr().err
    assert code == ENVIRONMENT, told
    assert str(gone) in told
