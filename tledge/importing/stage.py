"""This module imports a model that another program trained: it finds out what the model takes, and writes a run of it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones import Backbone
from tledge.backbones.described import DescribedNetwork
from tledge.backbones.graph import of_graph
from tledge.cache import CachedRows, scratch_folder
from tledge.classifier.network import HeadShape, save_network, set_head, with_head
from tledge.datasets import open_source
from tledge.datasets.prepare import Dataset, prepare_dataset, require_classes, resized_pixels
from tledge.doubts import doubts
from tledge.errors import InputError
from tledge.home import expanded
from tledge.importing.class_order import ClassOrder, read_labels, usual_orders
from tledge.importing.foreign import LayersUnknown
from tledge.importing.given_preparation import Given, parse_given
from tledge.importing.model import OpenedModel, format_of, opened_model, sha256_of
from tledge.importing.opaque import wrapped
from tledge.importing.tidy import tidy, with_input
from tledge.importing.trained_on import without_trained_on
from tledge.importing.trial import MOST_PHOTOS, Found, Undecided, find
from tledge.machine import cpu_name, usable_cores
from tledge.normalization import Normalization
from tledge.pixel_range import PixelRange
from tledge.preprocessing import Pixels, Preparation
from tledge.printable import counted, few, sentence
from tledge.progress import Advance, Progress, Silent
from tledge.records import DeviceRecord, ImportRecord, TrialRecord
from tledge.resizing import Resize
from tledge.run import Run, artifacts_root, check_name, open_run
from tledge.run_writer import MadeModel, finish, reserved_new_run, reserved_run, staged_run

TOLERANCE = 1e-4  # a share of the output range
_NUM_NOISE, _NUM_PROOF = 8, 32
_TRIALS_KEPT = 20
_BATCH = 64
Floats = npt.NDArray[np.float32]


def import_model(
    model: str,
    dataset: str,
    *,
    prepare: str | None = None,
    labels: str | None = None,
    trained_on: str | None = None,
    seed: int = 0,
    run: str | None = None,
    artifacts: Path | None = None,
    pixel_range: PixelRange | None = None,
    progress: Progress | None = None,
) -> Run:
    """Write the run of a model that another program trained.

    The arguments, the result and the errors are those of :func:`tledge.api.import_model`, which checks them and calls this in a
    process of its own.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    given, path = parse_given(prepare), expanded(model, f"model {model}")
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed}: use a whole number from 0 to 4294967295")
    if run is not None:
        check_name(run)
    root = artifacts_root(artifacts)
    format_of(path)
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(_reserved(root, run, path))
        with progress.step("opening the data set"):
            source = open_source(dataset)
        require_classes(source)
        folder = stack.enter_context(scratch_folder())
        with progress.step("opening the model"):
            opened = stack.enter_context(opened_model(path, folder))
        for note in opened.taken.notes:
            progress.say(note)
        _require_classes(opened, source.labels)
        size = _size(opened, given)
        with progress.step("the model's layers"):
            layers = _layers(opened, size, folder)
        staging = stack.enter_context(staged_run(root, name))
        orders = (
            [read_labels(expanded(labels, f"--labels {labels}"), source.labels)]
            if labels
            else usual_orders(source.labels, opened.taken.labels)
        )
        data = prepare_dataset(source, size, seed, progress, Preparation(pixel_range))
        if trained_on is not None:
            data = without_trained_on(data, trained_on, progress)
        found = _found(opened, data, given, size, orders, progress)
        _tell(found, progress)
        pixels = resized_pixels(data, found.best.resize, ("validation", "test"), progress)
        # From here on the data's own pixels, which are squeezed, are not read.
        data = replace(data, preparation=data.preparation._replace(resize=found.best.resize))
        data = data.relabelled(found.best.order.labels)
        answers = {}
        for split, photos in pixels.items():
            with progress.step(f"the model's own answers to the {split} photos", len(photos)) as advance:
                answers[split] = opened.logits(_told(photos, advance), found.best.normalization)
        with progress.step("loading TensorFlow"):
            from tledge.tensorflow_setup import tensorflow

            tensorflow(seed)
        with progress.step("the network as a flat graph"):
            network = _network(opened, layers, size, found.best.normalization, folder)
            proof = _proved(network, opened, pixels["test"], found.best.normalization, answers["test"])
        if network.unknown:
            progress.warn(
                f"the model's layers are not known ({network.unknown}): formats that need them can't be made, and int8 weights "
                "are rounded as they are"
            )
        network.write(staging)
        made = MadeModel(
            recipe={"name": "import", "method": "import"},
            seed=seed,
            num_epochs=0,
            best_epoch=0,
            validation_logits=answers["validation"],
            test_logits=answers["test"],
            features=None,
            # The model's own framework runs without accelerators.
            device=DeviceRecord(kind="CPU", name=cpu_name(), count=usable_cores()),
            wall_time_s=round(time.perf_counter() - started, 2),
            imported=_record(opened, size, found, network.unknown, proof, trained_on),
        )
        finish(staging, name, data, network.backbone, made)
    whole = open_run(root, name)
    for doubt in doubts(whole.manifest):
        progress.warn(doubt)
    return whole


