"""A model is scored on labelled photos, and what it has learned from is not scored by mistake."""

from __future__ import annotations

import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tledge import preprocessing
from tledge.datasets import open_source
from tledge.datasets.prepare import prepare_dataset
from tledge.datasets.run_photos import load_split, members
from tledge.datasets.splits import split_digest
from tledge.errors import InputError
from tledge.files import write_sealed
from tledge.inference.evaluate import Evaluation, evaluate, parse_class_map
from tledge.inference.run_model import RunModel, open_model
from tledge.progress import Silent
from tledge.records import SPLITS, ExportRecord, Report
from tledge.run import Run, open_run
from tledge.runtimes import runtime
from tledge.statistics import wilson_interval

Folder = Callable[..., Path]


@pytest.fixture
def model(exported: tuple[Run, dict[str, ExportRecord]]) -> RunModel:
    return open_model(exported[0], format_name="tflite-int8")


def test_on_the_runs_own_data_set_the_test_split_alone_is_scored_as_verify_scores_it(
    model: RunModel, report: Report
) -> None:
    manifest, progress = model.run.manifest, Silent()
    scored = evaluate(model, "digits", progress=progress)
    (drift,) = [row.drift for row in report.rows if row.format == "tflite-int8"]
    assert drift is not None
    assert scored.metrics.accuracy == drift.accuracy
    assert scored.metrics.confusions == drift.confusions
    assert scored.accuracy_interval == drift.accuracy_interval
    assert scored.photos_sha256 == manifest.splits["test"].sha256
    assert scored.own_photos == {name: split.num_photos for name, split in manifest.splits.items()}
    train, validation = (manifest.splits[name].num_photos for name in ("train", "validation"))
    assert f"left out {train:,} photos that run digits was trained on and {validation}" in progress.warnings[0]
    assert "are of the test split of run digits itself" in progress.warnings[1]
    assert progress.warnings == scored.warnings


def test_seen_photos_are_scored_where_that_is_asked_for_and_said(model: RunModel) -> None:
    scored = evaluate(model, "digits", include_seen=True)
    assert scored.metrics.num_photos == 1797
    assert scored.includes_seen
    assert "the accuracy says little of new photos" in scored.warnings[0]
    assert Evaluation.model_validate(scored.as_json()) == scored


def test_classes_are_matched_by_name_and_missing_ones_warned_of(model: RunModel, photo_folder: Folder) -> None:
    folder = photo_folder({"2": 3, "7": 1})
    session = runtime("litert").load(model.runnable.path.read_bytes(), 1, "XNNPACK")
    predicted = [
        (
            int(path.parent.name),
            int(
                np.argmax(
                    session.predict(preprocessing.prepare_photo(path.read_bytes(), model.input_size).pixels[None])
                )
            ),
        )
        for path in folder.rglob("*.png")
    ]
    counted = Counter(predicted)
    scored = evaluate(model, str(folder))
    assert scored.metrics.confusions == [(*pair, count) for pair, count in sorted(counted.items())]
    assert scored.accuracy_interval == wilson_interval(sum(actual == answer for actual, answer in predicted), 4)
    assert {one.label: one.num_photos for one in scored.per_class if one.num_photos} == {"2": 3, "7": 1}
    assert scored.own_photos == {}
    (warning,) = scored.warnings
    assert "no photo of 0, 1, 3, 4, 5, and 3 more" in warning


def test_classes_that_the_run_does_not_know_are_named(model: RunModel, photo_folder: Folder) -> None:
    with pytest.raises(
        InputError, match=r"run digits does not know 'cat', 'dog'\. Its classes are '0', .*rename or remove"
    ):
        evaluate(model, str(photo_folder({"1": 1, "cat": 1, "dog": 1})))


@pytest.fixture
def named(lenet_copy: Run) -> RunModel:
    """A run whose first classes have names, one of them in the Unicode form of macOS."""
    path = lenet_copy.folder / "manifest.json"
    manifest = {**lenet_copy.manifest.as_json()}
    labels = ["roses", unicodedata.normalize("NFD", "caf\u00e9"), "daisy", *manifest["labels"][3:]]
    manifest["labels"] = labels
    for split in SPLITS:  # the digest of a split is over the names of the classes, too
        photos = members(lenet_copy, split)
        names = [labels[photo.label] for photo in photos]
        manifest["splits"][split]["sha256"] = split_digest([photo.content_sha256 for photo in photos], names)
    write_sealed(path, manifest)
    return open_model("lenet", artifacts=lenet_copy.folder.parent)


