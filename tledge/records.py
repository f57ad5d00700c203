"""Records pass between the stages through the disk: they are validated on reading, and unknown keys are errors."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tledge.pixel_range import PixelRange
from tledge.record_base import Record as Record  # noqa: PLC0414 - a module that imports records finds their base here

SplitName = Literal["train", "validation", "test"]
Promise = Literal[
    "float32",
    "float16 weights",
    "dynamic-range int8",
    "int16 activations, int8 weights",
    "all-integer",
    "mixed integer and float",
]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

# The figures of a report are in these ranges: its charts and tables can show every value in them.
Count = Annotated[int, Field(ge=0, le=2**53)]  # every reader of JSON holds these exactly
Size = Annotated[int, Field(gt=0, le=2**53)]
Figure = Annotated[float, Field(ge=-1e30, le=1e30)]  # finite, and far from where arithmetic overflows
Fraction = Annotated[float, Field(ge=0, le=1)]
Points = Annotated[float, Field(ge=-100, le=100)]
Milliseconds = Annotated[float, Field(ge=1e-6, le=1e13)]
Ratio = Annotated[float, Field(gt=0, le=1e30)]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]  # a file in no other folder
Thumbnail = Annotated[str, Field(pattern=r"^/9j/(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]


def _stays_below(path: str) -> str:
    if not set(path.split("/")).isdisjoint(("", ".", "..")) or "\0" in path:
        raise ValueError(f"{path!r} leads out of the folder")
    return path


RelativePath = Annotated[str, AfterValidator(_stays_below)]
"""This is the path of a file below the record's folder, with ``/`` between its parts."""


class SkippedPhoto(Record):
    """This record names a photo that could not be read."""

    id: str = Field(description="the photo's place in its source, such as a path in the folder")
    reason: str = Field(description="why it could not be read")


class NearCopy(Record):
    """This record names a photo that is another one, encoded or resized again."""

    id: str = Field(description="the copy's place in its source")
    of: str = Field(description="the id of the photo in the run")
    split: SplitName = Field(description="where that one is")
    distance: Figure = Field(description="root mean square of the differences of 16 x 16 mean grey levels, of 255")


class DatasetRecord(Record):
    """This record says from which data a run was built."""

    spec: str = Field(description="what --dataset named")
    name: str = Field(description="name of the data set, with its version if it has one")
    fingerprint_sha256: str = Field(description="SHA-256 over the content and label of every photo")
    num_photos: int = Field(description="photos that were read")
    skipped: list[SkippedPhoto] = Field(description="photos that could not be read")
    duplicates_dropped: int = Field(description="training copies of photos that are in a held-out split of the source")
    conflicting_labels: int = Field(description="pictures that occur under more than one label")
    near_copies_dropped: list[NearCopy] = Field(
        default=[],
        description="photos of earlier splits that are near copies of photos of later ones, of the same class",
    )
    near_copies_kept: int = Field(
        default=0,
        description="photos as near to one of a later split, and kept: many photos of their kind are, or classes differ",
    )


class SplitRecord(Record):
    """This record describes one split."""

    num_photos: int = Field(description="photos in the split")
    class_counts: dict[str, int] = Field(description="photos by label")
    sha256: str = Field(description="SHA-256 over the content and label of its photos")


class BackboneRecord(Record):
    """This record names the feature extractor under the head."""

    handle: str = Field(description="what --backbone named")
    sha256: str = Field(description="SHA-256 of the backbone's files or weights")
    input_size: int = Field(description="height and width of the input, in pixels")
    feature_dim: int = Field(description="features that it gives for one photo")


class DeviceRecord(Record):
    """This record says on which device something was computed."""

    kind: Literal["CPU", "GPU"] = Field(description="kind of device")
    name: str = Field(description="name of the device as the system tells it")
    count: int = Field(description="devices that took part")


class Metrics(Record):
    """This record scores the answers to one split, as fractions of one. Means are over the classes that are present."""

    num_photos: int = Field(description="photos that were scored")
    accuracy: float = Field(description="top-1 accuracy")
    precision_macro: float = Field(description="mean precision of the classes")
    recall_macro: float = Field(description="mean recall of the classes")
    f1_macro: float = Field(description="mean F1 of the classes")
    confusion_matrix: list[list[int]] = Field(description="rows: truth, columns: prediction, in label order")


