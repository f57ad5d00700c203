"""Which photos set the ranges, and that they are never test photos."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_models import with_files

from tledge.datasets.own_photos import fingerprints_of
from tledge.datasets.run_photos import Member, load_split
from tledge.errors import ArtifactError, InputError
from tledge.exporters.representative import (
    DEFAULT_SAMPLES,
    choose_apart,
    choose_representative,
    pin_input_range,
    record,
)
from tledge.progress import Silent
from tledge.records import ExportRecord
from tledge.run import Run

KEYS = [hashlib.sha256(str(number).encode()).digest() for number in range(300)]
LABELS = np.array([0] * 200 + [1] * 90 + [2] * 10, np.int64)


def test_classes_are_as_even_as_their_photos_allow() -> None:
    assert np.bincount(LABELS[choose_representative(KEYS, LABELS, 30, 0)]).tolist() == [10, 10, 10]
    assert np.bincount(LABELS[choose_representative(KEYS, LABELS, 100, 0)]).tolist() == [45, 45, 10]
    assert sorted(np.bincount(LABELS[choose_representative(KEYS, LABELS, 10, 0)]).tolist()) == [3, 3, 4]


def test_no_photo_is_taken_twice_and_all_are_taken_where_there_are_fewer() -> None:
    assert len(set(choose_representative(KEYS, LABELS, 100, 0).tolist())) == 100
    assert choose_representative(KEYS, LABELS, 10_000, 0).tolist() == list(range(300))


def test_the_choice_follows_from_seed_and_content_and_not_from_the_order_of_files() -> None:
    rows = choose_representative(KEYS, LABELS, 30, 7)
    assert rows.tolist() == choose_representative(KEYS, LABELS, 30, 7).tolist()
    assert rows.tolist() != choose_representative(KEYS, LABELS, 30, 8).tolist()
    order = np.random.default_rng(0).permutation(300)
    shuffled = choose_representative([KEYS[i] for i in order], LABELS[order], 30, 7)
    assert {KEYS[order[row]] for row in shuffled} == {KEYS[row] for row in rows}


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_than_one_sample_is_an_error_that_names_the_option(count: int) -> None:
    with pytest.raises(InputError, match="--calibration-samples"):
        choose_representative(KEYS, LABELS, count, 0)


def test_a_calibration_photo_that_is_also_a_test_photo_is_refused() -> None:
    with pytest.raises(InputError, match="1 calibration photos are in the test split"):
        record(["a", "b"], KEYS[:2], LABELS[:2], ["x", "y", "z"], 0, [Member("b", KEYS[1], 0), Member("j", KEYS[9], 1)])


def test_no_near_copy_of_a_test_photo_is_calibrated_on(lenet: Run) -> None:
    test, train = (fingerprints_of(lenet, split, Silent()) for split in ("test", "train"))
    photos, seed = load_split(lenet, "train", Silent()), lenet.manifest.seed
    usual = choose_apart(photos, 50, seed, train, test)
    assert usual.rows.tolist() == choose_representative(photos.content_sha256, photos.labels, 50, seed).tolist()
    assert (usual.num_copies, usual.num_alike) == (0, 0)
    copied = usual.rows[:3]
    others = choose_apart(photos, 50, seed, train, np.concatenate([test, train[copied]]))
    assert len(others.rows) == 50
    assert not set(copied.tolist()) & set(others.rows.tolist())
    assert (others.num_copies, others.num_alike) == (3, 0)


def test_fingerprints_of_other_photos_are_refused(lenet_copy: Run) -> None:
    shorter = io.BytesIO()
    np.save(shorter, np.load(lenet_copy.folder / "fingerprints.npy")[1:])
    run = with_files(lenet_copy, {"fingerprints.npy": shorter.getvalue()})
    with pytest.raises(
        ArtifactError, match=r"fingerprints.npy: uint8 \(1796, 256\) are not of its photos. Build the run again"
    ):
        fingerprints_of(run, "test", Silent())


def test_the_record_names_the_test_split_that_the_photos_were_compared_with(
    exported: tuple[Run, dict[str, ExportRecord]],
) -> None:
    run, records = exported
    calibration, test = records["tflite-int8"].calibration, run.manifest.splits["test"]
    assert calibration
    assert (calibration.test_num_photos, calibration.test_sha256) == (test.num_photos, test.sha256)


def test_pinning_changes_two_pixels_of_a_copy() -> None:
    pixels = np.full((3, 8, 8, 3), 100, np.uint8)
    pinned = pin_input_range(pixels)
    assert (pixels == 100).all()
    assert (pinned.min(), pinned.max()) == (0, 255)
    assert int((pinned != pixels).any(axis=-1).sum()) == 2


def test_the_default_export_calibrates_on_200_training_photos_even_by_class(
    exported: tuple[Run, dict[str, ExportRecord]],
) -> None:
    run, records = exported
    calibrated = [made for made in records.values() if made.calibration]
    train, test = (load_split(run, split, Silent()) for split in ("train", "test"))
    for made in calibrated:
        assert made.calibration is not None
        keys = made.calibration.content_sha256
        assert made.calibration.num_samples == len(keys) == len(set(keys)) == DEFAULT_SAMPLES == 200
        assert set(keys) <= {key.hex() for key in train.content_sha256}
        assert not set(keys) & {key.hex() for key in test.content_sha256}
        assert set(made.calibration.ids) <= set(train.ids)
        assert set(made.calibration.class_counts.values()) == {20}
    assert calibrated


def test_a_pixel_byte_is_the_code_of_what_the_network_takes(exported: tuple[Run, dict[str, ExportRecord]]) -> None:
    for made in exported[1].values():
        if made.promise == "all-integer":
            (pixels,) = made.audit.inputs
            assert pixels.scale is not None
            # The bundled network takes [-1, 1].
            assert (pixels.scale, pixels.zero_point) == (pytest.approx(2 / 255), 127)
            assert (made.options["input_scale"], made.options["input_zero_point"]) == (pytest.approx(2 / 255), 127)


def test_of_an_opaque_backbone_a_pixel_byte_stands_for_itself_and_weights_are_not_fitted(
    small_run: Run, tledge: Callable[..., Any]
) -> None:
    ended = tledge("export", "--format", "tflite-int8", "--artifacts", small_run.folder.parent)
    assert ended.code == 0
    assert "int8 weights are rounded as they are, not fitted: backbone" in " ".join(ended.err.split())
    made = small_run.exports()["tflite-int8"]
    (pixels,) = made.audit.inputs
    assert (pixels.scale, pixels.zero_point) == (1.0, 0)
    assert made.options["fitting"].startswith("none: ")


def test_zero_samples_on_the_command_line_is_exit_code_2(run_copy: Run, tledge: Callable[..., Any]) -> None:
    root, before = run_copy.folder.parent, set(run_copy.exports())
    ended = tledge("export", "--format", "tflite-int8", "--calibration-samples", "0", "--artifacts", root)
    assert ended.code == 2
    assert "--calibration-samples 0" in ended.err
    assert set(run_copy.exports()) == before


def test_more_samples_than_photos_takes_all_of_them_and_says_so(small_run: Run, tledge: Callable[..., Any]) -> None:
    ended = tledge("export", "--format", "tflite-int8", "--artifacts", small_run.folder.parent)
    assert ended.code == 0
    photos = small_run.manifest.splits["train"].num_photos
    assert f"calibrating on all {photos} training photos: 200 were asked for" in " ".join(ended.err.split())
    calibration = small_run.exports()["tflite-int8"].calibration
    assert calibration is not None
    assert calibration.num_samples == photos
