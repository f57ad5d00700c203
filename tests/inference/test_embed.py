"""Features that are written are the network's own activations, and the file says what they were made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyarrow import parquet

from tledge.backbones import Backbone, open_backbone
from tledge.classifier import of_run
from tledge.classifier.network import HeadShape, classifier, load_network, set_head
from tledge.datasets import open_source
from tledge.errors import ArtifactError, InputError
from tledge.inference import embed as embed_module
from tledge.inference.embed import Embedding, embed
from tledge.preprocessing import prepare_photo
from tledge.progress import Silent
from tledge.run import Run, open_run, tree_hashes
from tledge.training import saved_model
from tledge.training.build import build
from tledge.training.recipe import RECIPES

Folder = Callable[..., Path]
Floats = npt.NDArray[np.float32]


@pytest.fixture
def digits(photo_folder: Folder) -> Path:
    """Six pictures whose classes the run need not know."""
    return photo_folder({"cat": 4, "dog": 2})


@pytest.fixture(scope="module")
def network_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """LeNet, trained for one epoch."""
    recipe = RECIPES["scratch"].model_copy(update={"max_epochs": 1, "batch_size": 512})
    return build("digits", backbone="lenet", recipe=recipe, run="lenet", artifacts=tmp_path_factory.mktemp("runs"))


def _pixels(folder: Path, size: int) -> npt.NDArray[np.uint8]:
    photos = [prepare_photo(path.read_bytes(), size).pixels for path in sorted(folder.rglob("*.png"))]
    return np.stack(photos)


def _called(model: Any, layer: str, photos: npt.NDArray[np.uint8]) -> Floats:
    """The layer's output by a plain call of a Keras model, flattened."""
    import tf_keras

    upto = tf_keras.Model(model.input, model.get_layer(layer).output)
    return np.asarray(upto(photos.astype(np.float32) / 255, training=False)).reshape(len(photos), -1)


def _read(path: Path) -> tuple[list[str], Floats, dict[str, Any]]:
    """Ids, vectors and record of a Parquet file."""
    table = parquet.read_table(path)
    vectors = np.stack(table["vector"].to_numpy())
    return table["id"].to_pylist(), vectors, json.loads(parquet.read_metadata(path).metadata[b"tledge"])


def test_features_are_what_the_backbone_gives_the_head(
    built: Run, bundled: tuple[Backbone, Backbone], digits: Path, tmp_path: Path
) -> None:
    made = embed(built, str(digits), tmp_path / "f.parquet")
    ids, vectors, record = _read(tmp_path / "f.parquet")
    assert ids == [path.relative_to(digits).as_posix() for path in sorted(digits.rglob("*.png"))]
    photos = _pixels(digits, bundled[0].input_size)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - bundled[0].features_of_pixels(photos).numpy()).max() <= 1e-5
    assert Embedding.model_validate(record) == made
    assert (made.run, made.manifest_sha256) == ("digits", built.manifest_sha256)
    assert (made.num_photos, made.shape, made.dim) == (6, [1280], 1280)


def test_any_layer_of_a_hub_module_is_read_by_its_name_and_flattened(
    built: Run, bundled: tuple[Backbone, Backbone], digits: Path, tmp_path: Path
) -> None:
    made = embed(built, str(digits), tmp_path / "f.parquet", layer="block_12_add")
    _, vectors, record = _read(tmp_path / "f.parquet")
    photos = _pixels(digits, 64)
    assert np.abs(vectors - _called(bundled[1].graph, "block_12_add", photos)).max() <= 1e-5
    assert record["layer"] == "block_12_add"
    assert record["shape"] == made.shape == [4, 4, 32]
    assert vectors.shape == (6, 512)


