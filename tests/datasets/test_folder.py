"""Folders as data sets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tledge.cache import RowCache
from tledge.datasets import open_source
from tledge.datasets.folder import open_folder
from tledge.errors import InputError
from tledge.inference.features_file import features_file
from tledge.inference.labelled import Entry
from tledge.outputs import make_root
from tledge.records import SkippedPhoto
from tledge.run import Run
from tledge.training.trackers import TensorBoard

PhotoFolder = Callable[..., Path]


def test_class_folders_become_labels_in_order_and_every_photo_has_its_path_for_an_id(photo_folder: PhotoFolder) -> None:
    source = open_folder(photo_folder({"dog": 2, "cat": 1}))
    photos = list(source.photos())
    assert source.labels == ("cat", "dog")
    assert [(photo.id, photo.label, photo.source_split) for photo in photos] == [
        ("cat/000.png", 0, None),
        ("dog/000.png", 1, None),
        ("dog/001.png", 1, None),
    ]
    assert source.num_photos == 3
    assert [photo.data for photo in photos] == [photo.data for photo in source.photos()]


def test_photos_in_folders_below_a_class_folder_count(
    photo_folder: PhotoFolder, photo_bytes: Callable[..., bytes]
) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    (root / "cat" / "2024" / "june").mkdir(parents=True)
    (root / "cat" / "2024" / "june" / "a.png").write_bytes(photo_bytes(9))
    assert "cat/2024/june/a.png" in [photo.id for photo in open_folder(root).photos()]


def test_files_that_systems_put_there_are_no_photos(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / "cat" / name).write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "__MACOSX").mkdir()
    source = open_folder(root)
    assert source.num_photos == 2
    assert source.labels == ("cat", "dog")


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("Training", "val", "testing")])
def test_split_folders_are_kept_as_splits(photo_folder: PhotoFolder, names: tuple[str, str, str]) -> None:
    root = photo_folder({f"{name}/{label}": 2 for name in names for label in ("cat", "dog")})
    source = open_folder(root)
    assert source.labels == ("cat", "dog")
    found = {photo.id.split("/")[0]: photo.source_split for photo in source.photos()}
    assert found == dict(zip(names, ("train", "validation", "test"), strict=True))


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ["train/cat", "train/dog", "cat", "dog"],
            "train is taken for a split by name, and other folders stand beside: cat, dog.",
        ),
        (["test/cat", "test/dog", "val/cat"], "no train folder"),
        (["train/cat", "val/cat", "validation/dog"], "two folders mean the same split (train, val, validation)"),
    ],
)
def test_mixed_up_split_folders_are_refused(photo_folder: PhotoFolder, folders: list[str], message: str) -> None:
    root = photo_folder(dict.fromkeys(folders, 1))
    with pytest.raises(InputError) as caught:
        open_folder(root)
    assert message in str(caught.value)
    assert str(root) in str(caught.value)


def test_a_file_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"x")
    with pytest.raises(InputError, match=r"archive\.zip: not a folder"):
        open_source(str(tmp_path / "archive.zip"))


@pytest.mark.parametrize("target", ["self", "/no/such/folder"])
def test_a_link_that_leads_nowhere_is_no_class_and_is_refused_by_name(photo_folder: PhotoFolder, target: str) -> None:
    root = photo_folder({"train/cat": 2, "train/dog": 2})
    for folder in (root / "train", root):
        (folder / "self").symlink_to(target)
        with pytest.raises(InputError, match=f"self: a link that leads nowhere, to {target}. Restore that, or remove"):
            open_folder(root)
    with pytest.raises(InputError, match=f"self: a link that leads nowhere, to {target}"):
        open_folder(root / "self")


@pytest.mark.parametrize("target", [".", ".."])
def test_a_link_to_the_data_set_itself_is_no_class(photo_folder: PhotoFolder, target: str) -> None:
    root = photo_folder({"cat": 2, "dog": 2})
    (root / "loop").symlink_to(target, target_is_directory=True)
    with pytest.raises(InputError, match="loop: a link to a folder that it is in"):
        open_folder(root)


def test_a_class_folder_may_be_a_link_to_photos_elsewhere(photo_folder: PhotoFolder) -> None:
    root, elsewhere = photo_folder({"cat": 2}), photo_folder({"dog": 3}, name="elsewhere")
    (root / "dog").symlink_to(elsewhere / "dog", target_is_directory=True)
    source = open_folder(root)
    assert (source.labels, source.num_photos) == (("cat", "dog"), 5)


def test_what_can_not_be_read_as_a_file_is_kept_as_an_unreadable_photo(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (root / "cat" / "ring.jpg").symlink_to(root / "cat" / "ring.jpg")
    photos = {photo.id: photo.data for photo in open_folder(root).photos()}
    assert str(photos["cat/pipe.jpg"]) == "no regular file"
    assert str(photos["cat/gone.jpg"]) == str(photos["cat/ring.jpg"]) == "no such file"


def test_the_size_of_a_file_is_asked_before_it_is_read(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    with (root / "cat" / "film.jpg").open("wb") as file:
        file.truncate(20 << 30)  # takes no room on the disk
    photos = {photo.id: photo.data for photo in open_folder(root).photos()}
    assert str(photos["cat/film.jpg"]) == "more than 1 GiB"


def test_a_name_that_is_no_utf8_is_written_as_escapes(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    (root / "cat").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    source = open_folder(root)
    assert source.labels == ("caf\\xe9", "dog")
    assert next(source.photos()).id == "caf\\xe9/000.png"


def test_a_data_set_whose_own_path_is_no_utf8_is_refused(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    odd = root.rename(os.fsdecode(os.fsencode(root.parent) + b"/caf\xe9"))
    with pytest.raises(InputError, match=r"caf\\xe9: its path is not UTF-8"):
        open_folder(odd)


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_plain_name_that_is_a_data_set_and_a_folder_is_refused(
    photo_folder: PhotoFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    root = photo_folder({"cat": 1, "dog": 1}, name=name)
    monkeypatch.chdir(root.parent)
    with pytest.raises(InputError) as caught:
        open_source(name)
    assert f"Write ./{name}" in str(caught.value)
    assert open_source(f"./{name}").labels == ("cat", "dog")


def test_a_plain_name_of_a_folder_here_is_that_folder(
    photo_folder: PhotoFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photo_folder({"cat": 1, "dog": 1}, name="my-pets")
    monkeypatch.chdir(root.parent)
    source = open_source("my-pets")
    assert source.spec == str(root.resolve())
    assert source.name == "my-pets"


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(InputError, match="an empty data set name"):
        open_source("")


def test_a_photo_beside_the_class_folders_is_named_and_a_licence_is_not(
    photo_folder: PhotoFolder, photo_bytes: Callable[..., bytes]
) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    for name in ("stray.PNG", "stray.jp2"):  # of every format that is decoded, not of the usual ones alone
        (root / name).write_bytes(photo_bytes(9))
    (root / "LICENSE.txt").write_text("free")
    warnings = open_source(str(root)).warnings
    assert warnings == (
        "left out 2 photos that lie beside the class folders, and so in no class: "
        f"{root / 'stray.PNG'}; {root / 'stray.jp2'}",
    )


def test_a_linked_folder_inside_a_class_is_refused_by_name(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    more = photo_folder({"more": 3}, name="elsewhere") / "more"
    (root / "cat" / "linked").symlink_to(more)
    with pytest.raises(InputError, match="linked"):
        open_folder(root)


def test_a_split_folder_without_photos_is_refused_by_name(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"train/cat": 2, "train/dog": 2})
    (root / "test" / "cat").mkdir(parents=True)
    with pytest.raises(InputError, match="test: a split folder without photos"):
        open_folder(root)


def _features(path: Path) -> None:
    entry, record = Entry("cat/000.png", "cat", bytes(32)), SkippedPhoto(id="any", reason="record")
    with features_file(path, 2) as file:
        file.add([entry], np.zeros((1, 2), np.float32))
        file.finish(record)


def test_what_tledge_wrote_into_the_folder_is_no_data(
    photo_folder: PhotoFolder, lenet: Run, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this version, with its marks, and of those before, which left none."""
    root = photo_folder({"cat": 2, "dog": 2})
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(root / "cache"))
    RowCache("pixels-v2/2", (2,), np.uint8).add([(bytes(32), np.zeros(2, np.uint8))], 1)
    old_cache = root / "old-cache" / "pixels-v1" / "224"
    old_cache.mkdir(parents=True)
    for path in (root / "cache" / "pixels-v2" / "2").iterdir():
        shutil.copy(path, old_cache)
    make_root(root / "killed", "")
    (root / "killed" / ".building-12345678").mkdir()
    shutil.copytree(lenet.folder.parent, root / "artifacts")
    shutil.copytree(lenet.folder, root / "cat" / "run-of-lenet")
    (root / "artifacts" / "README.md").write_text("Runs.")
    TensorBoard(root / "curves", "run").abandon()
    for name in ("features.npy", "features.npz", "features.parquet"):
        _features(root / "cat" / name)
    source = open_folder(root)
    assert source.labels == ("cat", "dog")
    assert [photo.id for photo in source.photos()] == ["cat/000.png", "cat/001.png", "dog/000.png", "dog/001.png"]
    left_out = (
        "artifacts, cache, curves, killed, old-cache, cat/run-of-lenet, cat/features.json, cat/features.npy, "
        "cat/features.npz, cat/features.parquet"
    )
    assert sorted(source.warnings[0].removeprefix("left out what tledge itself wrote: ").split(", ")) == sorted(
        left_out.split(", ")
    )
    assert len(source.warnings) == 1
    with pytest.raises(InputError, match="no class folders but what tledge itself wrote"):
        open_folder(root / "artifacts")
    with pytest.raises(InputError, match="tledge itself wrote it"):
        open_folder(root / "artifacts" / lenet.name)