class FeatureRecord(Record):
    """This record says what computed the frozen features, and how near it is to TensorFlow."""

    runtime: str = Field(description="runtime that computed the features")
    proof_photos: int = Field(description="photos that TensorFlow computed too")
    max_abs_difference: float = Field(description="largest difference of a feature between the two")
    output_range: float = Field(description="largest minus smallest feature of these photos")


class PreprocessingRecord(Record):
    """This record says how a photo becomes an input of the network. It is in each artifact's metadata too."""

    version: int = Field(description="version of the preprocessing")
    description: str = Field(description="the steps from a photo's file to the input, in words")
    input: str = Field(description="shape, type and range of the input")
    scale_in_graph: float = Field(description="factor by which the graph multiplies a pixel")
    pixel_range: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="black and white of 16-bit photos; None where the build was told of none"
    )

    @model_validator(mode="after")
    def _the_range_is_possible(self) -> Self:
        if self.pixel_range and not PixelRange(*self.pixel_range).is_possible():
            raise ValueError(f"no range of 16-bit values: {self.pixel_range}")
        return self


class Manifest(Record):
    """``manifest.json`` says what a run is, and what it was built from."""

    schema_version: int = Field(default=1, description="version of this record's keys")
    name: str = Field(description="name of the run")
    created_utc: str = Field(description="when the run was built, UTC")
    tledge_version: str = Field(description="version of tledge that built it")
    dataset: DatasetRecord = Field(description="the data it was built from")
    labels: list[str] = Field(description="class names in the order of the outputs")
    splits: dict[SplitName, SplitRecord] = Field(description="the three splits")
    split_rule: str = Field(description="how photos were assigned to splits, in words")
    backbone: BackboneRecord = Field(description="the network under the head")
    recipe: dict[str, Any] = Field(description="the recipe as it was carried out, every key with its value")
    seed: int = Field(description="seed of splits and training")
    preprocessing: PreprocessingRecord = Field(description="how a photo becomes an input")
    features: FeatureRecord | None = Field(description="None where no features of a frozen backbone were used")
    metrics: dict[Literal["validation", "test"], Metrics] = Field(
        description="scores on the validation and test splits"
    )
    best_epoch: int = Field(description="epoch whose weights were kept, from 1")
    num_epochs: int = Field(description="epochs that were trained")
    device: DeviceRecord = Field(description="where it was trained")
    wall_time_s: float = Field(description="duration of the build, in seconds")
    library_versions: dict[str, str] = Field(description="version by library")
    files_sha256: dict[RelativePath, str] = Field(description="SHA-256 by path of every other file of the run")

    @property
    def pixel_range(self) -> PixelRange | None:
        """Return the range of 16-bit photos; None where the build was told of none."""
        named = self.preprocessing.pixel_range
        return PixelRange(*named) if named else None


class OperatorCount(Record):
    """This record counts one operator with one kind of arithmetic."""

    name: str = Field(description="operator as its file format names it")
    kind: Literal["integer", "float", "hybrid", "layout", "boundary", "flex", "custom"] = Field(
        description="kind of arithmetic"
    )
    data_type: str = Field(description="data type that it computes in")
    count: Count = Field(description="how often it occurs")


class TensorRecord(Record):
    """This record describes an input or output as the file declares it."""

    name: str = Field(description="name of the tensor")
    shape: list[int] = Field(description="its shape; -1 is any size")
    data_type: str = Field(description="its data type")
    scale: Figure | None = Field(
        default=None, description="step between two quantized values; None where it is not quantized"
    )
    zero_point: int | None = Field(
        default=None, description="quantized value of the real number 0; None where it is not quantized"
    )