def test_classes_of_other_names_are_mapped_and_the_nearest_is_named(named: RunModel, photo_folder: Folder) -> None:
    new = str(photo_folder({"rose": 2, "Daisy": 1, unicodedata.normalize("NFC", "caf\u00e9"): 1}, first_seed=500))
    with pytest.raises(InputError) as caught:
        evaluate(named, new)
    assert "does not know 'Daisy', 'rose'." in str(caught.value)
    assert "If they mean the same, say so: --map Daisy=daisy --map rose=roses." in str(caught.value)
    scored = evaluate(named, new, class_map={"rose": "roses", "Daisy": "daisy"})
    assert [one.num_photos for one in scored.per_class][:4] == [2, 1, 1, 0]
    assert scored.class_map == {"Daisy": "daisy", "caf\u00e9": named.labels[1], "rose": "roses"}
    with pytest.raises(InputError, match=r"unknown class of run lenet 'rosess'\. Did you mean 'roses'\?"):
        evaluate(named, new, class_map={"rose": "rosess"})
    with pytest.raises(InputError, match=r"unknown class of data set photos 'ROSE'\. Did you mean 'rose'\?"):
        evaluate(named, new, class_map={"ROSE": "roses"})


def test_a_map_of_classes_is_read_from_the_command_line() -> None:
    assert parse_class_map(["rose=roses", "a=b=c", "rose=roses"]) == {"rose": "roses", "a": "b=c"}
    with pytest.raises(InputError, match="--map 'rose': write the data set's class, then ="):
        parse_class_map(["rose"])
    with pytest.raises(InputError, match="'rose' is mapped to 'roses' and to 'daisy'"):
        parse_class_map(["rose=roses", "rose=daisy"])


def test_a_map_that_could_not_be_read_is_not_proposed(lenet: Run, photo_folder: Folder) -> None:
    model = open_model("lenet", artifacts=lenet.folder.parent)
    with pytest.raises(InputError, match="does not know '1='") as caught:
        evaluate(model, str(photo_folder({"1=": 1, "7": 1})))
    assert "--map" not in str(caught.value)


@pytest.mark.long
def test_one_file_under_two_labels_is_named_and_not_scored(lenet: Run, photo_folder: Folder) -> None:
    model = open_model("lenet", artifacts=lenet.folder.parent)
    folder = photo_folder({"1": 3, "7": 2})
    shutil.copy(folder / "1" / "000.png", folder / "7" / "copy.png")
    scored = evaluate(model, str(folder))
    assert (scored.metrics.num_photos, scored.conflicts_left_out) == (4, ["1/000.png", "7/copy.png"])
    assert any(
        "left out 2 photos whose file occurs under more than one label: 1/000.png (1); 7/copy.png (7)" in warning
        for warning in scored.warnings
    )
    for path in (
        folder / "1" / "001.png",
        folder / "1" / "002.png",
        folder / "7" / "000.png",
        folder / "7" / "001.png",
    ):
        path.unlink()
    with pytest.raises(InputError, match="each photo occurs under more than one label"):
        evaluate(model, str(folder))


def test_a_split_of_the_source_is_scored_alone(model: RunModel, photo_folder: Folder) -> None:
    folder = str(photo_folder({"train/1": 3, "test/1": 2, "test/4": 2}))
    assert evaluate(model, folder).metrics.num_photos == 7
    scored = evaluate(model, folder, split="test")
    assert (scored.split, scored.metrics.num_photos) == ("test", 4)
    with pytest.raises(InputError, match="no validation photo. Its own splits are test, train"):
        evaluate(model, folder, split="validation")
    with pytest.raises(InputError, match="It has no splits of its own"):
        evaluate(model, "digits", split="train")
    with pytest.raises(InputError, match=r"unknown split 'tst'\. Did you mean 'test'"):
        evaluate(model, folder, split="tst")


def test_few_unreadable_photos_are_skipped_by_name_and_many_are_an_error(model: RunModel, photo_folder: Folder) -> None:
    folder = photo_folder({"1": 30})
    (folder / "1" / "torn.png").write_bytes(b"torn")
    scored = evaluate(model, str(folder))
    assert scored.metrics.num_photos == 30
    assert [(photo.id, photo.reason) for photo in scored.skipped] == [
        ("1/torn.png", "no image of a format that Pillow reads")
    ]
    assert any("1 of 31 photos that can't be read: 1/torn.png" in warning for warning in scored.warnings)
    (folder / "1" / "zero.png").touch()
    with pytest.raises(InputError, match=r"2 of 32 photos can't be read, over 5%: .*torn\.png .*zero\.png"):
        evaluate(model, str(folder))


def test_nothing_but_photos_that_were_learned_from_is_an_error_that_says_so(
    model: RunModel, tmp_path: Path, photo_folder: Folder, tiny_backbone: Path
) -> None:
    from tledge.stages import export
    from tledge.training.build import build

    folder = photo_folder({"cat": 30, "dog": 30})
    run = build(str(folder), backbone=str(tiny_backbone), run="pets", artifacts=tmp_path / "artifacts")
    export(run, ["tflite-float32"])
    pets = open_model(run, format_name="tflite-float32")
    elsewhere = tmp_path / "elsewhere"
    for photo_id in load_split(run, "train", Silent()).ids:
        (elsewhere / photo_id).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / photo_id, elsewhere / photo_id)
    with pytest.raises(InputError, match=r"nothing but \d+ photos that run pets was trained on"):
        evaluate(pets, str(elsewhere))
    new = photo_folder({"cat": 1}, "new", first_seed=1000) / "cat" / "000.png"
    shutil.copy(new, elsewhere / "cat" / "new.png")
    assert evaluate(pets, str(elsewhere)).metrics.num_photos == 1


