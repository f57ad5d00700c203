"""What every preparation declares, checked on every one that is there: a new one is tested the day it appears."""

from __future__ import annotations

import dataclasses
import pkgutil

import pytest

from tledge.compression.notes import FittingNotes, LearningNotes, StabilityNotes, ZerosNotes
from tledge.exporters import formats, preparations
from tledge.exporters.options import Options
from tledge.exporters.preparations import Preparation
from tledge.exporters.preparations.clustered import ClusteredRecord
from tledge.exporters.preparations.fitted import FittedRecord
from tledge.exporters.preparations.pruned_clustered import PrunedClusteredRecord

FITTING = FittingNotes(
    fitting="least squares, 9 of 9 layers",
    ranges="mse",
    input_scale=1 / 255,
    input_zero_point=0,
    range_stability=StabilityNotes(mean_difference=0.1, largest_difference=0.2, layer="c1"),
)
LEARNING = LearningNotes(
    epochs=1,
    kept_epoch=0,
    learning_rate=1e-5,
    batch_size=32,
    loss="divergence",
    validation_losses=[0.1, 0.2],
    validation_agreement=1.0,
)


@pytest.mark.parametrize("preparation", preparations.preparations().values(), ids=preparations.preparations())
def test_a_preparation_reads_options_that_exist_and_a_format_is_made_from_it(preparation: Preparation) -> None:
    assert preparation.reads <= {field.name for field in dataclasses.fields(Options)}
    assert "calibration_samples" in preparation.reads
    assert {"epochs", "learning_rate"} <= preparation.reads or not preparation.trains
    assert [form.name for form in formats().values() if form.preparation is preparation]


def test_every_option_but_that_of_the_cpu_is_read_by_some_preparation() -> None:
    read = frozenset().union(*(one.reads for one in preparations.preparations().values()))
    assert read == {field.name for field in dataclasses.fields(Options)} - {"int8_saturates"}


def test_a_preparation_is_found_by_its_file() -> None:
    files = {info.name for info in pkgutil.iter_modules(preparations.__path__)}
    assert {name.replace(", ", "_").replace(" ", "_") for name in preparations.preparations()} < files


def test_a_record_holds_the_notes_of_all_steps_and_no_key_for_what_is_none() -> None:
    zeros = ZerosNotes(sparsity=0.5, zeros=0.49, pruned_layers=3)
    own = {"clusters": 32, "codes": 31, "clustered_layers": 4}
    made = PrunedClusteredRecord.of(FITTING, LEARNING, zeros, **own).options()
    short = {"weight_scale_bits": 4, "activation_scale_bits": 2, "depthwise_codes": 63}
    assert made == FITTING.as_json() | LEARNING.as_json() | zeros.as_json() | own | short
    assert FittedRecord(fitting="none: opaque", ranges="min-max").options() == {
        "fitting": "none: opaque",
        "ranges": "min-max",
    }


def test_a_record_that_lacks_what_its_preparation_promises_is_a_fault() -> None:
    with pytest.raises(ValueError, match="codes"):
        ClusteredRecord.of(FITTING, LEARNING, clusters=32, clustered_layers=4)