class Audit(Record):
    """This record says what a file holds, as the file itself was read."""

    operators: list[OperatorCount] = Field(description="the operators with their counts")
    weight_types: dict[str, Count] = Field(description="bytes of constants by data type")
    inputs: list[TensorRecord] = Field(description="the inputs as declared")
    outputs: list[TensorRecord] = Field(description="the outputs as declared")
    file_versions: dict[str, int] = Field(description="opset and IR version of ONNX, schema version of TFLite")
    num_parameters: Count = Field(description="elements of the weights and biases")
    num_macs: Count | None = Field(
        description="multiply-accumulates of one inference: convolutions and matrix products; None where a shape is unknown"
    )
    integer_mac_share: Fraction | None = Field(
        description="part of num_macs in integer arithmetic; None where there are none, or their number is unknown"
    )
    weight_granularity: dict[Literal["per-channel", "per-tensor"], Count] = Field(
        description="quantized weight tensors of the multiplying operators by how many scales they have"
    )
    float_constants: list[str] = Field(
        description="constants in floating point that are no scale of a quantization, NAME (bytes), the 20 largest first"
    )
    zero_weight_share: Fraction | None = Field(
        default=None,
        description="part of the int8 weights of TFLite's CONV_2D and FULLY_CONNECTED that is zero; None where there are none",
    )
    most_weight_codes: Count | None = Field(
        default=None,
        description="most different int8 weights in one such operator of 2,048 weights or more; None where there are none",
    )
    largest_pair_sum: Count | None = Field(
        default=None,
        description="largest sum of two int8 weights of one sign that ONNX Runtime adds products of at once; above 128 it may not "
        "fit into the 16 bits that CPUs without VNNI have for it; None where no ONNX operator has such weights",
    )
    min_runtime_version: Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,4}){1,3}$")] | None = Field(
        default=None,
        description="oldest TensorFlow Lite runtime that has the operators, as the file says; None where it says none",
    )

    def names_of(self, *kinds: str) -> list[str]:
        """List the operators of these kinds as ``NAME (data type) xCOUNT``."""
        return [f"{op.name} ({op.data_type}) x{op.count}" for op in self.operators if op.kind in kinds]


class CalibrationRecord(Record):
    """This record names the representative data set: training photos that set the ranges. None is a test photo."""

    split: Literal["train"] = Field(default="train", description="split that the photos come from")
    num_samples: int = Field(description="photos in the representative data set")
    class_counts: dict[str, int] = Field(description="these photos by label")
    seed: int = Field(description="seed of the choice")
    ids: list[str] = Field(description="the photos' places in their source")
    content_sha256: list[str] = Field(description="SHA-256 of each photo's content, in the same order")
    disjoint_from_test: Literal[True] = Field(default=True, description="always true: none of them is a test photo")
    test_num_photos: int = Field(description="test photos that they were compared with")
    test_sha256: str = Field(description="of the test split that they were compared with, as the run's manifest has it")
    near_copies_left_out: int = Field(default=0, description="training photos that are near copies of test photos")
    near_copies_kept: int = Field(
        default=0,
        description="of these photos, those as near to a test photo as a copy is, where many photos are alike",
    )


class Interval(Record):
    """This record is a 95% confidence interval, in the unit of the value that it belongs to."""

    low: Figure = Field(description="lower end")
    high: Figure = Field(description="upper end")


class AccuracyStep(Record):
    """This record scores one file that a search within a budget of accuracy tried on the validation photos."""

    format: str = Field(description="format of the file that was tried")
    float_operators: Count = Field(description="of the network's layers that compute in float")
    accuracy: Fraction | None = Field(description="None where the file did not run")
    accuracy_drop_points: Points | None = Field(description="paired, positive where the file is worse")
    accuracy_drop_points_interval: Interval | None = Field(
        description="Tango's score interval of the paired difference"
    )
    size_bytes: Size = Field(description="size of the file, in bytes")
    p50_ms: Milliseconds | None = Field(description="of a few inferences on one thread of the machine that searched")
    is_within_budget: bool = Field(description="whether the whole interval is")
    error: str | None = Field(description="why it did not run; None where it did")


class AccuracySearch(Record):
    """This record lists the files that were tried for a budget of accuracy, in their order."""

    split: Literal["validation"] = Field(default="validation", description="split that judged")
    num_photos: Size = Field(description="photos in that split")
    original_accuracy: Fraction = Field(description="top-1 accuracy of the original on it, a fraction")
    max_drop_points: Points = Field(description="the budget, in points")
    missed_by_points: Figure | None = Field(
        description="how far the upper end of the interval of this artifact's drop is over the budget; None where it is not"
    )
    steps: list[AccuracyStep] = Field(description="the files that were tried, in order")