@contextlib.contextmanager
def _reserved(root: Path, run: str | None, path: Path) -> Iterator[str]:
    """Hold the name of the new run: ``run``, or one made from the model's name and the time."""
    if run is not None:
        with reserved_run(root, run):
            yield run
        return
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "model"
    with reserved_new_run(root, f"{plain[:80]}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}") as name:
        yield name


def _require_classes(opened: OpenedModel, labels: tuple[str, ...]) -> None:
    if opened.taken.num_outputs == len(labels):
        return
    raise InputError(
        f"model {opened.path} tells {opened.taken.num_outputs:,} classes apart, and the data set has {len(labels):,} "
        f"({few(labels, ', ')}). Give the data set that it was trained for, with one folder for each of its classes."
    )


def _size(opened: OpenedModel, given: Given) -> int:
    own = opened.taken.input_size
    if own is None and given.size is None:
        raise InputError(
            f"model {opened.path} takes photos of any size. Say the one that it was trained with, as in --prepare size=224."
        )
    if own is not None and given.size not in (None, own):
        raise InputError(
            f"--prepare size={given.size}: model {opened.path} takes {own} x {own} pixels. Leave size out."
        )
    size = own or given.size
    assert size is not None
    return size


def _found(
    opened: OpenedModel, data: Dataset, given: Given, size: int, orders: list[ClassOrder], progress: Progress
) -> Found:
    """Try preparations on photos of the validation split, and of the training split where that is too small."""
    rows = np.concatenate([data.splits.rows["validation"], data.splits.rows["train"]])[:MOST_PHOTOS]
    photos = _TrialPhotos(data, rows, size)
    try:
        return find(
            given, size, opened.taken.channels, orders, data.source.labels, data.labels[rows], photos,
            lambda pixels, normalization: opened.logits([pixels], normalization), progress,
        )  # fmt: skip
    except Undecided as error:
        raise InputError(f"model {opened.path}: {error}") from error


class _TrialPhotos:
    """The photos of a trial are read from the data set once, and resized in any way."""

    def __init__(self, data: Dataset, rows: npt.NDArray[np.int64], size: int) -> None:
        self._data, self._rows, self._size = data, rows, size
        self._photos: Mapping[str, Any] | None = None
        self._made: dict[Resize, Pixels] = {}

    def __call__(self, resize: Resize, count: int) -> Pixels:
        if resize not in self._made:
            self._made[resize] = self._resized(resize)
        return self._made[resize][:count]

    def _resized(self, resize: Resize) -> Pixels:
        if resize == self._data.preparation.resize:
            return np.asarray(self._data.pixels[self._rows], np.uint8)
        if self._photos is None:
            wanted = {self._data.ids[row] for row in self._rows}
            self._photos = {photo.id: photo for photo in self._data.source.photos() if photo.id in wanted}
        preparation = self._data.preparation._replace(resize=resize)
        return np.stack(
            [self._photos[self._data.ids[row]].prepared(self._size, preparation).pixels for row in self._rows]
        )


def _tell(found: Found, progress: Progress) -> None:
    """Say what was found, with the runner-up and the resizes that do as well."""
    best = found.best
    progress.say(
        f"preparation found on {counted(found.num_photos, 'photo')}: {best}, {best.accuracy:.1%} right, log-loss {best.loss:.3f}; "
        f"order of classes: {best.order.name}"
    )
    others = [one for one in found.tried if one is not best]
    if others:
        second = others[0]
        progress.say(f"runner-up: {second}, {second.accuracy:.1%} right, log-loss {second.loss:.3f}")
    if found.ties:
        same = ", ".join(str(one.resize) for one in found.ties)
        progress.say(
            f"these resizes can't be told from it: {same}. Choose one with --prepare if you know which was trained with."
        )


def _told(pixels: CachedRows, advance: Advance) -> Iterator[Pixels]:
    for batch in pixels.batches(_BATCH):
        yield np.asarray(batch, np.uint8)
        advance(len(batch))


@dataclass(frozen=True)
class _Network:
    """A network is what becomes the run's original.

    ``module`` is the tf.Module to save, with ``serve``. ``write`` writes the run's files of it. ``unknown`` says why its layers are
    not known, and is None where they are.
    """

    backbone: Backbone
    module: Any
    write: Callable[[Path], None]
    unknown: str | None


@dataclass(frozen=True)
class _Opaque:
    """A model whose layers are not known, and ``unknown``, which says why. ``saved`` is the folder of its SavedModel."""

    saved: Path
    unknown: str


