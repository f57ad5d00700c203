"""What integer formats are made from: representative photos, and the network made ready in one of several ways."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from tledge.backbones import takes_weights
from tledge.classifier.of_run import network_of
from tledge.compression import Prepared
from tledge.compression.calibration import AUTO, DEFAULT, calibrated, require_method
from tledge.compression.clustering import DEFAULT_CLUSTERS, codebooks, require_clusters
from tledge.compression.codes import Codebook, Grid, large, uniform
from tledge.compression.distillation import Examples, Lessons
from tledge.compression.few_bits import with_short_biases, with_short_ranges
from tledge.compression.fitting import prepare
from tledge.compression.folding import Folded, fold, is_depthwise, is_weighted
from tledge.compression.pruning import Sparsity, prune, require_zeros
from tledge.compression.qat import train
from tledge.datasets.own_photos import fingerprints_of
from tledge.datasets.prepare import load_split, members
from tledge.errors import ArtifactError, EnvironmentFault, InputError
from tledge.exporters import CLUSTERED, FITTED, PRUNED, PRUNED_CLUSTERED, TRAINED, WEIGHTS, Format, formats
from tledge.exporters.calibration import (
    DEFAULT_SAMPLES,
    choose_apart,
    pin_input_range,
    record,
    require_photos,
    require_samples,
)
from tledge.int8_pairs import LARGEST_SUM
from tledge.preprocessing import Pixels
from tledge.progress import Progress
from tledge.records import CalibrationRecord, SplitName
from tledge.run import Run
from tledge.saved_models import load_original
from tledge.tensorflow_setup import tensorflow

_PROOF_PHOTOS = 16
_OF_CONVERTERS = "min-max"  # what they do by themselves
_SAME_PROBABILITY = 1e-3
_MAX_EPOCHS = 1000
# Epochs and learning rate where rounding alone is to be mended, where weights were taken away, and where codes are few:
# at a higher rate weights go to and fro between these.
_CAREFUL, _BOLD, _STEADY = (2, 1e-5), (5, 1e-4), (4, 5e-5)
# Where codes are few, significant bits of the scales of weights and of activations, and codes of a depthwise kernel: more make
# a file larger, and errors no smaller.
_SCALE_BITS, _RANGE_BITS, _CODES_OF_DEPTHWISE = 4, 2, 63
# Of what is left of a large layer: 8 bits for it would take more of a compressed file than the zeros save.
_CODES_OF_PRUNED = 65
_WITH_ZEROS, _WITH_CODEBOOKS = {PRUNED, PRUNED_CLUSTERED}, {CLUSTERED, PRUNED_CLUSTERED}
_TRAINED = {TRAINED, *_WITH_ZEROS, *_WITH_CODEBOOKS}
# Which preparations read an option.
_READERS = {
    "calibration_samples": {FITTED, WEIGHTS, *_TRAINED},
    "calibration": {FITTED, *_TRAINED},
    "epochs": _TRAINED,
    "learning_rate": _TRAINED,
    "sparsity": _WITH_ZEROS,
    "clusters": _WITH_CODEBOOKS,
}
_SPARSITY = "0.5"
_PAIRS = "largest_pair_sum"  # in the record: what the audit finds must be no larger
_LEARNT_FROM: tuple[SplitName, SplitName] = ("train", "validation")


@dataclass(frozen=True)
class Options:
    """What a user may set of integer formats. Raises InputError for a value that can't be.

    ``calibration``: how ranges of activations are chosen. ``epochs``, ``learning_rate``: of the formats that train.
    ``sparsity``: a share, or N:M. ``clusters``: codes of a layer. None of any of these: as suits the format.
    ``int8_saturates``: whether the CPU may add products of codes in 16 bits, as many do. Formats whose runtime does so then bound
    their weights, so that they answer the same on every CPU.
    """

    calibration_samples: int | None = None
    calibration: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    sparsity: str | None = None
    clusters: int | None = None
    int8_saturates: bool = True

    def __post_init__(self) -> None:
        if self.calibration_samples is not None:
            require_samples(self.calibration_samples)
        if self.calibration is not None:
            require_method(self.calibration)
        if self.epochs is not None and not 1 <= self.epochs <= _MAX_EPOCHS:
            raise InputError(f"--epochs {self.epochs}: use 1 to {_MAX_EPOCHS}")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise InputError(f"--learning-rate {self.learning_rate:g}: use a rate above 0 and below 1, such as 1e-5")
        if self.sparsity is not None:
            Sparsity.parse(self.sparsity)
        if self.clusters is not None:
            require_clusters(self.clusters)

    def require_readers(self, preparations: Collection[str | None]) -> None:
        """Raise InputError for a value that was given and that no format with one of these preparations reads."""
        for name, readers in _READERS.items():
            if getattr(self, name) is not None and not readers & set(preparations):
                known = [form.name for form in formats().values() if form.preparation in readers]
                raise InputError(f"--{name.replace('_', '-')} is for {', '.join(known)}; leave it out here")


@dataclass(frozen=True)
class Material:
    """``pixels``: representative photos, uint8 (N, S, S, 3). ``prepared``: None where the layers are unknown.

    ``options``: how it was made, for the record. ``bounds_pairs``: of int8 weights, as in a ``Grid``.
    """

    samples: CalibrationRecord
    pixels: Pixels
    prepared: Prepared | None
    options: dict[str, Any]
    bounds_pairs: bool = False


class Materials:
    """Those of one run, each made when it is first asked for."""

    def __init__(self, run: Run, options: Options, progress: Progress) -> None:
        self._run, self._options, self._progress = run, options, progress
        self._made: dict[tuple[str, bool], Material] = {}

    def of(self, preparation: str, *, saturates: bool = False) -> Material:
        """What a format with this ``preparation`` is made from.

        ``saturates``: whether ``int8_saturates`` of the options is for it. Raises InputError where the network can't be
        prepared so: only that of ``fitted`` is made of any.
        """
        return self._of(preparation, self._bounds_pairs(saturates))

    def has(self, form: Format) -> bool:
        """Whether what a format is made from is made already."""
        return (form.preparation, self._bounds_pairs(form.saturates)) in self._made

    def of_format(self, form: Format) -> Material | None:
        """What a format is made from; None where that is the SavedModel alone."""
        return self.of(form.preparation, saturates=form.saturates) if form.preparation else None

    def _bounds_pairs(self, saturates: bool) -> bool:
        return saturates and self._options.int8_saturates

    def _of(self, preparation: str, bounds_pairs: bool) -> Material:
        wanted = preparation, bounds_pairs
        if wanted not in self._made:
            tensorflow(self._run.manifest.seed)  # the same numbers from the same run
            makers: dict[str, Callable[[], Material]] = {
                FITTED: partial(self._fit, bounds_pairs),
                WEIGHTS: partial(self._weights, bounds_pairs),
                TRAINED: partial(self._train, bounds_pairs),
                PRUNED: self._prune,
                CLUSTERED: partial(self._cluster, keeps_zeros=False),
                PRUNED_CLUSTERED: partial(self._cluster, keeps_zeros=True),
            }
            made = makers[preparation]()
            codes = {_PAIRS: LARGEST_SUM} if bounds_pairs else {}
            self._made[wanted] = replace(made, options={**made.options, **codes}, bounds_pairs=bounds_pairs)
        return self._made[wanted]

    def require(self, form: Format) -> None:
        """Raise InputError where a format can't be had, so far as that is known before anything is made: it may take hours.

        Where it trains the network's layers and can't, the error names them.
        """
        if form.preparation is None:
            return
        require_photos(len(members(self._run, "train")))
        if form.is_trained:
            folded = self._folded_for(f"{form.name} trains the layers of the network, and can't here")
        elif form.preparation in _READERS["calibration"]:
            self._require_method()
        is_auto = form.preparation in _READERS["calibration"] and self._options.calibration == AUTO
        if (form.is_trained or is_auto) and not members(self._run, "validation"):
            chosen, way_out = ("epoch", "") if form.is_trained else ("method of calibration", ", or name a method")
            raise InputError(
                f"{form.name}: the validation split of run {self._run.name} is empty, and the {chosen} is chosen by it; "
                f"build on more photos{way_out}"
            )
        if form.preparation in _WITH_CODEBOOKS:
            codebooks(folded.network, DEFAULT_CLUSTERS)
        if form.preparation in _WITH_ZEROS:
            require_zeros(folded, self._sparsity)

    def _folded_for(self, what: str) -> Folded:
        """The network's layers; where they can't be had, the error begins with ``what``."""
        _ = self._calibration  # an error of the photos is none of the layers
        try:
            return self.folded
        except (InputError, ArtifactError, EnvironmentFault) as error:
            raise type(error)(f"{what}: {error}") from error

    def _require_method(self) -> None:
        """Raise InputError for a method of calibration that only a network of known layers can have, where they are not."""
        if self._options.calibration not in (None, _OF_CONVERTERS):
            self._folded_for(f"--calibration {self._options.calibration} needs the network's layers")

    def _fit(self, bounds_pairs: bool) -> Material:
        self._require_method()
        samples, pixels = self._calibration
        try:
            folded = self.folded
        except (InputError, ArtifactError, EnvironmentFault) as error:
            # A converter needs the SavedModel alone: what is lost is the fitting, and that is said and recorded.
            self._progress.warn(f"int8 weights are rounded as they are, not fitted: {error}")
            return Material(samples, pixels, None, {"fitting": f"none: {error}"})
        return self._material(self._calibrated(folded, bounds_pairs=bounds_pairs))

    def _calibrated(self, folded: Folded, **options: Any) -> Prepared:
        """Fitted; ``folded`` is not changed."""
        pixels, progress = self._calibration[1], self._progress

        def fit(method: str) -> Prepared:
            return prepare(folded.copied(), pixels, method, progress, **options)

        return calibrated(fit, self._options.calibration or DEFAULT, self._examples)

    def _weights(self, bounds_pairs: bool) -> Material:
        made = self._of(FITTED, bounds_pairs)
        return replace(made, options={"fitting": made.options["fitting"]})

    def _train(self, bounds_pairs: bool) -> Material:
        start = self._of(FITTED, bounds_pairs).prepared
        assert start is not None  # require(): what could be folded then, could be now
        return self._material(train(start, self._lessons(_CAREFUL), self._progress))

    def _prune(self) -> Material:
        pruned, notes = self._pruned
        books = {layer.name: uniform(_CODES_OF_PRUNED) for layer in large(pruned.network)}
        made = self._on_few_codes(pruned, books, _BOLD, keeps_zeros=True)
        return self._material(replace(made, notes={**made.notes, **notes, "codes": _CODES_OF_PRUNED}))

    def _cluster(self, *, keeps_zeros: bool) -> Material:
        folded, notes = self._pruned if keeps_zeros else (self.folded, {})
        count = self._options.clusters or DEFAULT_CLUSTERS
        books = codebooks(folded.network, count)
        made = self._on_few_codes(folded, books, _STEADY, keeps_zeros=keeps_zeros)
        most = max((len(book.values) for book in books.values()), default=0)
        used = {"clusters": count, "codes": most, "clustered_layers": len(books)}
        return self._material(replace(made, notes={**made.notes, **notes, **used}))

    def _on_few_codes(
        self,
        folded: Folded,
        books: dict[str, Codebook],
        usual: tuple[int, float],
        *,
        keeps_zeros: bool,
    ) -> Prepared:
        """Fitted to these codes first, each layer to what those before it lost, and then trained.

        Ranges are widened between the two, and biases rounded at the end: beside what few codes of weights lose, neither counts.
        """
        layers = list(filter(is_weighted, folded.network.layers))
        books = {layer.name: uniform(_CODES_OF_DEPTHWISE) for layer in filter(is_depthwise, layers)} | books
        grids = {layer.name: Grid(books.get(layer.name), _SCALE_BITS) for layer in layers}
        options: dict[str, Any] = {"keeps_zeros": keeps_zeros, "grids": grids}
        start = self._calibrated(folded, **options)
        trained = train(with_short_ranges(start, _RANGE_BITS), self._lessons(usual), self._progress, **options)
        short = {
            "weight_scale_bits": _SCALE_BITS,
            "activation_scale_bits": _RANGE_BITS,
            "depthwise_codes": _CODES_OF_DEPTHWISE,
        }
        return replace(with_short_biases(trained, grids), notes={**trained.notes, **short})

    @cached_property
    def _pruned(self) -> tuple[Folded, dict[str, Any]]:
        """The network with its zeros, not yet fitted, and notes for the record. Not to be changed."""
        return prune(self.folded, self._sparsity, self._calibration[1], self._progress)

    @property
    def _sparsity(self) -> Sparsity:
        return Sparsity.parse(self._options.sparsity or _SPARSITY)

    def _material(self, prepared: Prepared) -> Material:
        return Material(*self._calibration, prepared, dict(prepared.notes))

    @cached_property
    def folded(self) -> Folded:
        """The run's network, proved to answer a few photos as its SavedModel does. Not to be changed.

        Raises InputError where its layers are unknown, ArtifactError where it answers otherwise.
        """
        run, photos = self._run, self._calibration[1][:_PROOF_PHOTOS]
        with self._progress.step("the network as a flat graph"):
            if not (run.folder / "network").is_dir() and takes_weights(run.manifest.backbone.handle):
                raise InputError(
                    f"run {run.name} does not hold the layers of its backbone, {run.manifest.backbone.handle}; "
                    "--recipe finetune keeps them"
                )
            folded = fold(network_of(run, list(photos)))
            tf = tensorflow()
            served = load_original(run.folder / "model").signatures["serving_default"]
            expected = served(pixels=tf.constant(photos))["probabilities"].numpy()
            found = tf.nn.softmax(folded.network(folded.images(photos), training=False)).numpy()
        difference = float(np.max(np.abs(found - expected)))
        if not difference <= _SAME_PROBABILITY:
            raise ArtifactError(
                f"the network of run {run.name} answers otherwise than its SavedModel, by up to {difference:.2g}"
            )
        return folded

    def _lessons(self, usual: tuple[int, float]) -> Lessons:
        epochs, rate = self._options.epochs or usual[0], self._options.learning_rate or usual[1]
        return Lessons(self._examples, epochs, rate, seed=self._run.manifest.seed)

    @cached_property
    def _examples(self) -> Examples:
        train, validation = (load_split(self._run, name, self._progress).pixels for name in _LEARNT_FROM)
        return Examples(self.folded, train, validation, self._progress)

    @cached_property
    def _calibration(self) -> tuple[CalibrationRecord, Pixels]:
        run, num_samples = self._run, self._options.calibration_samples or DEFAULT_SAMPLES
        train = load_split(run, "train", self._progress)
        test = fingerprints_of(run, "test", self._progress)
        chosen = choose_apart(train, num_samples, run.manifest.seed, test)
        rows = chosen.rows
        if chosen.num_copies:
            self._progress.warn(
                f"not calibrated on {chosen.num_copies} training photos that are near copies of test photos"
            )
        if len(rows) < num_samples:
            self._progress.warn(f"calibrating on all {len(rows)} training photos: {num_samples} were asked for")
        ids, keys = ([values[row] for row in rows] for values in (train.ids, train.content_sha256))
        samples = record(
            ids, keys, train.labels[rows], run.manifest.labels, run.manifest.seed, members(run, "test"),
            chosen.num_copies, chosen.num_alike,
        )  # fmt: skip
        return samples, pin_input_range(np.asarray(train.pixels[rows], np.uint8))