class ExportRecord(Record):
    """``export.json`` says how one artifact was made, and what is in it."""

    schema_version: int = Field(default=4, description="version of this record's keys")
    format: str = Field(description="name of the format")
    promise: Promise = Field(description="what the file must hold")
    file: PlainName = Field(description="name of the file beside this record")
    sha256: str = Field(description="SHA-256 of the file")
    size_bytes: int = Field(description="size of the file, in bytes")
    compressed_bytes: int = Field(
        description="size in an ordinary archive, as zip -9 makes it, in bytes; tledge 0.1 wrote what the best of thirteen "
        "settings of zlib made"
    )
    created_utc: str = Field(description="when it was written, UTC")
    source_manifest_sha256: str = Field(description="SHA-256 of the manifest of the run that it was made from")
    options: dict[str, Any] = Field(description="how it was made: every option with its value")
    calibration: CalibrationRecord | None = Field(
        description="the representative data set; None where the format needs none"
    )
    audit: Audit = Field(description="what the file holds")
    library_versions: dict[str, str] = Field(description="version by library")
    convert_s: float = Field(description="duration of the conversion, in seconds")
    search: AccuracySearch | None = Field(default=None, description="None where no budget of accuracy was asked for")


class Flips(Record):
    """This record counts the photos on which the artifact's top-1 class differs from the original's."""

    right_to_wrong: Count = Field(description="photos that only the original answers rightly")
    wrong_to_right: Count = Field(description="photos that only the artifact answers rightly")
    wrong_to_wrong: Count = Field(description="photos that both answer wrongly, each otherwise")


class ClassDrift(Record):
    """This record compares answers on the photos of one class. Recalls are fractions; None where there is no test photo."""

    label: str = Field(description="name of the class")
    num_photos: Count = Field(description="test photos of the class")
    original_recall: Fraction | None = Field(description="the original's recall")
    recall: Fraction | None = Field(description="the artifact's recall")
    recall_drop_points: Figure | None = Field(description="paired, positive where the artifact is worse")
    recall_drop_points_interval: Interval | None = Field(
        description="Tango's score interval of that drop; None where the class has no test photo"
    )
    flips: Flips = Field(description="flips among these photos")


class Drift(Record):
    """This record compares an artifact's answers with the original's on the same photos.

    Values are fractions of one unless the name says points. Differences are original minus artifact: positive where the
    artifact is worse.
    """

    num_photos: Size = Field(description="photos that both answered")
    original_accuracy: Fraction = Field(description="the original's top-1 accuracy")
    original_accuracy_interval: Interval = Field(description="Wilson")
    accuracy: Fraction = Field(description="the artifact's top-1 accuracy")
    accuracy_interval: Interval = Field(description="Wilson")
    accuracy_drop_points: Points = Field(description="drop of top-1 accuracy, in points")
    accuracy_drop_points_interval: Interval = Field(description="Tango's score interval of the paired difference")
    mcnemar_p_value: Figure = Field(description="exact, two-sided")
    agreement: Fraction = Field(description="share of photos with the same top-1 class")
    agreement_interval: Interval = Field(description="Wilson")
    flips: Flips = Field(description="photos whose top-1 class changed")
    original_macro_f1: Figure = Field(description="mean F1 of the classes, of the original")
    macro_f1: Figure = Field(description="mean F1 of the classes, of the artifact")
    original_confusion_matrix: list[list[Count]] = Field(description="rows: truth, columns: prediction, in label order")
    confusion_matrix: list[list[Count]] = Field(description="the artifact's, in the same layout")
    per_class: list[ClassDrift] = Field(description="drift by class, in label order")
    max_abs_probability_difference: Figure = Field(description="largest absolute difference of a probability")
    mean_abs_probability_difference: Figure = Field(description="mean absolute difference over all probabilities")
    p99_abs_probability_difference: Figure = Field(description="what 99% of all photos' probabilities stay within")
    mean_kl_divergence_nats: Figure = Field(
        description="of the original's probabilities from the artifact's, none below 1e-7"
    )
    mean_logit_cosine: Figure | None = Field(description="None where one side gives probabilities only")
    original_expected_calibration_error: Figure = Field(description="15 equal-mass bins")
    expected_calibration_error: Figure = Field(description="the artifact's, by the same bins")
    original_mean_confidence: Figure = Field(description="mean of the original's largest probabilities")
    mean_confidence: Figure = Field(description="mean of the artifact's largest probabilities")

    @model_validator(mode="after")
    def _intervals_stay_inside_their_scale(self) -> Self:
        shares = (self.original_accuracy_interval, self.accuracy_interval, self.agreement_interval)
        for interval, least, most in (
            *((share, 0, 1) for share in shares),
            (self.accuracy_drop_points_interval, -100, 100),
        ):
            if not least - 1e-6 <= interval.low <= interval.high <= most + 1e-6:
                raise ValueError(
                    f"an interval from {interval.low:g} to {interval.high:g} is not inside {least} to {most}"
                )
        return self