def test_a_folder_without_photos_is_an_error(model: RunModel, tmp_path: Path) -> None:
    (tmp_path / "photos" / "1").mkdir(parents=True)
    with pytest.raises(InputError, match="no photos in it"):
        evaluate(model, str(tmp_path / "photos"))


@pytest.fixture
def enlarged(tmp_path: Path) -> Path:
    """The digits as another program would have them: larger, and JPEG files."""
    for photo in open_source("digits").photos():
        path = tmp_path / "enlarged" / str(photo.label) / f"{photo.id.replace('/', '-')}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.data).resize((96, 96), Image.Resampling.BILINEAR).save(path, quality=90)
    return tmp_path / "enlarged"


def test_photos_that_were_learned_from_are_left_out_and_named_when_they_come_encoded_and_resized_again(
    model: RunModel, enlarged: Path
) -> None:
    counts = {name: split.num_photos for name, split in model.run.manifest.splits.items()}
    scored = evaluate(model, str(enlarged))
    assert scored.metrics.num_photos == counts["test"]
    assert scored.own_photos == {}
    assert Counter(copy.split for copy in scored.near_copies) == counts
    assert all(Path(copy.id).stem == copy.of.replace("/", "-") for copy in scored.near_copies)
    left_out, named, of_test = scored.warnings
    assert f"left out {counts['train']:,} photos that run digits was trained on and {counts['validation']}" in left_out
    assert f"{counts['train'] + counts['validation']} of these are no files of the run, but its photos" in named
    assert "0/digits-0000.jpg (of digits/0000)" in named
    assert (
        f"{counts['test']} of the {counts['test']} photos scored are of the test split of run digits itself" in of_test
    )
    with_seen = evaluate(model, str(enlarged), include_seen=True)
    assert with_seen.metrics.num_photos == 1797
    assert "the accuracy says little of new photos" in with_seen.warnings[0]


def test_nothing_but_near_copies_of_what_was_learned_from_is_an_error(model: RunModel, enlarged: Path) -> None:
    for member in members(model.run, "test"):
        (path,) = enlarged.glob(f"*/{member.id.replace('/', '-')}.jpg")
        path.unlink()
    with pytest.raises(InputError, match=r"nothing but [\d,]+ photos that run digits was trained on"):
        evaluate(model, str(enlarged))


@pytest.mark.long
def test_a_run_of_an_earlier_tledge_makes_its_fingerprints_of_the_pixels(lenet_copy: Run, enlarged: Path) -> None:
    old = _without_fingerprints(lenet_copy, lenet_copy.manifest.dataset.spec)
    scored = evaluate(open_model(old), str(enlarged))
    assert scored.metrics.num_photos == old.manifest.splits["test"].num_photos


@pytest.mark.long
def test_a_run_without_fingerprints_whose_photos_are_gone_says_that_near_copies_are_not_known(
    lenet_copy: Run, photo_folder: Folder, empty_cache: Path
) -> None:
    old = _without_fingerprints(lenet_copy, "/nonexistent/photos")
    scored = evaluate(open_model(old), str(photo_folder({"1": 3})))
    assert scored.metrics.num_photos == 3
    assert any(
        "run lenet holds no fingerprints of its photos, and they can't be made" in one for one in scored.warnings
    )


def _without_fingerprints(run: Run, spec: str) -> Run:
    (run.folder / "fingerprints.npy").unlink()
    manifest = run.manifest
    files = {name: sha256 for name, sha256 in manifest.files_sha256.items() if name != "fingerprints.npy"}
    dataset = manifest.dataset.model_copy(update={"spec": spec})
    manifest.model_copy(update={"files_sha256": files, "dataset": dataset}).save(run.folder / "manifest.json")
    return open_run(run.folder.parent, run.name)


def test_damaged_pixels_are_read_again_from_the_photos_and_told(
    model: RunModel, photo_folder: Folder, empty_cache: Path
) -> None:
    folder = photo_folder({"1": 30, "2": 30})
    prepare_dataset(open_source(str(folder)), model.input_size, 0, Silent())
    expected = evaluate(model, str(folder))
    (path,) = empty_cache.glob("pixels-v*/**/*.rows")
    path.write_bytes(bytes(path.stat().st_size))
    found = evaluate(model, str(folder))
    assert found.metrics == expected.metrics
    assert set(found.warnings) - set(expected.warnings) == {"60 photos were damaged in the cache: read again"}
    assert evaluate(model, str(folder)) == expected