def _layers(opened: OpenedModel, size: int, folder: Path) -> DescribedNetwork | _Opaque:
    """Return the model's layers as it takes its images. Raises InputError where there are none and no SavedModel either.

    It is called before the trial, which takes the longest: what can't be taken in is refused at once.
    """
    try:
        layers = tidy(opened.network(size))
        if layers.layers[-1].kind != "Dense":
            raise LayersUnknown(f"it ends in {layers.layers[-1].kind}, and not in a dense layer")
    except LayersUnknown as error:
        return _opaque(opened, folder, error)
    return layers


def _opaque(opened: OpenedModel, folder: Path, error: LayersUnknown) -> _Opaque:
    saved = opened.saved_model(folder)
    if saved is None:
        raise InputError(
            f"model {opened.path} can't be taken apart into layers: {sentence(str(error))} Replace that part by operators of "
            "usual image networks, or import the model in the format in which it was trained."
        ) from error
    return _Opaque(saved, str(error))


def _network(
    opened: OpenedModel, layers: DescribedNetwork | _Opaque, size: int, normalization: Normalization, folder: Path
) -> _Network:
    """Return the model as a flat graph of raw pixels, or where its layers are not known, as one opaque function."""
    if isinstance(layers, DescribedNetwork):
        scale, offset = [255 * one for one in normalization.scale], list(normalization.offset)
        try:
            return _of_layers(tidy(with_input(layers, scale, offset, normalization.is_bgr)), opened)
        except LayersUnknown as error:
            layers = _opaque(opened, folder, error)
    return _of_saved_model(layers.saved, opened, size, normalization, layers.unknown)


def _of_layers(flat: DescribedNetwork, opened: OpenedModel) -> _Network:
    from tledge.training.saved_model import of_network, save

    *features, last = flat.layers
    body = flat.with_layers(features)
    backbone = of_graph(f"import:{opened.path.name}", body.graph(), body.structure(), is_pretrained=True)
    backbone = replace(backbone, sha256=sha256_of(opened.path))
    head = HeadShape((), opened.taken.num_outputs, 0.0)
    graph: Any = backbone.graph
    network = with_head(graph.input, graph.output, head, seed=0)
    kernel, *bias = last.weights
    set_head(network, [(kernel, bias[0] if bias else np.zeros(kernel.shape[1], np.float32))])
    module = of_network(network, flat.input_size)

    def write(folder: Path) -> None:
        save(module, folder / "model")
        (folder / "network").mkdir()
        save_network(network, backbone, head, folder / "network")

    return _Network(backbone, module, write, None)


def _of_saved_model(
    saved: Path, opened: OpenedModel, size: int, normalization: Normalization, unknown: str
) -> _Network:
    from tledge.training.saved_model import save

    taken = opened.taken
    module = wrapped(saved, size, taken.channels, normalization)
    backbone = Backbone(f"import:{opened.path.name}", sha256_of(opened.path), size, taken.num_outputs, None)
    return _Network(backbone, module, lambda folder: save(module, folder / "model"), unknown)


@dataclass(frozen=True)
class _Proof:
    """A proof holds how far the flat graph is from the model, and on how many images."""

    max_abs_difference: float
    output_range: float
    num_images: int


def _proved(
    network: _Network, opened: OpenedModel, photos: CachedRows, normalization: Normalization, test_logits: Floats
) -> _Proof:
    """Compare the network with the model on photos and on noise. Raises InputError where they differ."""
    noise = np.random.default_rng(0).integers(0, 256, (_NUM_NOISE, *photos.row_shape), np.uint8)
    some = np.asarray(photos[:_NUM_PROOF], np.uint8)
    pixels = np.concatenate([noise, some])
    expected = np.concatenate([opened.logits([noise], normalization), test_logits[: len(some)]])
    answered = network.module.serve(pixels)["logits"].numpy()
    difference, output_range = float(np.max(np.abs(answered - expected))), float(np.ptp(expected))
    if not difference <= TOLERANCE * output_range:
        raise InputError(
            f"model {opened.path}: the layers that were read answer otherwise than the model itself, by up to {difference:.3g} "
            f"over a range of {output_range:.3g}. Please report this model as a bug of tledge."
        )
    return _Proof(difference, output_range, len(pixels))


def _record(
    opened: OpenedModel, size: int, found: Found, unknown: str | None, proof: _Proof, trained_on: str | None
) -> ImportRecord:
    best = found.best
    return ImportRecord(
        file=opened.path.name,
        sha256=sha256_of(opened.path),
        format=opened.form.name,
        framework=opened.taken.framework,
        takes=f"{size} x {size} pixels, {best.normalization.in_words()}",
        preparation=f"size={size} {best}",
        class_order=best.order.name,
        trial_photos=found.num_photos,
        trials=[
            TrialRecord(preparation=str(one), class_order=one.order.name, log_loss=one.loss, accuracy=one.accuracy)
            for one in found.tried[:_TRIALS_KEPT]
        ],
        layers_unknown=unknown,
        max_abs_difference=proof.max_abs_difference,
        output_range=proof.output_range,
        proof_photos=proof.num_images,
        training_photos="unknown" if trained_on is None else "known",
        notes=list(opened.taken.notes),
    )