class PhotoAnswers(Record):
    """This record says on which test photos an artifact is wrong, so that two reports can be paired photo by photo.

    Photos are numbered from 0 in the order of the SHA-256 of their content, then of their label. Any two runs with the
    same test split number its photos alike.
    """

    wrong: list[Count] = Field(description="photos whose top-1 class is not their label")
    changed: list[Count] = Field(description="photos whose top-1 class is not the original's")

    @model_validator(mode="after")
    def _photos_ascend(self) -> Self:
        for photos in (self.wrong, self.changed):
            if any(one >= other for one, other in pairwise(photos)):
                raise ValueError("the numbers of the photos do not ascend")
        return self


class Latency(Record):
    """This record sums up the latency of one photo at one thread count, in milliseconds, over rounds after a warm-up."""

    num_threads: Size = Field(description="threads of the runtime")
    runs: Size = Field(description="inferences that were timed")
    rounds: Size = Field(description="rounds that they were spread over")
    warmup_runs: Count = Field(description="inferences before the first that was timed")
    is_stable: bool = Field(description="whether the warm-up settled before its limit")
    mean_ms: Milliseconds = Field(description="mean")
    p50_ms: Milliseconds = Field(description="median")
    p90_ms: Milliseconds = Field(description="90th percentile")
    p95_ms: Milliseconds = Field(description="95th percentile")
    p99_ms: Milliseconds = Field(description="99th percentile")
    iqr_ms: Figure = Field(description="interquartile range")
    quantiles_ms: list[Milliseconds] = Field(
        min_length=21, max_length=21, description="percentiles 0, 5, ..., 100: the distribution for a chart"
    )
    round_medians_ms: list[Milliseconds] = Field(min_length=1, description="one a round: what comparisons are made of")
    load_ms: Figure = Field(description="time to load the file, in milliseconds")
    first_inference_ms: Figure = Field(description="time of the first inference, in milliseconds")
    reference_ms: Milliseconds | None = Field(
        default=None,
        description="median over the rounds of the time of a fixed piece of work in the same process, which tells how fast "
        "the machine was; None in reports of before it was measured",
    )


class Speedup(Record):
    """This record compares the latency of an artifact with that of another one, measured in the same rounds."""

    against: str = Field(description="what it is compared with: an artifact, or the original")
    num_threads: Size = Field(description="threads of the runtime")
    ratio: Ratio = Field(description="the other's latency over this one's: above 1 is faster")
    ratio_interval: Interval = Field(description="bootstrap over the rounds")
    verdict: Literal["faster", "slower", "no difference measured"] = Field(
        description="what the interval and the noise floor together allow to say"
    )


class NoiseFloor(Record):
    """This record compares one artifact with itself, in two processes. Smaller differences mean nothing."""

    artifact: str = Field(description="artifact that ran in two processes")
    num_threads: Size = Field(description="threads of the runtime")
    ratio: Ratio = Field(description="latency of the one process over that of the other")
    ratio_interval: Interval = Field(description="bootstrap over the rounds")
    floor: float = Field(ge=0, le=1e30, description="a fraction: relative differences up to it are noise")


