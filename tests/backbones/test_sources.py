"""The contract of every source of backbones: docs/how-to/add-a-backbone-source.md says what a new one has to hold."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import SIZE, hub_module

from tledge.backbones import DEFAULT, Backbone, Opaque, is_name, is_pretrained, open_backbone, rebuild_flat
from tledge.backbones.opening import source_of, sources
from tledge.backbones.source import BackboneSource
from tledge.errors import ArtifactError, InputError
from tledge.saved_models import load_original
from tledge.training.fit import Head
from tledge.training.saved_model import compose, save

TOLERANCE = 1e-4  # of the range of the features, as for a transplanted backbone
OpenArguments = tuple[str, int | None, str | None]  # handle, input size, weights

# One line a source: what opens in a moment and needs no network. A file or folder is made in the folder that is given.
EXAMPLES: dict[str, Callable[[Path], list[OpenArguments]]] = {
    "hub": lambda folder: [("bundled", None, None), (str(hub_module(folder / "module", lambda x: x)), SIZE, None)],
    "keras_applications": lambda folder: [("keras:MobileNet", 32, "none")],
    "small": lambda folder: [("lenet", None, None), ("alexnet", 63, "none")],
}
HANDLES = [
    DEFAULT, "https://example.org/model.onnx", "http://example.org/lenet", "gs://bucket/keras:VGG16", "",
    ".", "/", "~", "bundled", "Bundled", "lenet", "lenet ", "LeNet", "alexnet", "keras:", "keras:VGG16", "keras:lenet",
    "./lenet", "keras", "keras:/tmp", "folder", "model.onnx", "model.keras", "model.h5", "model.tflite",
    "saved_model.pb", "folder/saved_model.pb", "none", "imagenet",
]  # fmt: skip
SOURCES = pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[OpenArguments]]:
    """The examples of every source that has some."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in EXAMPLES.items()}


