"""Photos are found by file, folder or standard input, and what is left out is named."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tledge import preprocessing
from tledge.errors import InputError
from tledge.inference import photos
from tledge.inference.photos import PHOTO_SUFFIXES, ahead, few, find, pixels, read, text
from tledge.preprocessing import UnreadableImage


def test_every_suffix_of_the_formats_that_are_decoded_means_a_photo() -> None:
    Image.init()
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in preprocessing._FORMATS}
    assert known == PHOTO_SUFFIXES


def test_a_folder_is_searched_in_the_order_of_its_paths_and_says_what_it_left_out(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "z/c.webp", "notes.txt", ".hidden.png", "Thumbs.db", ".git/d.png", "z/model.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find([tmp_path])
    assert found.photos == [str(tmp_path / name) for name in ("a.png", "b.JPG", "z/c.webp")]
    assert found.skipped == [str(tmp_path / name) for name in ("loop", "notes.txt", "z/model.onnx")]


def test_a_file_that_is_named_is_a_photo_whatever_its_suffix_and_whether_it_exists(tmp_path: Path) -> None:
    names = [str(tmp_path / "upload"), "-", str(tmp_path / "gone.png")]
    assert find(names).photos == names


def test_no_photo_at_all_is_an_error_that_names_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"no photo in .*notes\.txt"):
        find([tmp_path])


def test_standard_input_is_one_photo() -> None:
    with pytest.raises(InputError, match="name it once"):
        find(["-", "-"])


def test_what_can_not_be_read_says_why_and_does_not_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableImage, match="no regular file; use - for a pipe"):
        read(str(tmp_path / "pipe"))
    with pytest.raises(UnreadableImage, match="no such file"):
        read(str(tmp_path / "gone.png"))
    (tmp_path / "large").write_bytes(bytes(11))
    monkeypatch.setattr(photos, "MAX_FILE_BYTES", 10)
    with pytest.raises(UnreadableImage, match="more than"):
        read(str(tmp_path / "large"))


def test_pixels_are_those_of_the_one_decoder(photo_bytes: Callable[..., bytes]) -> None:
    data = photo_bytes(3, "JPEG")
    np.testing.assert_array_equal(pixels(data, 16), preprocessing.resize(preprocessing.decode(data), 16))
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(pixels(grey, 8), np.stack([grey] * 3, axis=2))


def test_a_name_that_is_no_unicode_can_be_written() -> None:
    assert text(os.fsdecode(b"caf\xe9.png")) == "caf\\xe9.png"


def test_few_are_listed_and_the_rest_counted() -> None:
    assert few(["a", "b"]) == "a; b"
    assert few(list("abcdefg")) == "a; b; c; d; e; and 2 more"


def test_work_ahead_keeps_the_order_names_failures_and_stays_in_its_window() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 1000:
            taken += 1
            yield taken

    def work(item: int) -> int:
        if item == 3:
            raise UnreadableImage("torn")
        return item * item

    stream = ahead(work, items())
    assert next(stream) == (1, 1)
    assert taken <= 64
    results = list(stream)
    assert [item for item, _ in results] == list(range(2, 1001))
    assert str(results[1][1]) == "torn"
    assert results[-1] == (1000, 1_000_000)


def test_work_ahead_stops_with_who_asked() -> None:
    done = []

    def work(item: int) -> None:
        time.sleep(0.01)  # so that most of the window still waits for a thread
        done.append(item)

    with contextlib.closing(ahead(work, range(1000))) as stream:
        next(stream)
    assert len(done) < 32


def test_standard_input_is_read_as_bytes(monkeypatch: pytest.MonkeyPatch, photo_bytes: Callable[..., bytes]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(photo_bytes(1))))
    assert read("-") == photo_bytes(1)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UnreadableImage, match="standard input is closed"):
        read("-")
