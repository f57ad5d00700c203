"""What reaches the disk is whole, and a later change of a record is seen."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tledge import files
from tledge.errors import ArtifactError, EnvironmentFault, disk_full
from tledge.files import (
    atomic_write,
    compressed_bytes,
    read_file,
    read_sealed,
    require_folder,
    sha256_file,
    temporary_folder,
    working_folder,
    write_sealed,
)
from tledge.records import SkippedPhoto


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"classes.jpg " * 1000,
        np.random.default_rng(0).integers(0, 3, 50_000, np.uint8).tobytes(),
        np.random.default_rng(0).choice(5, 50_000, p=[0.5, 0.2, 0.1, 0.1, 0.1]).astype(np.uint8).tobytes(),
    ],
    ids=["nothing", "words", "even", "uneven"],
)
def test_a_compressed_size_is_what_the_data_takes_in_a_zip_file(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("model.tflite", data)
        assert compressed_bytes(data) == archive.getinfo("model.tflite").compress_size


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record"
    atomic_write(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record"]


def test_a_write_is_readable_by_others(tmp_path: Path) -> None:
    atomic_write(tmp_path / "record", b"x")
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o644


def test_a_write_needs_no_right_to_change_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:  # as exFAT and some network shares do
        raise PermissionError(1, "Operation not permitted")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(files.os, name, refuse)
    atomic_write(tmp_path / "record", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_a_temporary_folder_of_a_dead_process_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os\nfrom tledge.files import temporary_folder\nwith temporary_folder():\n    os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert len(list(tmp_path.iterdir())) == 2  # the folder and its lock
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.name for path in tmp_path.iterdir()} == {folder.name, f"{folder.name}.lock"}
    assert list(tmp_path.iterdir()) == []


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-4, example of "abc".
    assert sha256_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_sealed_record_reads_back(tmp_path: Path) -> None:
    record = {"name": "Löwenzahn", "values": [1, 2.5, None], "nested": {"b": 1, "a": 2}}
    write_sealed(tmp_path / "r.json", record)
    assert read_sealed(tmp_path / "r.json", "write it again") == record


def test_a_sealed_record_may_be_laid_out_anew_but_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_sealed(path, {"accuracy": 0.91, "labels": ["cat", "dog"]})
    text = json.loads(path.read_text())
    path.write_text(json.dumps(text))
    assert read_sealed(path, "again")["accuracy"] == 0.91
    path.write_text(json.dumps({**text, "accuracy": 0.99}))
    with pytest.raises(ArtifactError, match=r"r\.json: changed since tledge wrote it .* write it again"):
        read_sealed(path, "write it again")


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"{}", b"null", b"\xff\xfe", b'{"a": 1}'])
def test_what_is_no_sealed_record_is_an_artifact_error_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="build it again") as caught:
        read_sealed(tmp_path / "r.json", "build it again")
    assert str(tmp_path / "r.json") in str(caught.value)
    assert caught.value.exit_code == 3


def test_every_cut_of_a_sealed_record_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_sealed(path, {"name": "digits", "accuracy": 0.5})
    whole = path.read_bytes()
    for length in range(len(whole) - 1):  # without the last newline it is still whole
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            read_sealed(path, "again")


def test_a_record_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sealed(tmp_path / "r.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_or_missing_key_of_a_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_sealed(path, {"id": "cat/1.png", "reason": "torn", "colour": "red"})
    with pytest.raises(ArtifactError, match="colour, so another tledge made it. Update tledge"):
        SkippedPhoto.load(path, "Build again.")
    write_sealed(path, {"id": "cat/1.png"})
    with pytest.raises(ArtifactError, match="reason: field required. Build again"):
        SkippedPhoto.load(path, "Build again.")


def test_a_full_disk_is_found_behind_other_errors() -> None:
    try:
        try:
            raise OSError(28, os.strerror(28), "reference.npz")
        except OSError as error:
            raise RuntimeError("could not save") from error
    except RuntimeError as error:
        found = disk_full(error)
    assert found is not None
    assert "while writing reference.npz" in str(found)
    assert found.exit_code == 3
    assert disk_full(RuntimeError("UNKNOWN: x/variables; No space left on device")) is not None
    assert disk_full(OSError(2, os.strerror(2), "gone")) is None


def test_working_folders_that_begin_and_end_side_by_side_leave_each_other_alone(tmp_path: Path) -> None:
    def work(number: int) -> None:
        for _ in range(60):
            with working_folder(tmp_path, "") as folder:
                (folder / "mine").write_text(str(number))
                assert [path.read_text() for path in folder.iterdir()] == [str(number)]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert list(tmp_path.iterdir()) == []


def test_the_size_of_a_file_is_asked_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(20 << 30)  # takes no room on the disk
    with pytest.raises(ArtifactError, match=r"large\.json: can't be read \(more than 256 MiB\)\. Build again"):
        read_sealed(tmp_path / "large.json", "Build again.")
    (tmp_path / "four").write_bytes(b"four")
    assert read_file(tmp_path / "four", 4) == b"four"
    with pytest.raises(OSError, match="more than"):
        read_file(tmp_path / "four", 3)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        read_file(tmp_path / "pipe", 1)


def test_asking_whether_a_folder_can_be_made_leaves_none_behind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    require_folder(tmp_path / "a" / "b", "Elsewhere.")
    with pytest.raises(EnvironmentFault, match=r"can't write .*Elsewhere\."):
        require_folder(tmp_path / "file" / "c", "Elsewhere.")
    require_folder(tmp_path, "Elsewhere.")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
