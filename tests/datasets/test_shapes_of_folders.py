"""What a folder of photos may mean otherwise is told: its shape, the names of its folders, and files that are no photos."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from tledge.datasets.folder import open_folder
from tledge.datasets.prepare import prepare_dataset, require_classes
from tledge.errors import InputError
from tledge.progress import Silent

PhotoFolder = Callable[..., Path]


def _said(root: Path) -> str:
    """What the error says that a folder is refused with, before a photo is read."""
    with pytest.raises(InputError) as caught:
        require_classes(open_folder(root))
    return str(caught.value)


@pytest.mark.parametrize("parents", [("", ""), ("train/", "test/")])
def test_names_in_two_forms_of_unicode_are_one_class(photo_folder: PhotoFolder, parents: tuple[str, str]) -> None:
    composed, taken_apart = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    root = photo_folder({f"{parents[0]}{composed}": 2, f"{parents[0]}tea": 2, f"{parents[1]}{taken_apart}": 3})
    source = open_folder(root)
    assert source.labels == (composed, "tea")
    assert source.class_counts == (5, 2)
    (warning,) = source.warnings
    assert "the same name in two forms of Unicode (NFC and NFD), and are one class" in warning
    assert composed in warning


def test_files_beside_photos_are_counted_in_one_line_and_are_no_errors(
    photo_folder: PhotoFolder, empty_cache: Path
) -> None:
    root = photo_folder({"cat": 20, "dog": 20})
    for number in range(20):
        (root / "cat" / f"{number:03d}.xml").write_text("<annotation/>")
    (root / "dog" / "labels.JSON").write_text("{}")
    (root / "dog" / "notes.txt").write_text("notes")
    progress = Silent()
    data = prepare_dataset(open_folder(root), 16, 0, progress)
    assert (len(data.ids), data.skipped) == (40, ())
    assert progress.warnings == [
        "left out 22 files beside the photos, by their names no photos: 1 .json, 1 .txt, 20 .xml"
    ]


def test_a_folder_around_the_data_set_names_the_folder_that_was_meant(
    photo_folder: PhotoFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photo_folder({"PlantVillage/PlantVillage/leaf": 2, "PlantVillage/PlantVillage/root": 2})
    (root / "notes").mkdir()
    (root / "notes" / "read me.txt").write_text("from a web page")
    assert f"Did you mean {root}/PlantVillage/PlantVillage?" in _said(root)
    monkeypatch.chdir(root.parent)
    assert "Did you mean ./photos/PlantVillage/PlantVillage?" in _said(Path("photos"))
    assert "Did you mean ./PlantVillage?" in _said_in(root, monkeypatch)


def _said_in(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (root / "PlantVillage" / "PlantVillage").rename(root / "inner")
    (root / "PlantVillage").rmdir()
    (root / "inner").rename(root / "PlantVillage")
    monkeypatch.chdir(root)
    return _said(Path())


@pytest.mark.parametrize("parent", ["", "train/", "pets/test/"])
def test_a_class_folder_names_the_data_set_that_it_is_in(photo_folder: PhotoFolder, parent: str) -> None:
    root = photo_folder({f"{parent}cat": 2, f"{parent}dog": 2} | ({"pets/train/cat": 2} if "pets" in parent else {}))
    meant = root / parent.removesuffix("test/") if "pets" in parent else root / parent
    assert f"cat: no class folders. Did you mean {meant}? Expected " in _said(root / parent / "cat")


def test_a_folder_of_one_class_has_no_other_folder_to_name(photo_folder: PhotoFolder) -> None:
    said = _said(photo_folder({"cat": 9}))
    assert said.endswith(
        "one class (cat), and a classifier needs at least two. Give a folder that holds one folder for each class."
    )


def test_classes_that_hold_nothing_but_folders_are_doubted(photo_folder: PhotoFolder) -> None:
    root = photo_folder({f"{colour}/{label}": 2 for colour in ("color", "grey") for label in ("cat", "dog")})
    (warning,) = open_folder(root).warnings
    assert warning.startswith("the class folders hold no photo themselves, only folders of photos: color, grey.")
    assert warning.endswith(f"give one of these, such as {root}/color.")


def test_class_folders_named_like_splits_are_told_how_they_were_taken(photo_folder: PhotoFolder) -> None:
    beside = photo_folder({"train": 3, "bus": 3}, name="beside")
    way_out = "Where train is a class, rename it, or put all class folders into a new folder {}/train."
    assert _said(beside).endswith(way_out.format(beside))
    alone = photo_folder({"train": 3, "valid": 3}, name="alone")
    said = _said(alone)
    assert "are taken for splits by their names (train, valid), and hold no class folders" in said
    assert said.endswith(way_out.format(alone))
    splits = photo_folder({"train/cat": 3, "train/dog": 3, "valid/cat": 2}, name="splits")
    (note,) = open_folder(splits).notes
    assert note.startswith(
        "folders taken for splits by their names: train, valid as validation. Where train is a class"
    )
    assert open_folder(photo_folder({"train/train": 3, "train/bus": 3}, name="wrapped")).labels == ("bus", "train")


def test_a_split_folder_with_photos_of_no_class_says_so(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"train/cat": 2, "train/dog": 2, "test": 3})
    assert "test: a split folder with photos and no class folders. Put each photo into a folder of its class" in _said(
        root
    )


def test_split_folders_that_are_one_folder_are_refused_by_name(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"train/cat": 2, "train/dog": 2, "test/cat": 2, "test/dog": 2})
    (root / "validation").symlink_to("test", target_is_directory=True)
    assert "test and validation are the same folder" in _said(root)


def test_too_few_photos_of_a_class_are_known_before_one_is_read(photo_folder: PhotoFolder) -> None:
    root = photo_folder({"cat": 1, "dog": 2, "newt": 0})
    assert "these have fewer: cat (1), newt (0). Add photos, or leave out the class." in _said(root)
