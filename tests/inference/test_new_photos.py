"""Photos are found by file, folder or standard input, and what is left out is named."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tledge import photo_files
from tledge.errors import InputError
from tledge.inference.new_photos import find_photos, path_text, read_named_photo
from tledge.preprocessing import UnreadableImage
from tledge.printable import few
from tledge.run import Run


def test_a_folder_is_searched_in_the_order_of_its_paths_and_says_what_it_left_out(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "z/c.webp", "notes.txt", ".hidden.png", "Thumbs.db", ".git/d.png", "z/model.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_photos([tmp_path])
    assert found.photos == [str(tmp_path / name) for name in ("a.png", "b.JPG", "z/c.webp")]
    assert found.skipped == [str(tmp_path / name) for name in ("loop", "notes.txt", "z/model.onnx")]


def test_a_file_that_is_named_is_a_photo_whatever_its_suffix_and_whether_it_exists(tmp_path: Path) -> None:
    names = [str(tmp_path / "upload"), "-", str(tmp_path / "gone.png")]
    assert find_photos(names).photos == names


def test_no_photo_at_all_is_an_error_that_names_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"no photo in .*notes\.txt"):
        find_photos([tmp_path])


def test_standard_input_is_one_photo() -> None:
    with pytest.raises(InputError, match="name it once"):
        find_photos(["-", "-"])


def test_what_can_not_be_read_says_why_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableImage, match="no regular file: use - for a pipe"):
        read_named_photo(str(tmp_path / "pipe"))
    with pytest.raises(UnreadableImage, match="no such file"):
        read_named_photo(str(tmp_path / "gone.png"))


def test_a_name_that_is_no_unicode_can_be_written() -> None:
    assert path_text(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9.png"


def test_few_are_listed_and_the_rest_counted() -> None:
    assert few(["a", "b"]) == "a; b"
    assert few(list("abcdefg")) == "a; b; c; d; e; and 2 more"


def test_standard_input_is_read_as_bytes(monkeypatch: pytest.MonkeyPatch, photo_bytes: Callable[..., bytes]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(photo_bytes(1))))
    assert read_named_photo("-") == photo_bytes(1)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UnreadableImage, match="standard input is closed"):
        read_named_photo("-")


def test_more_than_a_photo_can_have_is_not_read_from_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_files, "MAX_BYTES", 10)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bytes(11))))
    with pytest.raises(UnreadableImage, match="more than"):
        read_named_photo("-")


def test_what_tledge_wrote_is_told_apart_and_not_answered(lenet_copy: Run, tmp_path: Path) -> None:
    """The user's photos may lie beside it, and even between the runs."""
    for folder in (tmp_path, tmp_path / "artifacts"):
        (folder / "photo.png").touch()
    assert (lenet_copy.folder / "history.png").is_file()
    found = find_photos([tmp_path])
    assert found.photos == [str(tmp_path / "photo.png"), str(tmp_path / "artifacts" / "photo.png")]
    assert found.outputs == [str(lenet_copy.folder), str(lenet_copy.folder.parent / "latest")]
    assert found.skipped == []
    with pytest.raises(InputError, match=f"no photo in .* tledge itself wrote {lenet_copy.folder}"):
        find_photos([lenet_copy.folder])
