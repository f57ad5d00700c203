"""The stage ``embed`` writes the activations of a layer of a run's network for photos, for clustering and search."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tledge.classifier.of_run import backbone_of, network_of
from tledge.datasets import open_source
from tledge.datasets.splits import split_digest
from tledge.errors import unknown
from tledge.inference.features_file import features_file, reserved_out
from tledge.inference.labelled import Entry, Labelled, Part
from tledge.pixel_range import PixelRange
from tledge.preprocessing import PIXEL_SCALE, Pixels, as_recorded
from tledge.progress import Progress, Silent
from tledge.records import Record, SkippedPhoto
from tledge.resizing import SQUEEZE
from tledge.run import Run, find_run
from tledge.tensorflow_setup import tensorflow

_BATCH = 32
_BLOCK_BYTES = 64 * 2**20  # Pixels and vectors in memory take so much at a time. A block becomes a row group.
_PROOF_PHOTOS = 16
_FIRST_OF_HEAD = "dropout"  # The input of this layer is the features.
Floats = npt.NDArray[np.float32]


class Embedding(Record):
    """An embedding record says what a file of features was made from. The file holds it in its metadata."""

    schema_version: int = 1
    run: str
    manifest_sha256: str
    layer: str
    shape: list[int] = Field(
        description="This is the shape of the layer's output for one photo. Each vector holds that output in C order."
    )
    dataset: str
    split: Part = Field(description="This is the data set's own split that was embedded, or `all`.")
    photos_sha256: str = Field(
        description="This is a SHA-256 over the content and label of the photos, computed as for the data set in "
        "manifest.json."
    )
    num_photos: int
    skipped: list[SkippedPhoto]
    preprocessing_version: int
    pixel_range: list[int] | None = Field(
        default=None,
        description="These are the two 16-bit values that stand for black and for white. The value is None if the build was "
        "given no `--pixel-range`.",
    )
    resize: str = Field(
        default=str(SQUEEZE),
        description="This text says how a photo became a square of the input's size, in the words of `--resize`.",
    )

    @property
    def dim(self) -> int:
        """Return the number of numbers in a vector."""
        return int(np.prod(self.shape))


def embed(
    run: Run | str | None,
    dataset: str,
    out: Path,
    *,
    layer: str | None = None,
    split: str = "all",
    weights: str | None = None,
    pixel_range: PixelRange | None = None,
    artifacts: Path | None = None,
    progress: Progress | None = None,
) -> Embedding:
    """Write the activations of a layer for every photo of a data set to a file.

    Memory grows with the ids of the photos only.

    Args:
        run: run whose network computes; None for the latest.
        dataset: spec of the data set, as :func:`tledge.datasets.open_source` takes it.
        out: file to write, .parquet, .npy or .npz.
        layer: name of a layer of the network; None for the head's input. An output of several axes is flattened.
        split: ``all``, or a split that the source itself has.
        weights: file of a ``keras:`` backbone's weights, where the run took them from one.
        pixel_range: range of 16-bit photos, where it is not the run's.
        artifacts: folder of the runs.
        progress: what is told of steps and warnings.

    Raises:
        InputError: The run, layer or split is unknown, ``out`` can't be written or another process is writing it, or
            over 5% of the photos can't be read.
        ArtifactError: The backbone has changed.
    """
    progress = progress or Silent()
    with reserved_out(out):
        run = find_run(run, artifacts)
        preparation = as_recorded(run.manifest.preprocessing, pixel_range)
        labelled = Labelled(open_source(dataset), split, preparation)
        return _written(run, labelled, out, layer, weights, progress)


def _written(
    run: Run, labelled: Labelled, out: Path, layer: str | None, weights: str | None, progress: Progress
) -> Embedding:
    size = run.manifest.backbone.input_size
    keys: list[bytes] = []
    names: list[str] = []
    with contextlib.ExitStack() as stack:
        with progress.step("loading the network"):
            tensorflow()
            activations, name = stack.enter_context(_reader(run, layer, weights, labelled, size))
            shape = activations(np.zeros((1, size, size, 3), np.uint8)).shape[1:]
        file = stack.enter_context(features_file(out, int(np.prod(shape))))
        advance = stack.enter_context(progress.step("computing features", labelled.source.num_photos))
        photos = stack.enter_context(contextlib.closing(labelled.photos(size)))
        for entries, pixels in _blocks(photos, 3 * size**2 + 4 * int(np.prod(shape))):
            batches = [activations(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)]
            file.add(entries, np.concatenate(batches).reshape(len(entries), -1))
            keys += [entry.key for entry in entries]
            names += [entry.label for entry in entries]
            advance(len(entries))
        warnings = [*labelled.source.warnings, *labelled.warnings(len(keys))]
        if not keys:
            raise labelled.nothing()
        made = Embedding(
            run=run.name,
            manifest_sha256=run.manifest_sha256,
            layer=name,
            shape=list(shape),
            dataset=labelled.source.name,
            split=labelled.split,
            photos_sha256=split_digest(keys, names),
            num_photos=len(keys),
            skipped=labelled.skipped,
            preprocessing_version=labelled.preparation.version,
            pixel_range=None if labelled.preparation.pixel_range is None else list(labelled.preparation.pixel_range),
            resize=str(labelled.preparation.resize),
        )
        file.finish(made)
    for warning in warnings:
        progress.warn(warning)
    return made


@contextlib.contextmanager
def _reader(
    run: Run, layer: str | None, weights: str | None, labelled: Labelled, size: int
) -> Iterator[tuple[Callable[[Pixels], Floats], str]]:
    """Give a function from pixels, uint8 (N, S, S, 3), to a layer's output, float32 (N, ...), and the layer's name."""
    backbone = backbone_of(run, weights) if layer is None else None
    if backbone is not None:
        with contextlib.closing(backbone):
            yield backbone.features, backbone.output_name
        return
    with contextlib.closing(Labelled(labelled.source, labelled.split, labelled.preparation).photos(size)) as stream:
        some = [pixels for _, pixels in itertools.islice(stream, _PROOF_PHOTOS)] if layer else []
    yield _activations(network_of(run, some, weights), layer, size)


def _activations(network: Any, layer: str | None, size: int) -> tuple[Any, str]:
    """Return a function from pixels, uint8 (N, S, S, 3), to a layer's output, float32 (N, ...), and the layer's name.

    Raises InputError, with the nearest name, where there is no such layer.
    """
    tf = tensorflow()
    import tf_keras

    if layer is None:
        layer = network.get_layer(_FIRST_OF_HEAD).inbound_nodes[0].parent_nodes[0].layer.name
    names = [one.name for one in network.layers]
    if layer not in names:
        raise unknown("layer", layer, names)
    upto = tf_keras.Model(network.input, network.get_layer(layer).output)

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], tf.uint8)], autograph=False)  # type: ignore[untyped-decorator]
    def activations(pixels: Any) -> Any:
        return tf.cast(upto(tf.cast(pixels, tf.float32) * PIXEL_SCALE, training=False), tf.float32)

    return lambda pixels: activations(pixels).numpy(), layer


def _blocks(photos: Iterator[tuple[Entry, Pixels]], bytes_a_photo: int) -> Iterator[tuple[list[Entry], Pixels]]:
    """Yield photos in blocks of ``_BLOCK_BYTES``, with their pixels, uint8 (n, S, S, 3)."""
    while block := list(itertools.islice(photos, max(1, _BLOCK_BYTES // bytes_a_photo))):
        yield [entry for entry, _ in block], np.stack([pixels for _, pixels in block])
