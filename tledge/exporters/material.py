"""What integer formats are made from: representative photos, and the network made ready in one of several ways."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from tledge.backbones import KERAS
from tledge.classifier.of_run import network_of
from tledge.compression import Prepared
from tledge.compression.distillation import Lessons
from tledge.compression.fitting import prepare
from tledge.compression.folding import Folded, fold
from tledge.compression.pruning import Sparsity, prune
from tledge.compression.qat import train
from tledge.datasets.prepare import load_split
from tledge.errors import ArtifactError, EnvironmentFault, InputError
from tledge.exporters import FITTED, PRUNED, TRAINED
from tledge.exporters.calibration import DEFAULT_SAMPLES, choose, pin_input_range, record
from tledge.preprocessing import Pixels
from tledge.progress import Progress
from tledge.records import CalibrationRecord, SplitName
from tledge.run import Run
from tledge.tensorflow_setup import tensorflow

RANGES = "mse"  # how the ranges of activations are chosen where the layers are known
_PROOF_PHOTOS = 16
_SAME_PROBABILITY = 1e-3
_MAX_EPOCHS = 1000
_LEARNT_FROM: tuple[SplitName, SplitName] = ("train", "validation")


@dataclass(frozen=True)
class Options:
    """What a user may set of integer formats. Raises InputError for a value that can't be.

    ``epochs``: of the formats that train. ``sparsity``: a share, or N:M.
    """

    calibration_samples: int = DEFAULT_SAMPLES
    epochs: int = 2
    learning_rate: float = 1e-5
    sparsity: str = "0.5"

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= _MAX_EPOCHS:
            raise InputError(f"--epochs {self.epochs}: use 1 to {_MAX_EPOCHS}")
        if not 0 < self.learning_rate < 1:
            raise InputError(f"--learning-rate {self.learning_rate:g}: use a rate above 0 and below 1, such as 1e-5")
        Sparsity.parse(self.sparsity)


@dataclass(frozen=True)
class Material:
    """``pixels``: representative photos, uint8 (N, S, S, 3). ``prepared``: None where the layers are unknown.

    ``options``: how it was made, for the record.
    """

    samples: CalibrationRecord
    pixels: Pixels
    prepared: Prepared | None
    options: dict[str, Any]


class Materials:
    """Those of one run, each made when it is first asked for."""

    def __init__(self, run: Run, options: Options, progress: Progress) -> None:
        self._run, self._options, self._progress = run, options, progress
        self._made: dict[str, Material] = {}

    def of(self, preparation: str) -> Material:
        """What a format with this ``preparation`` is made from.

        Raises InputError where the network can't be prepared so: only that of ``fitted`` is made of any.
        """
        if preparation not in self._made:
            self._made[preparation] = {FITTED: self._fit, TRAINED: self._train, PRUNED: self._prune}[preparation]()
        return self._made[preparation]

    def require_layers(self, format_name: str) -> None:
        """Raise InputError where a format that trains the network's layers can't be had, and name the layers."""
        try:
            _ = self.folded
        except (InputError, ArtifactError, EnvironmentFault) as error:
            raise type(error)(f"{format_name} trains the layers of the network, and can't here: {error}") from error

    def _fit(self) -> Material:
        samples, pixels = self._calibration
        try:
            folded = self.folded.copied()
        except (InputError, ArtifactError, EnvironmentFault) as error:
            # A converter needs the SavedModel alone: what is lost is the fitting, and that is said and recorded.
            self._progress.warn(f"int8 weights are rounded as they are, not fitted: {error}")
            return Material(samples, pixels, None, {"fitting": f"none: {error}"})
        return self._material(prepare(folded, pixels, RANGES, self._progress))

    def _train(self) -> Material:
        teacher = self.folded
        start = self.of(FITTED).prepared
        assert start is not None  # what could be folded now, could be before
        return self._material(train(start, teacher, self._lessons, self._progress))

    def _prune(self) -> Material:
        sparsity = Sparsity.parse(self._options.sparsity)
        pruned, notes = prune(self.folded, sparsity, self._lessons, self._progress)
        made = prepare(pruned, self._calibration[1], RANGES, self._progress, keeps_zeros=True)
        return self._material(replace(made, notes={**made.notes, **notes}))

    def _material(self, prepared: Prepared) -> Material:
        return Material(*self._calibration, prepared, dict(prepared.notes))

    @cached_property
    def folded(self) -> Folded:
        """The run's network, proved to answer a few photos as its SavedModel does. Not to be changed.

        Raises InputError where its layers are unknown, ArtifactError where it answers otherwise.
        """
        run, photos = self._run, self._calibration[1][:_PROOF_PHOTOS]
        with self._progress.step("the network as a flat graph"):
            if run.manifest.backbone.handle.startswith(KERAS) and not (run.folder / "network").is_dir():
                raise InputError(
                    f"run {run.name} does not hold the layers of its backbone, {run.manifest.backbone.handle}; "
                    "--recipe finetune keeps them"
                )
            folded = fold(network_of(run, list(photos)))
            tf = tensorflow()
            served = tf.saved_model.load(str(run.folder / "model")).signatures["serving_default"]
            expected = served(pixels=tf.constant(photos))["probabilities"].numpy()
            found = tf.nn.softmax(folded.network(folded.images(photos), training=False)).numpy()
        difference = float(np.max(np.abs(found - expected)))
        if not difference <= _SAME_PROBABILITY:
            raise ArtifactError(
                f"the network of run {run.name} answers otherwise than its SavedModel, by up to {difference:.2g}"
            )
        return folded

    @cached_property
    def _lessons(self) -> Lessons:
        train, validation = (load_split(self._run, name, self._progress) for name in _LEARNT_FROM)
        own = self._options
        return Lessons(train.pixels, validation.pixels, own.epochs, own.learning_rate, seed=self._run.manifest.seed)

    @cached_property
    def _calibration(self) -> tuple[CalibrationRecord, Pixels]:
        run, num_samples = self._run, self._options.calibration_samples
        train = load_split(run, "train", self._progress)
        rows = choose(train.content_sha256, train.labels, num_samples, run.manifest.seed)
        if len(rows) < num_samples:
            self._progress.warn(f"calibrating on all {len(rows)} training photos: {num_samples} were asked for")
        ids, keys = ([values[row] for row in rows] for values in (train.ids, train.content_sha256))
        test = load_split(run, "test", self._progress).content_sha256
        samples = record(ids, keys, train.labels[rows], run.manifest.labels, run.manifest.seed, test)
        return samples, pin_input_range(np.asarray(train.pixels[rows], np.uint8))