class Check(Record):
    """This record compares a measurement with a limit: one gate."""

    name: str = Field(description="name of the gate")
    limit: Figure | None = Field(description="None where the gate has no number: the artifact ran, its promise is kept")
    measured: Figure | None = Field(description="what was measured, in the unit of the limit; None where it was not")
    verdict: Literal["certified", "passed", "failed", "not judged"] = Field(description="result of the gate")
    reason: str = Field(description="the result in a sentence, with its numbers")


class MachineRecord(Record):
    """This record says on which machine something was measured. It has no host name."""

    cpu: str = Field(description="name of the CPU")
    architecture: str = Field(description="its architecture, such as x86_64 or aarch64")
    logical_cores: Size = Field(description="logical cores")
    system: str = Field(description="operating system")
    python: str = Field(description="version of Python")
    cpu_flags: list[str] = Field(description="those that matter for integer arithmetic, of a fixed list")
    governor: str | None = Field(description="the CPU's frequency governor; None where the system does not tell")
    load_average: Figure = Field(description="over the last minute, before anything was measured")


class Row(Record):
    """This record has all that was measured of one artifact on one runtime."""

    format: str = Field(description="name of the artifact's format")
    runtime: str = Field(description="runtime that ran it; empty where none could be chosen")
    file: str = Field(description="name of the file; empty where its record can't be read")
    sha256: str = Field(description="SHA-256 of the file as its record says")
    size_bytes: Count = Field(description="size of the file, in bytes")
    audit: Audit | None = Field(description="read from the file when it was verified; None where it can't be read")
    peak_memory_mb: Figure | None = Field(
        description="peak memory of its process, in 1,000,000 bytes; None where not measured"
    )
    latency: Latency | None = Field(description="at the target's thread count")
    thread_sweep: list[Latency] = Field(description="at the other thread counts that were asked for")
    speedups: list[Speedup] = Field(description="comparisons of latency")
    drift: Drift | None = Field(description="its answers against the original's; None where it did not run")
    answers: PhotoAnswers | None = Field(
        default=None,
        description="its answers photo by photo; None where it did not run, and in reports of before they were kept",
    )
    checks: list[Check] = Field(description="the gates with their verdicts")
    warnings: list[str] = Field(
        description="what the user must hear of this artifact, such as an int8 slower than float"
    )
    machine: MachineRecord | None = Field(
        default=None, description="where it was measured; None in reports of before rows said it: the report's machine"
    )
    error: str | None = Field(description="why it did not run to its end; None where it did")
    verdict: Literal["certified", "passed", "failed"] = Field(description="failed where a gate failed")

    @property
    def artifact(self) -> str:
        """Return the artifact's name in a report, ``FORMAT on RUNTIME``: a format may run on several runtimes."""
        return f"{self.format} on {self.runtime}"

    @model_validator(mode="after")
    def _what_ran_has_a_size(self) -> Self:
        if self.drift and not self.size_bytes:
            raise ValueError(f"{self.artifact} answered photos, and its file has no size")
        return self

    @model_validator(mode="after")
    def _answers_are_those_of_the_drift(self) -> Self:
        if self.answers is None:
            return self
        seen = self.drift
        if seen is None:
            raise ValueError(f"{self.artifact} has answers, and no drift")
        flips = seen.flips.right_to_wrong + seen.flips.wrong_to_right + seen.flips.wrong_to_wrong
        counts = (len(self.answers.wrong), len(self.answers.changed))
        last = max((*self.answers.wrong[-1:], *self.answers.changed[-1:]), default=0)
        if counts != (seen.num_photos - round(seen.accuracy * seen.num_photos), flips) or last >= seen.num_photos:
            raise ValueError(f"the answers of {self.artifact} photo by photo are not those of its drift")
        return self