def test_runs_beside_split_folders_are_no_class(photo_folder: PhotoFolder, lenet: Run) -> None:
    root = photo_folder({"train/cat": 1, "train/dog": 1})
    shutil.copytree(lenet.folder.parent, root / "artifacts")
    assert open_folder(root).labels == ("cat", "dog")


def test_photos_between_runs_are_data_all_the_same(photo_folder: PhotoFolder, lenet: Run) -> None:
    """A folder of photos may have been named for --artifacts, and none of them is lost for it."""
    root = photo_folder({"cat": 1, "dog": 1})
    for folder in (root, root / "cat"):
        make_root(folder, "")
        shutil.copytree(lenet.folder.parent, folder, dirs_exist_ok=True)
    source = open_folder(root)
    assert [photo.id for photo in source.photos()] == ["cat/000.png", "dog/000.png"]
    assert source.warnings == ("left out what tledge itself wrote: lenet, cat/lenet, cat/latest",)


def test_files_of_the_same_names_that_others_wrote_are_data(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 1, "dog": 1})
    of_others = {
        "manifest.json": b'{"name": "a web page"}',
        "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55",
        **dict.fromkeys(("latest", "x.npy", "x.npz", "x.parquet", "events.out.tfevents.1"), b"x"),
    }
    for name, content in of_others.items():
        (root / "cat" / name).write_bytes(content)
    source = open_folder(root)
    assert source.num_photos == 6
    assert source.warnings == ("left out 3 files beside the photos, by their names no photos: 1 .json, 1 .npy, 1 .npz",)
