"""A classifier that another program trained becomes a run like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tledge.datasets.run_photos import members
from tledge.errors import InputError
from tledge.importing.stage import import_model
from tledge.progress import Silent
from tledge.run import Run, open_run
from tledge.stages import export, verify
from tledge.verification.measurement import Wanted

from .small_classifiers import digits, save_all

NAMES = ["model.keras", "model.onnx", "plain", "model.h5", "keras"]
FILES = [pytest.param(one, marks=pytest.mark.long) if one in ("model.h5", "keras") else one for one in NAMES]
Imported = Callable[[str], Run]


@pytest.fixture(scope="session")
def models(once: Callable[..., Path]) -> Path:
    """A folder with one trained classifier in every kind of file."""
    return once("foreign-models", save_all)


@pytest.fixture(scope="session")
def imported(models: Path, once: Callable[..., Path]) -> Imported:
    """The run of a file, imported once. Read only."""

    def run(file: str) -> Run:
        made = once(
            f"imported-{file}", lambda folder: import_model(str(models / file), "digits", run="one", artifacts=folder)
        )
        return open_run(made, "one")

    return run


@pytest.mark.parametrize("file", FILES)
def test_the_reference_is_what_the_models_own_framework_answers(imported: Imported, models: Path, file: str) -> None:
    import tensorflow as tf
    import tf_keras

    run = imported(file)
    pixels, labels = digits()
    rows = [int(one.id.partition("/")[2]) for one in members(run, "test")]
    expected = tf_keras.models.load_model(models / "model.h5", compile=False)(pixels[rows], training=False).numpy()
    with np.load(run.folder / "reference.npz", allow_pickle=False) as stored:
        np.testing.assert_allclose(tf.nn.softmax(stored["logits"]).numpy(), expected, atol=2e-6)
        np.testing.assert_array_equal(stored["labels"], labels[rows])
    assert run.manifest.metrics["test"].accuracy == pytest.approx(float(np.mean(expected.argmax(1) == labels[rows])))


@pytest.mark.parametrize("file", FILES)
def test_what_was_found_and_from_what_is_in_the_manifest(imported: Imported, file: str) -> None:
    manifest = imported(file).manifest
    found = manifest.imported
    assert found is not None
    assert (found.file, found.training_photos) == (file, "unknown")
    assert "size=8 resize=" in found.preparation
    assert "scale=0..255" in found.preparation
    assert found.trials[0].log_loss == min(one.log_loss for one in found.trials)
    assert found.max_abs_difference <= 1e-4 * found.output_range
    assert (found.layers_unknown is None) == (file != "plain")
    framework = {"model.onnx": "onnxruntime", "model.keras": "keras", "plain": "tensorflow"}.get(file, "tf_keras")
    assert found.framework.split()[0] == framework
    assert manifest.recipe["method"] == "import"


@pytest.mark.parametrize(
    "file", [pytest.param(one, marks=pytest.mark.long) if one != "model.keras" else one for one in NAMES]
)
def test_an_imported_run_is_exported_and_verified_as_any_other(imported: Imported, tmp_path: Path, file: str) -> None:
    shutil.copytree(imported(file).folder, tmp_path / "one")
    run = open_run(tmp_path, "one")
    records = {record.format: record for record in export(run, ["tflite-float32", "onnx-float32", "tflite-int8"])}
    is_fitted = not str(records["tflite-int8"].options["fitting"]).startswith("none")
    assert is_fitted == (file != "plain")
    report = verify(run, wanted=Wanted(accuracy_only=True))
    drifts = {row.format: row.drift for row in report.rows}
    for row in report.rows:
        assert row.drift is not None
        assert row.verdict != "failed", row
    for name in ("tflite-float32", "onnx-float32"):
        drift = drifts[name]
        assert drift is not None
        assert drift.agreement == 1.0
    assert any("trained elsewhere" in warning for warning in report.warnings)


def test_a_format_that_trains_is_refused_for_a_model_whose_layers_are_not_known(imported: Imported) -> None:
    with pytest.raises(
        InputError, match="the layers of the imported model plain are not known: a SavedModel without Keras"
    ):
        export(imported("plain"), ["tflite-int8-qat"])


@pytest.mark.long
def test_a_format_that_trains_is_made_of_a_model_whose_layers_are_known(imported: Imported, tmp_path: Path) -> None:
    from tledge.exporters.options import Options

    shutil.copytree(imported("model.onnx").folder, tmp_path / "one")
    (record,) = export(open_run(tmp_path, "one"), ["tflite-int8-qat"], options=Options(epochs=1))
    assert record.options["epochs"] == 1


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_keras_model_with_a_layer_that_is_not_known_is_imported_as_one_opaque_function(
    models: Path, imported: Imported, tmp_path: Path
) -> None:
    import tf_keras

    whole = tf_keras.models.load_model(models / "model.h5", compile=False)
    inputs = tf_keras.Input((8, 8, 3))
    padded = tf_keras.layers.ZeroPadding2D(2)(inputs)
    cropped = tf_keras.layers.Cropping2D(2)(padded)
    tf_keras.Model(inputs, whole(cropped)).save(tmp_path / "cropped.h5")
    warned: list[str] = []

    class Told(Silent):
        def warn(self, message: str) -> None:
            warned.append(message)

    run = import_model(str(tmp_path / "cropped.h5"), "digits", run="one", artifacts=tmp_path, progress=Told())
    assert run.manifest.metrics["test"] == imported("model.h5").manifest.metrics["test"]
    assert run.manifest.imported is not None
    assert "Cropping2D" in (run.manifest.imported.layers_unknown or "")
    assert any("the model's layers are not known" in one for one in warned)
    export(run, ["tflite-float32", "tflite-int8", "onnx-float32"])
    rows = verify(run, wanted=Wanted(accuracy_only=True)).rows
    assert [row.verdict for row in rows].count("failed") == 0


def test_photos_that_it_was_trained_on_are_kept_out_of_the_test_split(
    models: Path, imported: Imported, tmp_path: Path
) -> None:
    before = {one.content_sha256 for one in members(imported("model.onnx"), "test")}
    known = sorted(before)[:40]
    table = tmp_path / "trained.csv"
    table.write_text("content_sha256\n" + "\n".join(one.hex() for one in known) + "\n")
    run = import_model(str(models / "model.onnx"), "digits", trained_on=str(table), run="apart", artifacts=tmp_path)
    assert {one.content_sha256 for one in members(run, "test")} == before - set(known)
    assert set(known) <= {one.content_sha256 for one in members(run, "train")}
    assert run.manifest.imported is not None
    assert run.manifest.imported.training_photos == "known"


def test_photos_of_a_folder_are_known_when_they_come_as_other_files(
    models: Path, imported: Imported, tmp_path: Path
) -> None:
    from PIL import Image

    pixels, _ = digits()
    rows = [int(one.id.partition("/")[2]) for one in members(imported("model.onnx"), "test")][:5]
    (tmp_path / "trained").mkdir()
    for row in rows:
        Image.fromarray(pixels[row].astype(np.uint8)).save(tmp_path / "trained" / f"{row}.png")
    run = import_model(
        str(models / "model.onnx"), "digits", trained_on=str(tmp_path / "trained"), run="apart", artifacts=tmp_path
    )
    left = {int(one.id.partition("/")[2]) for one in members(run, "test")}
    assert not left & set(rows)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "No such file"),
        ("", "names no photo"),
        ("id\nphoto\n", "no column content_sha256"),
        ("content_sha256\nxyz\n", "neither a folder of photos nor a table"),
        ("content_sha256\n", "names no photo"),
    ],
)
def test_a_table_of_trained_photos_that_can_not_be_read_is_named(
    models: Path, tmp_path: Path, written: str | None, said: str
) -> None:
    table = tmp_path / "trained.csv"
    if written is not None:
        table.write_text(written)
    with pytest.raises(InputError, match=f"trained.csv.*{said}|{said}.*trained.csv"):
        import_model(str(models / "model.onnx"), "digits", trained_on=str(table), artifacts=tmp_path)
    assert not list(tmp_path.glob("*/manifest.json"))


def test_labels_may_be_named_in_a_file_as_teachable_machine_writes_it(models: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("".join(f"{number} {number}\n" for number in range(10)))
    run = import_model(
        str(models / "model.onnx"), "digits", labels=str(tmp_path / "labels.txt"),
        prepare="resize=squeeze scale=0..255 order=rgb", run="named", artifacts=tmp_path,
    )  # fmt: skip
    assert run.manifest.labels == [str(number) for number in range(10)]
    assert run.manifest.imported is not None
    assert run.manifest.imported.class_order == "that of --labels"
    assert len(run.manifest.imported.trials) == 1


def test_the_command_prints_the_run_and_asks_for_what_it_can_not_take(
    tledge: Callable[..., Any], models: Path, tmp_path: Path
) -> None:
    made = tledge(
        "import", models / "model.onnx", "--dataset", "digits", "--run", "one", "--artifacts", tmp_path, "--json",
        "--prepare", "scale=0..255 order=rgb resize=squeeze",
    )  # fmt: skip
    assert made.code == 0, made.err
    told = json.loads(made.out)
    assert told["manifest"]["imported"]["file"] == "model.onnx"
    assert "trained elsewhere" in told["warnings"][0]
    wrong = tledge(
        "import", models / "model.onnx", "--dataset", "digits", "--prepare", "scale=0..1", "--artifacts", tmp_path
    )
    assert wrong.code == 2
    pickled = tmp_path / "model.pth"
    pickled.write_bytes(b"\x80\x04K\x01.")
    refused = tledge("import", pickled, "--dataset", "digits", "--artifacts", tmp_path)
    assert refused.code == 2
    assert "is a pickle" in refused.err
    assert "torch.onnx.export" in refused.err


def test_files_are_judged_against_a_model_without_a_run(
    tledge: Callable[..., Any], models: Path, imported: Imported, tmp_path: Path, empty_cache: Path
) -> None:
    run = imported("model.keras")
    shutil.copytree(run.folder, tmp_path / "one")
    (record,) = export(open_run(tmp_path, "one"), ["tflite-float32"])
    theirs = tmp_path / "theirs.tflite"
    shutil.copy(tmp_path / "one" / "exports" / "tflite-float32" / record.file, theirs)
    asked = ("verify", "--file", theirs, "--against", models / "model.keras", "--accuracy-only")
    judged = tledge(*asked, "--dataset", "digits", "--json")
    assert judged.code == 0, judged.err
    (row,) = json.loads(judged.out)["rows"]
    assert row["drift"]["agreement"] == 1.0
    assert len(list((empty_cache / "references").glob("*/verification/report.html"))) == 1
    again = tledge(*asked, "--dataset", "digits", "--json")
    assert (again.code, "opening the model" in again.err) == (0, False)
    for more, said in (
        ((), "--against needs --dataset"),
        (("--run", "one", "--dataset", "digits"), "drop --run and --format"),
    ):
        refused = tledge(*asked, *more)
        assert (refused.code, said in refused.err) == (2, True)
    alone = tledge("verify", "--against", models / "model.keras", "--dataset", "digits")
    assert (alone.code, "--against needs --file" in alone.err) == (2, True)
