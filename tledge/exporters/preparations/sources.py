"""Preparations are made from the ``Sources`` of a run: its representative photos, its network as plain layers, its lessons."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from tledge.backbones import takes_weights
from tledge.classifier.of_run import network_of
from tledge.compression import PreparedNetwork
from tledge.compression.calibration import DEFAULT, with_stability
from tledge.compression.distillation import Examples, Lessons
from tledge.compression.fitting import fit_network
from tledge.compression.folding import Folded, fold
from tledge.datasets.own_photos import fingerprints_of
from tledge.datasets.run_photos import load_split, members
from tledge.errors import ArtifactError, EnvironmentFault, InputError
from tledge.exporters.options import Options
from tledge.exporters.preparations.material import Material, PreparationRecord
from tledge.exporters.representative import DEFAULT_SAMPLES, choose_apart, pin_input_range, record
from tledge.int8_pairs import LARGEST_SUM
from tledge.preprocessing import Pixels
from tledge.progress import Progress
from tledge.records import CalibrationRecord, SplitName
from tledge.run import Run
from tledge.saved_models import load_original
from tledge.tensorflow_setup import tensorflow

LAYERS_UNKNOWN = (InputError, ArtifactError, EnvironmentFault)  # Sources.folded raises these
_PROOF_PHOTOS = 16
_SAME_PROBABILITY = 1e-3
_LEARNT_FROM: tuple[SplitName, SplitName] = ("train", "validation")
_T = TypeVar("_T")


class Sources:
    """``Sources`` holds what the preparations of one run are made from. Each part is made when it is first asked for."""

    def __init__(self, run: Run, options: Options, progress: Progress) -> None:
        self.run, self.options, self.progress = run, options, progress
        self._made: dict[tuple[Any, ...], Any] = {}

    def once(self, make: Callable[..., _T], *arguments: object) -> _T:
        """Return ``make(self, *arguments)``, which is computed at the first call only. Callers must not change the result."""
        if (make, *arguments) not in self._made:
            tensorflow(self.run.manifest.seed)  # the same numbers from the same run
            self._made[make, *arguments] = make(self, *arguments)
        made: _T = self._made[make, *arguments]
        return made

    def has(self, make: Callable[..., object], *arguments: object) -> bool:
        """Tell whether :meth:`once` has already computed ``make(self, *arguments)``."""
        return (make, *arguments) in self._made

    def material(self, prepared: PreparedNetwork | None, made: PreparationRecord, bounds_pairs: bool, /) -> Material:
        """Return the material of a format: the representative photos, the prepared network, and the record of both.

        The record gets the largest sum of a pair of weights, where ``bounds_pairs`` is set.
        """
        bound = LARGEST_SUM if bounds_pairs else None
        return Material(
            *self._representative, prepared, made.model_copy(update={"largest_pair_sum": bound}), bounds_pairs
        )

    def fitted(self, folded: Folded, **options: Any) -> PreparedNetwork:
        """Fit the weights of a copy of ``folded`` to the representative photos. :func:`fit_network` takes the ``options``."""
        method = self.options.calibration or DEFAULT
        return with_stability(fit_network(folded.copied(), self.calibration_photos, method, self.progress, **options))

    def folded_for(self, what: str) -> Folded:
        """Return the run's network as plain layers. Where they are unknown, the error of :attr:`folded` begins with ``what``."""
        _ = self.calibration_photos  # read here, so that an error about photos is not taken for one about layers
        try:
            return self.folded
        except LAYERS_UNKNOWN as error:
            raise type(error)(f"{what}: {error}") from error

    @cached_property
    def folded(self) -> Folded:
        """Return the run's network as plain layers, proved on a few photos to answer as the SavedModel does.

        Callers must not change it. Raises InputError where the layers are unknown, and ArtifactError where the two answer
        differently.
        """
        run, photos = self.run, self.calibration_photos[:_PROOF_PHOTOS]
        with self.progress.step("the network as a flat graph"):
            is_opened_again = not (run.folder / "network").is_dir() and run.manifest.imported is None
            if is_opened_again and takes_weights(run.manifest.backbone.handle):
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

    def lessons(self, epochs: int, learning_rate: float) -> Lessons:
        """Return the lessons of a training. Epochs and learning rate of the user's options go before those given here."""
        options = self.options
        return Lessons(
            self.examples, options.epochs or epochs, options.learning_rate or learning_rate, seed=self.run.manifest.seed
        )

    @cached_property
    def examples(self) -> Examples:
        """Return the photos of the training and validation split, with the float network's answers to them."""
        train, validation = (load_split(self.run, name, self.progress).pixels for name in _LEARNT_FROM)
        return Examples(self.folded, train, validation, self.progress)

    @property
    def calibration_photos(self) -> Pixels:
        """Return the photos of the representative data set, uint8 (N, S, S, 3)."""
        return self._representative[1]

    @cached_property
    def _representative(self) -> tuple[CalibrationRecord, Pixels]:
        """Return the record of the representative data set for export.json, and its photos, uint8 (N, S, S, 3)."""
        run, num_samples = self.run, self.options.calibration_samples or DEFAULT_SAMPLES
        train = load_split(run, "train", self.progress)
        own, test = fingerprints_of(run, "train", self.progress), fingerprints_of(run, "test", self.progress)
        chosen = choose_apart(train, num_samples, run.manifest.seed, own, test)
        rows = chosen.rows
        if chosen.num_copies:
            self.progress.warn(
                f"not calibrated on {chosen.num_copies} training photos that are near copies of test photos"
            )
        if len(rows) < num_samples:
            self.progress.warn(f"calibrating on all {len(rows)} training photos: {num_samples} were asked for")
        ids, keys = ([values[row] for row in rows] for values in (train.ids, train.content_sha256))
        calibration = record(
            ids, keys, train.labels[rows], run.manifest.labels, run.manifest.seed, members(run, "test"),
            chosen.num_copies, chosen.num_alike,
        )  # fmt: skip
        return calibration, pin_input_range(np.asarray(train.pixels[rows], np.uint8))