@pytest.fixture(scope="module")
def opened(examples: dict[str, list[OpenArguments]]) -> Iterator[dict[str, list[Backbone]]]:
    """Their backbones. Read only."""
    with contextlib.ExitStack() as stack:
        made = {name: [open_backbone(*arguments) for arguments in of_one] for name, of_one in examples.items()}
        for backbone in (one for of_one in made.values() for one in of_one):
            stack.callback(backbone.close)
        yield made


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working directory: files and folders of the names in ``HANDLES``, some of which are names of backbones too."""
    for name in ("folder", "lenet", "bundled", "keras:VGG16"):
        (tmp_path / name).mkdir()
    for name in ("model.onnx", "model.keras", "model.h5", "model.tflite", "saved_model.pb", "folder/saved_model.pb"):
        (tmp_path / name).write_bytes(b"model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _noise(backbone: Backbone, count: int = 3) -> Any:
    size = backbone.input_size
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def test_every_source_has_an_example_here() -> None:
    assert EXAMPLES.keys() == {source.name for source in sources()}, "give each source a line in EXAMPLES"


def test_a_source_is_called_as_its_file_is() -> None:
    import tledge.backbones.sources

    folder = Path(tledge.backbones.sources.__file__).parent
    assert [source.name for source in sources()] == sorted(path.stem for path in folder.glob("[!_]*.py"))


@pytest.mark.usefixtures("files")
def test_no_two_sources_claim_a_handle_alike(examples: dict[str, list[OpenArguments]]) -> None:
    made = [handle for of_one in examples.values() for handle, _, _ in of_one]
    for handle in {*HANDLES, *made, *(name for source in sources() for name in source.names)}:
        claimed = {source.name: source.claims(handle) for source in sources()}
        assert set(claimed.values()) <= {"name", "path", None}, handle
        for claim in ("name", "path"):
            claiming = [name for name, own in claimed.items() if own == claim]
            assert len(claiming) <= 1, f"{handle!r} is claimed as a {claim} by {claiming}"


@pytest.mark.usefixtures("files")
@SOURCES
def test_a_source_opens_its_names_whatever_lies_in_the_folder(source: BackboneSource) -> None:
    for name in source.names:
        assert source_of(name) is source
        assert is_name(name)


@SOURCES
def test_a_source_is_the_one_that_opens_its_examples(
    examples: dict[str, list[OpenArguments]], source: BackboneSource
) -> None:
    assert examples[source.name]
    for handle, _, _ in examples[source.name]:
        assert source_of(handle) is source


@SOURCES
def test_the_error_for_an_unknown_handle_says_what_a_source_takes(source: BackboneSource) -> None:
    assert source.names or source.forms
    with pytest.raises(InputError) as caught:
        open_backbone("no such backbone")
    assert caught.value.exit_code == 2
    for told in (*source.names, *source.forms):
        assert told in str(caught.value)


@SOURCES
def test_what_opens_gives_features_of_the_width_it_says(
    examples: dict[str, list[OpenArguments]], opened: dict[str, list[Backbone]], source: BackboneSource
) -> None:
    for (handle, size, weights), backbone in zip(examples[source.name], opened[source.name], strict=True):
        assert size in (None, backbone.input_size)
        assert backbone.is_pretrained == is_pretrained(handle, weights)
        features = backbone.features(_noise(backbone))
        assert (features.shape, features.dtype) == ((3, backbone.feature_dim), np.float32)
        assert np.isfinite(features).all()
        assert np.ptp(features) > 0
        assert backbone.record().feature_dim == backbone.feature_dim


@SOURCES
def test_the_recorded_handle_opens_the_same_backbone_again(
    examples: dict[str, list[OpenArguments]], opened: dict[str, list[Backbone]], source: BackboneSource
) -> None:
    for (_, _, weights), backbone in zip(examples[source.name], opened[source.name], strict=True):
        recorded = backbone.record()
        assert len(recorded.sha256) == 64
        chosen = weights if source.takes_weights else None  # else the handle alone says which
        again = open_backbone(recorded.handle, recorded.input_size, chosen)
        assert again.record() == recorded
        again.close()


@SOURCES
def test_a_backbone_is_flat_or_says_why_not(opened: dict[str, list[Backbone]], source: BackboneSource) -> None:
    import tf_keras

    for backbone in opened[source.name]:
        pixels = _noise(backbone)
        flat = backbone.flat(pixels)
        if isinstance(flat, Opaque):
            assert repr(backbone.handle) in flat.reason, "the reason is a sentence that names the backbone"
            assert backbone.graph is backbone.structure is None
            continue
        layers = flat.graph.layers
        assert not [layer for layer in layers if isinstance(layer, tf_keras.Model | tf_keras.layers.Lambda)]
        weights = [weight.name for weight in flat.graph.weights]
        assert len(set(weights)) == len(weights)
        assert flat.record() == backbone.record()
        assert flat.apart is None
        expected = backbone.features(pixels)
        assert np.abs(flat.features(pixels) - expected).max() <= TOLERANCE * np.ptp(expected)


@SOURCES
def test_a_saved_structure_is_built_again_and_answers_alike(
    opened: dict[str, list[Backbone]], source: BackboneSource
) -> None:
    kinds = set()
    for backbone in opened[source.name]:
        flat = backbone.flat(_noise(backbone))
        if isinstance(flat, Opaque):
            continue
        structure = json.loads(json.dumps(flat.structure))
        kinds.add(structure["kind"])
        again = rebuild_flat(structure)
        assert [weight.name for weight in again.weights] == [weight.name for weight in flat.graph.weights]
        again.set_weights(flat.graph.get_weights())
        photos = _noise(backbone).astype(np.float32) / 255
        assert np.array_equal(again(photos, training=False), flat.graph(photos, training=False))
    assert kinds == source.rebuild.keys(), "an example for each kind of structure, and each kind of an example"


@SOURCES
def test_what_a_run_saves_of_a_backbone_is_let_in_again(
    opened: dict[str, list[Backbone]], tmp_path: Path, source: BackboneSource
) -> None:
    for number, backbone in enumerate(opened[source.name]):
        kernel = np.random.default_rng(1).normal(size=(backbone.feature_dim, 2)).astype(np.float32)
        head = Head([(kernel, np.zeros(2, np.float32))], [], 1)
        save(compose(backbone, head), tmp_path / str(number))
        original = load_original(tmp_path / str(number))
        logits = original.serve(_noise(backbone))["logits"].numpy()
        expected = head.logits(backbone.features(_noise(backbone)))
        assert np.abs(logits - expected).max() <= TOLERANCE * np.ptp(expected)


def test_no_two_sources_build_a_kind_of_structure() -> None:
    kinds = [kind for source in sources() for kind in source.rebuild]
    assert len(set(kinds)) == len(kinds)


@SOURCES
def test_a_structure_that_lacks_everything_is_damaged(source: BackboneSource) -> None:
    for kind in source.rebuild:
        with pytest.raises(ArtifactError, match="structure of the backbone is damaged"):
            rebuild_flat({"kind": kind})


@SOURCES
def test_a_size_that_is_none_and_weights_that_are_none_are_refused(
    examples: dict[str, list[OpenArguments]], tmp_path: Path, source: BackboneSource
) -> None:
    for handle, size, _ in examples[source.name]:
        with pytest.raises(InputError, match=r"--image-size 5000: use a whole number"):
            open_backbone(handle, 5000)
        with pytest.raises(InputError, match="--weights"):
            open_backbone(handle, size, str(tmp_path / "missing.h5"))


def test_the_source_that_the_how_to_shows_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tledge.backbones.sources as package

    page = (Path(__file__).parents[2] / "docs/how-to/add-a-backbone-source.md").read_text(encoding="utf-8")
    shown = page.partition('sources/spots.py"\n')[2].partition("```")[0]
    (tmp_path / "spots.py").write_text(shown, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    sources.cache_clear()
    try:
        assert not is_pretrained("spots", None)
        backbone = open_backbone("spots", seed=3)
        assert backbone.features(_noise(backbone)).shape == (3, 64)
        again = rebuild_flat(json.loads(json.dumps(backbone.structure)))
        assert again.get_config() == backbone.graph.get_config()
        with pytest.raises(InputError, match="8 pixels a side or more"):
            open_backbone("spots", 7)
    finally:
        sources.cache_clear()
        sys.modules.pop("tledge.backbones.sources.spots", None)