@pytest.mark.long
def test_the_heads_own_layers_hold_what_was_trained(built: Run, digits: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    embed(built, str(digits), tmp_path / "f.parquet", layer="logits")
    served = tf.saved_model.load(str(built.folder / "model")).signatures["serving_default"]
    expected = served(tf.constant(_pixels(digits, 64)))["logits"].numpy()
    assert np.abs(_read(tmp_path / "f.parquet")[1] - expected).max() <= 1e-4 * np.ptp(expected)  # a transplanted graph


@pytest.fixture
def plain_run(photo_folder: Folder, tiny_backbone: Path, tmp_path: Path) -> Run:
    """A run as tledge 0.1 wrote it by recipe ``tutorial``: a frozen backbone and its head, saved as one network."""
    root = tmp_path / "artifacts"
    built = build(str(photo_folder({"cat": 30, "dog": 30})), backbone=str(tiny_backbone), run="pets", artifacts=root)
    network = classifier(open_backbone(str(tiny_backbone)), HeadShape.of("linear", 2, 0), seed=0, keeps_statistics=True)
    set_head(network, of_run._head_layers(built, 1))
    shutil.rmtree(built.folder / "model")
    saved_model.save(saved_model.of_network(network, built.manifest.backbone.input_size), built.folder / "model")
    hashes = {name: value for name, value in tree_hashes(built.folder).items() if name != "manifest.json"}
    recipe = {**built.manifest.recipe, "name": "tutorial", "method": "plain"}
    built.manifest.model_copy(update={"recipe": recipe, "files_sha256": hashes}).save(built.folder / "manifest.json")
    return open_run(root, "pets")


@pytest.mark.long
def test_a_head_that_an_earlier_recipe_saved_with_its_opaque_backbone_is_read(
    plain_run: Run, photo_folder: Folder, tiny_backbone: Path, tmp_path: Path
) -> None:
    import tensorflow as tf

    some = photo_folder({"cat": 3}, "some")
    photos = _pixels(some, 16)
    embed(plain_run, str(some), tmp_path / "f.parquet")
    expected = open_backbone(str(tiny_backbone)).features_of_pixels(photos).numpy()
    assert np.abs(_read(tmp_path / "f.parquet")[1] - expected).max() <= 1e-5
    ((kernel, bias),) = of_run._head_layers(plain_run, 1)
    assert not np.allclose(kernel, 0)
    logits = expected @ kernel + bias
    served = tf.saved_model.load(str(plain_run.folder / "model")).signatures["serving_default"]
    assert np.abs(served(tf.constant(photos))["logits"].numpy() - logits).max() <= 1e-5
    with pytest.raises(InputError, match="can't be taken apart into layers"):
        embed(plain_run, str(some), tmp_path / "g.parquet", layer="Conv1")


@pytest.mark.parametrize("layer", [None, "logits"])
def test_a_trained_network_is_read_as_it_was_trained(
    network_run: Run, digits: Path, tmp_path: Path, layer: str | None
) -> None:
    made = embed(network_run, str(digits), tmp_path / "f.parquet", layer=layer)
    network = load_network(network_run.folder / "network")
    photos = _pixels(digits, network_run.manifest.backbone.input_size)
    assert np.abs(_read(tmp_path / "f.parquet")[1] - _called(network, made.layer, photos)).max() <= 1e-5
    if layer is None:
        (reads,) = network.get_layer("dropout").inbound_nodes[0].parent_nodes
        assert made.layer == reads.layer.name


def test_a_layer_that_nobody_knows_names_the_nearest(network_run: Run, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown layer 'logit'\. Did you mean 'logits'"):
        embed(network_run, str(digits), tmp_path / "f.parquet", layer="logit")
    assert not (tmp_path / "f.parquet").exists()


def test_every_kind_of_file_holds_the_same(
    network_run: Run, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_module, "_BLOCK_BYTES", 1)  # a block a photo
    made = [embed(network_run, str(digits), tmp_path / f"f.{kind}") for kind in ("parquet", "npy", "npz")]
    assert made[0] == made[1] == made[2]
    ids, vectors, record = _read(tmp_path / "f.parquet")
    assert parquet.read_metadata(tmp_path / "f.parquet").num_row_groups == 6
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["id", "label", "content_sha256", "vector"]
    assert table["label"].to_pylist() == ["cat"] * 4 + ["dog"] * 2
    npy, beside = np.load(tmp_path / "f.npy"), json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))
    assert npy.dtype == np.float32
    assert np.array_equal(npy, vectors)
    with np.load(tmp_path / "f.npz", allow_pickle=False) as npz:
        assert np.array_equal(npz["vectors"], vectors)
        assert json.loads(str(npz["tledge"])) == beside["tledge"] == record
        for name in ("ids", "labels", "content_sha256"):
            assert npz[name].tolist() == beside[name]
    assert beside["ids"] == ids
    assert beside["content_sha256"] == table["content_sha256"].to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.json", "f.npy", "f.npz", "f.parquet", "photos"]