class OriginalRow(Record):
    """This record has the original as the training device computed it, and run again on this CPU (None if it was not)."""

    accuracy: Fraction = Field(description="top-1 accuracy as the training device computed it, a fraction")
    accuracy_interval: Interval = Field(description="Wilson")
    device: DeviceRecord = Field(description="the training device")
    size_bytes: Size = Field(description="size of the SavedModel, in bytes")
    cpu_drift: Drift | None = Field(description="its answers on this CPU against those of the training device")
    cpu_latency: Latency | None = Field(description="its latency at the target's thread count")
    cpu_thread_sweep: list[Latency] = Field(description="its latencies at the other thread counts")
    peak_memory_mb: Figure | None = Field(description="peak memory of its process, in 1,000,000 bytes")


class AttributionStep(Record):
    """This record says what one step from the original to an artifact lost."""

    artifact: str = Field(description="FORMAT on RUNTIME; the device step belongs to all")
    step: Literal["device", "conversion", "quantization", "kernels"] = Field(description="which step it is")
    before: str = Field(description="what answered before the step")
    after: str = Field(description="what answered after it")
    num_photos: Count = Field(description="photos that both answered")
    accuracy_drop_points: Figure | None = Field(description="None where it was not measured: see note")
    agreement: Figure | None = Field(description="share of photos with the same top-1 class")
    mean_abs_probability_difference: Figure | None = Field(
        description="mean absolute difference over all probabilities"
    )
    note: str = Field(description="why it was not measured; empty where it was")


class LayerError(Record):
    """This record says how far one layer's output is from the float model's. ``sqnr_db`` is None where they are equal."""

    name: str = Field(description="name of the layer's output in the file")
    operator: str = Field(description="operator that computes it")
    sqnr_db: Figure | None = Field(
        description="signal-to-quantization-noise ratio, 10 log10(signal power / error power)"
    )
    cosine: Figure = Field(description="cosine of the angle between both outputs, from -1 to 1")
    own_sqnr_db: Figure | None = Field(
        default=None,
        description="of the error that the layer itself adds: against the float layer on the quantized network's values; "
        "None where it adds none",
    )


class LayerReport(Record):
    """This record lists the layers of one artifact, those with the largest own error first."""

    artifact: str = Field(description="the int8 artifact")
    against: str = Field(description="the float32 artifact it is compared with")
    num_photos: Count = Field(description="photos that both answered")
    layers: list[LayerError] = Field(description="one entry a layer")
    note: str = Field(description="what could not be compared, and why; empty where all was")


class FlippedAnswer(Record):
    """This record is an artifact's answer that differs from the original's."""

    artifact: str = Field(description="the artifact that answers otherwise")
    predicted: str = Field(description="its top-1 class")
    confidence: Figure = Field(description="its probability of that class")


class FlippedPhoto(Record):
    """This record shows a test photo on which at least one artifact differs from the original."""

    id: str = Field(description="the photo's place in its source")
    content_sha256: str = Field(description="SHA-256 of its content")
    label: str = Field(description="its class")
    original_predicted: str = Field(description="top-1 class of the original")
    original_confidence: Figure = Field(description="the original's probability of that class")
    answers: list[FlippedAnswer] = Field(description="the artifacts that answer otherwise")
    thumbnail_jpeg_base64: Thumbnail = Field(description="small JPEG of the photo, base64")


class Lost(Record):
    """This record says why an artifact is not the best one."""

    artifact: str = Field(description="the artifact")
    reason: str = Field(description="why it is not the best")


class Choice(Record):
    """This record names the best artifact that keeps every budget; None where none does."""

    best: str | None = Field(description="name of the best artifact")
    reason: str = Field(description="the rule of the choice, or why there is none")
    others: list[Lost] = Field(description="the other artifacts")


class Protocol(Record):
    """This record says how latency was measured."""

    name: Literal["quick", "standard", "mlperf"] = Field(description="name of the protocol")
    description: str = Field(description="rounds and runs, in words")
    pinned_cores: list[int] | None = Field(
        description="cores the workers were pinned to; None where the platform can't"
    )


class Limits(Record):
    """This record has the limits of a target."""

    max_accuracy_drop_points: float = Field(ge=0, le=100, description="drop of top-1 accuracy, in points")
    max_p95_latency_ms: float = Field(
        gt=0, le=1e9, description="95th percentile of single-photo latency, in milliseconds"
    )
    max_size_mb: float = Field(gt=0, le=1e9, description="file size, in 1,000,000 bytes")
    max_memory_mb: float = Field(
        gt=0, le=1e9, description="peak memory of the process that runs it, in 1,000,000 bytes"
    )


