"""What preparations are made from: the representative data set, the network as plain layers, and what a training learns from."""

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
from tledge.datasets.prepare import load_split, members
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

LAYERS_UNKNOWN = (InputError, ArtifactError, EnvironmentFault)  # what Sources.folded raises
_PROOF_PHOTOS = 16
_SAME_PROBABILITY = 1e-3
_LEARNT_FROM: tuple[SplitName, SplitName] = ("train", "validation")
_T = TypeVar("_T")


class Sources:
    """Those of one run. Each is made when it is first asked for."""

    def __init__(self, run: Run, options: Options, progress: Progress) -> None:
        self.run, self.options, self.progress = run, options, progress
        self._made: dict[tuple[Any, ...], Any] = {}

    def once(self, make: Callable[..., _T], *arguments: object) -> _T:
        """Give what ``make(self, *arguments)`` gives, made when it is first asked for. It is not to be changed."""
        if (make, *arguments) not in self._made:
            tensorflow(self.run.manifest.seed)  # the same numbers from the same run
            self._made[make, *arguments] = make(self, *arguments)
        made: _T = self._made[make, *arguments]
        return made

    def has(self, make: Callable[..., object], *arguments: object) -> bool:
        """Tell whether :meth:`once` has made it."""
        return (make, *arguments) in self._made

    def material(self, prepared: PreparedNetwork | None, made: PreparationRecord, bounds_pairs: bool, /) -> Material:
        """Join the photos, the network and the record of how it was made, with the bound of its weights."""
        bound = LARGEST_SUM if bounds_pairs else None
        return Material(
            *self._representative, prepared, made.model_copy(update={"largest_pair_sum": bound}), bounds_pairs
        )

    def fitted(self, folded: Folded, **options: Any) -> PreparedNetwork:
        """Fit the weights of a copy of ``folded`` to the photos; ``options`` as :func:`fit_network` takes them."""
        method = self.options.calibration or DEFAULT
        return with_stability(fit_network(folded.copied(), self.calibration_photos, method, self.progress, **options))

    def folded_for(self, what: str) -> Folded:
        """Give the network's layers; where they can't be had, the error begins with ``what``."""
        _ = self.calibration_photos  # an error of the photos is none of the layers
        try:
            return self.folded
        except LAYERS_UNKNOWN as error:
            raise type(error)(f"{what}: {error}") from error

    @cached_property
    def folded(self) -> Folded:
        """The run's network, proved to answer a few photos as its SavedModel does. Not to be changed.

        Raises InputError where its layers are unknown, ArtifactError where it answers otherwise.
        """
        run, photos = self.run, self.calibration_photos[:_PROOF_PHOTOS]
        with self.progress.step("the network as a flat graph"):
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

    def lessons(self, epochs: int, learning_rate: float) -> Lessons:
        """Give a training of so many epochs at this rate, where the user's options name no others."""
        options = self.options
        return Lessons(
            self.examples, options.epochs or epochs, options.learning_rate or learning_rate, seed=self.run.manifest.seed
        )

    @cached_property
    def examples(self) -> Examples:
        """The photos that a training learns from, and the float network's answers to them."""
        train, validation = (load_split(self.run, name, self.progress).pixels for name in _LEARNT_FROM)
        return Examples(self.folded, train, validation, self.progress)

    @property
    def calibration_photos(self) -> Pixels:
        """The representative data set, uint8 (N, S, S, 3)."""
        return self._representative[1]

    @cached_property
    def _representative(self) -> tuple[CalibrationRecord, Pixels]:
        """What export.json says of the representative data set, and its photos, uint8 (N, S, S, 3)."""
        run, num_samples = self.run, self.options.calibration_samples or DEFAULT_SAMPLES
        train = load_split(run, "train", self.progress)
        test = fingerprints_of(run, "test", self.progress)
        chosen = choose_apart(train, num_samples, run.manifest.seed, test)
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