def test_the_blocks_do_not_change_the_vectors(
    network_run: Run, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(network_run, str(digits), tmp_path / "whole.npy")
    monkeypatch.setattr(embed_module, "_BLOCK_BYTES", 20_000)
    monkeypatch.setattr(embed_module, "_BATCH", 2)
    embed(network_run, str(digits), tmp_path / "parts.npy")
    assert np.abs(np.load(tmp_path / "whole.npy") - np.load(tmp_path / "parts.npy")).max() <= 1e-5


def test_the_photos_are_named_by_the_data_sets_fingerprint(network_run: Run, tmp_path: Path) -> None:
    made = embed(network_run, "digits", tmp_path / "f.npy")
    assert made.photos_sha256 == network_run.manifest.dataset.fingerprint_sha256
    assert made.num_photos == open_source("digits").num_photos


def test_a_split_of_the_source_is_written_alone(network_run: Run, photo_folder: Folder, tmp_path: Path) -> None:
    folder = str(photo_folder({"train/cat": 3, "test/cat": 2}))
    assert embed(network_run, folder, tmp_path / "f.npy", split="test").num_photos == 2
    with pytest.raises(InputError, match="no validation photo. Its own splits are test, train"):
        embed(network_run, folder, tmp_path / "g.npy", split="validation")
    assert not (tmp_path / "g.npy").exists()


def test_few_unreadable_photos_are_skipped_by_name_and_many_leave_no_file(
    network_run: Run, photo_folder: Folder, tmp_path: Path
) -> None:
    folder, progress = photo_folder({"cat": 30}), Silent()
    (folder / "cat" / "torn.png").write_bytes(b"torn")
    made = embed(network_run, str(folder), tmp_path / "f.npy", progress=progress)
    assert (made.num_photos, [photo.id for photo in made.skipped]) == (30, ["cat/torn.png"])
    assert "1 of 31 photos that can't be read: cat/torn.png" in progress.warnings[0]
    (folder / "cat" / "zero.png").touch()
    with pytest.raises(InputError, match="2 of 32 photos can't be read, over 5%"):
        embed(network_run, str(folder), tmp_path / "g.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.json", "f.npy", "photos"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("f.csv", r"unknown kind of file '\.csv'.*\.npy, \.npz, \.parquet"),
        ("nowhere/f.npy", "there is no folder .*nowhere. Make it first"),
        ("taken.parquet", "taken.parquet is there already"),
        ("taken.npy", "taken.json is there already"),
    ],
)
def test_a_file_that_can_not_be_written_is_an_error_before_any_work(
    network_run: Run, digits: Path, tmp_path: Path, name: str, problem: str
) -> None:
    for taken in ("taken.parquet", "taken.json"):
        (tmp_path / taken).write_text("mine")
    with pytest.raises(InputError, match=problem):
        embed(network_run, str(digits), tmp_path / name)
    assert (tmp_path / "taken.parquet").read_text() == "mine"


@pytest.mark.long
def test_another_backbone_of_the_same_name_is_refused(
    photo_folder: Folder, save_module: Callable[..., Path], tmp_path: Path
) -> None:
    import shutil

    import tensorflow as tf

    def pooled(factor: float) -> Path:
        return save_module(lambda pixels: factor * tf.reshape(tf.nn.avg_pool2d(pixels, 4, 4, "VALID"), (-1, 48)))

    folder, module = photo_folder({"cat": 30, "dog": 30}), tmp_path / "module"
    shutil.copytree(pooled(1.0), module)
    run = build(str(folder), backbone=str(module), run="pets", artifacts=tmp_path / "artifacts")
    shutil.rmtree(module)
    shutil.copytree(pooled(2.0), module)
    with pytest.raises(ArtifactError, match="not the one that run pets was built on"):
        embed(run, str(folder), tmp_path / "f.npy")


def test_the_command_says_what_it_wrote(
    tledge: Callable[..., Any], network_run: Run, digits: Path, tmp_path: Path
) -> None:
    options = ["--dataset", digits, "--artifacts", network_run.folder.parent]
    outcome = tledge("embed", *options, "--out", tmp_path / "f.npy")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("run lenet, layer ")
    assert ": 6 photos of photos, 84 numbers each (84); " in outcome.out
    outcome = tledge("embed", *options, "--out", tmp_path / "g.npy", "--json")
    assert json.loads(outcome.out)["dim"] == 84
    outcome = tledge("embed", *options, "--out", tmp_path / "f.npy")
    assert outcome.code == 2
    assert "is there already" in outcome.err


@pytest.mark.parametrize("kind", ["parquet", "npy", "npz"])
def test_a_full_disk_leaves_no_part_of_a_file(
    tledge: Callable[..., Any], network_run: Run, small_disk: Callable[[int], Path], kind: str
) -> None:
    disk = small_disk(100_000)
    options = ["--dataset", "digits", "--artifacts", network_run.folder.parent]
    outcome = tledge("embed", *options, "--out", disk / f"f.{kind}")
    assert outcome.code == 3, outcome.err
    assert "no space left on the disk" in outcome.err
    assert list(disk.iterdir()) == []