class LimitBasis(Record):
    """This record says where each limit comes from. A limit of the command line is a requirement."""

    max_accuracy_drop_points: Literal["guess", "measured", "requirement"] = Field(
        description="where this limit comes from"
    )
    max_p95_latency_ms: Literal["guess", "measured", "requirement"] = Field(description="where this limit comes from")
    max_size_mb: Literal["guess", "measured", "requirement"] = Field(description="where this limit comes from")
    max_memory_mb: Literal["guess", "measured", "requirement"] = Field(description="where this limit comes from")


class TargetRecord(Record):
    """This record has the target that a report judges for, with the limits that the command line replaced."""

    name: str = Field(description="name of the target, or path of its file")
    description: str = Field(description="the machine in words")
    threads: int = Field(ge=1, le=1024, description="threads of the runtime")
    runtimes: list[str] = Field(description="the only runtimes that are used there; empty: all that are installed")
    architectures: list[str] = Field(description="where latency and memory can be judged; empty: on any machine")
    cpu_contains: str = Field(description="text that the CPU's name must hold, beside the architecture")
    budget: Limits = Field(description="the limits that were judged by")
    basis: LimitBasis = Field(description="where each limit comes from")


class Report(Record):
    """This record is ``report.json``, the result of a verification, from which all other reports are generated."""

    schema_version: int = Field(default=3, description="version of this record's keys")
    run: str = Field(description="name of the run")
    manifest_sha256: str = Field(description="SHA-256 of the run's manifest")
    created_utc: str = Field(description="when the verification ended, UTC")
    tledge_version: str = Field(description="version of tledge that verified")
    dataset: str = Field(description="name of the data set")
    dataset_fingerprint_sha256: str = Field(description="the data set's fingerprint")
    test_split_sha256: str = Field(description="SHA-256 of the test split")
    seed: int = Field(description="seed of the run")
    backbone: str = Field(description="what --backbone named")
    labels: list[str] = Field(min_length=1, description="class names in the order of the outputs")
    target: TargetRecord = Field(description="the target with its budget")
    overrides: dict[str, Figure] = Field(description="budgets that the command line set over the target's")
    certify: bool = Field(description="whether a drop that is not certified fails")
    machine: MachineRecord = Field(description="where it was measured")
    protocol: Protocol | None = Field(description="None where latency was not measured")
    num_test_photos: Size = Field(description="photos in the test split")
    original: OriginalRow = Field(description="the original")
    rows: list[Row] = Field(min_length=1, description="one row for each artifact on each runtime")
    noise_floors: list[NoiseFloor] = Field(description="one a thread count")
    attribution: list[AttributionStep] = Field(description="where accuracy was lost, step by step")
    layers: list[LayerReport] = Field(description="errors by layer; empty where they were not asked for")
    num_flipped_photos: Count = Field(description="test photos on which an artifact differs from the original")
    flipped_photos: list[FlippedPhoto] = Field(max_length=300, description="those on which most artifacts differ first")
    choice: Choice = Field(description="the best artifact")
    warnings: list[str] = Field(description="what the user must hear of the whole verification")
    library_versions: dict[str, str] = Field(description="version by library")
    wall_times_s: dict[str, Figure] = Field(description="of the parts of this verification")
    verdict: Literal["certified", "passed", "failed"] = Field(description="the worst verdict of a row")

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        names = [row.artifact for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("an artifact has two rows")
        if self.choice.best not in (None, *names):
            raise ValueError("the best artifact has no row")
        for drift in (self.original.cpu_drift, *(row.drift for row in self.rows)):
            if drift is None:
                continue
            for matrix in (drift.original_confusion_matrix, drift.confusion_matrix):
                if {len(self.labels)} != {len(matrix), *map(len, matrix)}:
                    raise ValueError(f"a confusion matrix is not of the {len(self.labels)} labels")
            if [one.label for one in drift.per_class] != self.labels:
                raise ValueError("the drift by class is not of the labels")
        return self
