"""What passes between the stages through the disk: validated on reading, unknown keys are errors."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tledge.pixel_range import PixelRange
from tledge.record_base import Record as Record  # noqa: PLC0414 - who imports records finds their base with them

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

# What the figures of a report may be: its charts and tables can show every value in these ranges.
Count = Annotated[int, Field(ge=0, le=2**53)]  # what every reader of JSON holds exactly
Size = Annotated[int, Field(gt=0, le=2**53)]
Figure = Annotated[float, Field(ge=-1e30, le=1e30)]  # finite, and far from where arithmetic overflows
Fraction = Annotated[float, Field(ge=0, le=1)]
Points = Annotated[float, Field(ge=-100, le=100)]
Milliseconds = Annotated[float, Field(ge=1e-6, le=1e13)]
Ratio = Annotated[float, Field(gt=0, le=1e30)]
PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]  # of a file: it leads nowhere else
Thumbnail = Annotated[str, Field(pattern=r"^/9j/(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]


def _stays_below(path: str) -> str:
    if not set(path.split("/")).isdisjoint(("", ".", "..")) or "\0" in path:
        raise ValueError(f"{path!r} leads out of the folder")
    return path


RelativePath = Annotated[str, AfterValidator(_stays_below)]
"""Of a file below the record's folder, with ``/`` between its parts."""


class SkippedPhoto(Record):
    """A photo that could not be read, and why."""

    id: str
    reason: str


class NearCopy(Record):
    """A photo that is another one, encoded or resized again."""

    id: str
    of: str = Field(description="the id of the photo in the run")
    split: SplitName = Field(description="where that one is")
    distance: Figure = Field(description="root mean square of the differences of 16 x 16 mean grey levels, of 255")


class DatasetRecord(Record):
    """The data a run was built from."""

    spec: str
    name: str
    fingerprint_sha256: str
    num_photos: int
    skipped: list[SkippedPhoto]
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
    """One split: its size, its photos by class, and the hash of its members."""

    num_photos: int
    class_counts: dict[str, int]
    sha256: str


class BackboneRecord(Record):
    """The feature extractor under the head."""

    handle: str
    sha256: str
    input_size: int
    feature_dim: int


class DeviceRecord(Record):
    """Where something was computed."""

    kind: Literal["CPU", "GPU"]
    name: str
    count: int


class Metrics(Record):
    """Classification metrics of one split; fractions of one. Averages are macro averages over the classes present."""

    num_photos: int
    accuracy: float
    precision_macro: float
    recall_macro: float
    f1_macro: float
    confusion_matrix: list[list[int]] = Field(description="rows: truth, columns: prediction, in label order")


class FeatureRecord(Record):
    """What computed the frozen features, and the proof that it equals TensorFlow."""

    runtime: str
    proof_photos: int
    max_abs_difference: float
    output_range: float


class PreprocessingRecord(Record):
    """How a photo becomes what the network takes; it is in each artifact's metadata too."""

    version: int
    description: str
    input: str
    scale_in_graph: float
    pixel_range: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        default=None, description="black and white of 16-bit photos; None where the build was told of none"
    )

    @model_validator(mode="after")
    def _the_range_is_possible(self) -> Self:
        if self.pixel_range and not PixelRange(*self.pixel_range).is_possible():
            raise ValueError(f"no range of 16-bit values: {self.pixel_range}")
        return self


class Manifest(Record):
    """manifest.json: what a run is and came from."""

    schema_version: int = 1
    name: str
    created_utc: str
    tledge_version: str
    dataset: DatasetRecord
    labels: list[str]
    splits: dict[SplitName, SplitRecord]
    split_rule: str
    backbone: BackboneRecord
    recipe: dict[str, Any]
    seed: int
    preprocessing: PreprocessingRecord
    features: FeatureRecord | None = Field(description="None where no features of a frozen backbone were used")
    metrics: dict[Literal["validation", "test"], Metrics]
    best_epoch: int
    num_epochs: int
    device: DeviceRecord
    wall_time_s: float
    library_versions: dict[str, str]
    files_sha256: dict[RelativePath, str]

    @property
    def pixel_range(self) -> PixelRange | None:
        """Of 16-bit photos; None where the build was told of none."""
        named = self.preprocessing.pixel_range
        return PixelRange(*named) if named else None


class OperatorCount(Record):
    """How often one operator occurs with one kind of arithmetic."""

    name: str
    kind: Literal["integer", "float", "hybrid", "layout", "boundary", "flex", "custom"]
    data_type: str
    count: Count


class TensorRecord(Record):
    """An input or output as the file declares it."""

    name: str
    shape: list[int]
    data_type: str
    scale: Figure | None = None
    zero_point: int | None = None


class Audit(Record):
    """What a file really holds, read from the file itself."""

    operators: list[OperatorCount]
    weight_types: dict[str, Count] = Field(description="bytes of constants by data type")
    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
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
        """``NAME (data type) x count`` of the operators of these kinds."""
        return [f"{op.name} ({op.data_type}) x{op.count}" for op in self.operators if op.kind in kinds]


class CalibrationRecord(Record):
    """Which training photos set the quantization ranges, and that none is a test photo."""

    split: Literal["train"] = "train"
    num_samples: int
    class_counts: dict[str, int]
    seed: int
    ids: list[str]
    content_sha256: list[str]
    disjoint_from_test: Literal[True] = True
    test_num_photos: int
    test_sha256: str = Field(description="of the test split that they were compared with, as the run's manifest has it")
    near_copies_left_out: int = Field(default=0, description="training photos that are near copies of test photos")
    near_copies_kept: int = Field(
        default=0,
        description="of these photos, those as near to a test photo as a copy is, where many photos are alike",
    )


class Interval(Record):
    """A 95% confidence interval, in the unit of what it belongs to."""

    low: Figure
    high: Figure


class AccuracyStep(Record):
    """One file that a search for an artifact within a budget of accuracy made and scored on the validation photos."""

    format: str
    float_operators: Count = Field(description="of the network's layers that compute in float")
    accuracy: Fraction | None = Field(description="None where the file did not run")
    accuracy_drop_points: Points | None = Field(description="paired, positive where the file is worse")
    accuracy_drop_points_interval: Interval | None = Field(
        description="Tango's score interval of the paired difference"
    )
    size_bytes: Size
    p50_ms: Milliseconds | None = Field(description="of a few inferences on one thread of the machine that searched")
    is_within_budget: bool = Field(description="whether the whole interval is")
    error: str | None


class AccuracySearch(Record):
    """Why an artifact is as it is: the files that were tried for a budget of accuracy, in their order."""

    split: Literal["validation"] = "validation"
    num_photos: Size
    original_accuracy: Fraction
    max_drop_points: Points
    missed_by_points: Figure | None = Field(
        description="how far the upper end of the interval of this artifact's drop is over the budget; None where it is not"
    )
    steps: list[AccuracyStep]


class ExportRecord(Record):
    """export.json: one artifact, how it was made, and what is in it."""

    schema_version: int = 4
    format: str
    promise: Promise
    file: PlainName
    sha256: str
    size_bytes: int
    compressed_bytes: int = Field(
        description="in an ordinary archive, as zip -9 makes it; tledge 0.1 wrote what the best of thirteen settings of zlib made"
    )
    created_utc: str
    source_manifest_sha256: str
    options: dict[str, Any]
    calibration: CalibrationRecord | None
    audit: Audit
    library_versions: dict[str, str]
    convert_s: float
    search: AccuracySearch | None = Field(default=None, description="None where no budget of accuracy was asked for")


class Flips(Record):
    """Photos whose top-1 class changed, by whether the original and the artifact are right."""

    right_to_wrong: Count
    wrong_to_right: Count
    wrong_to_wrong: Count


class ClassDrift(Record):
    """Drift on the photos of one class. Recalls are fractions; None where the class has no test photo."""

    label: str
    num_photos: Count
    original_recall: Fraction | None
    recall: Fraction | None
    recall_drop_points: Figure | None = Field(description="paired, positive where the artifact is worse")
    recall_drop_points_interval: Interval | None
    flips: Flips


class Drift(Record):
    """An artifact's answers against the original's on the same photos. Fractions of one unless the name says points.

    Differences are original minus artifact: positive where the artifact is worse.
    """

    num_photos: Size
    original_accuracy: Fraction
    original_accuracy_interval: Interval = Field(description="Wilson")
    accuracy: Fraction
    accuracy_interval: Interval = Field(description="Wilson")
    accuracy_drop_points: Points
    accuracy_drop_points_interval: Interval = Field(description="Tango's score interval of the paired difference")
    mcnemar_p_value: Figure = Field(description="exact, two-sided")
    agreement: Fraction = Field(description="share of photos with the same top-1 class")
    agreement_interval: Interval = Field(description="Wilson")
    flips: Flips
    original_macro_f1: Figure
    macro_f1: Figure
    original_confusion_matrix: list[list[Count]] = Field(description="rows: truth, columns: prediction, in label order")
    confusion_matrix: list[list[Count]]
    per_class: list[ClassDrift]
    max_abs_probability_difference: Figure
    mean_abs_probability_difference: Figure
    p99_abs_probability_difference: Figure = Field(description="what 99% of all photos' probabilities stay within")
    mean_kl_divergence_nats: Figure = Field(
        description="of the original's probabilities from the artifact's, none below 1e-7"
    )
    mean_logit_cosine: Figure | None = Field(description="None where one side gives probabilities only")
    original_expected_calibration_error: Figure = Field(description="15 equal-mass bins")
    expected_calibration_error: Figure
    original_mean_confidence: Figure
    mean_confidence: Figure

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


class Latency(Record):
    """Single-photo latency at one thread count, in milliseconds, over interleaved rounds after a warm-up."""

    num_threads: Size
    runs: Size
    rounds: Size
    warmup_runs: Count
    is_stable: bool = Field(description="whether the warm-up settled before its limit")
    mean_ms: Milliseconds
    p50_ms: Milliseconds
    p90_ms: Milliseconds
    p95_ms: Milliseconds
    p99_ms: Milliseconds
    iqr_ms: Figure = Field(description="interquartile range")
    quantiles_ms: list[Milliseconds] = Field(
        min_length=21, max_length=21, description="percentiles 0, 5, ..., 100: the distribution for a chart"
    )
    round_medians_ms: list[Milliseconds] = Field(min_length=1, description="one a round: what comparisons are made of")
    load_ms: Figure
    first_inference_ms: Figure


class Speedup(Record):
    """How many times faster one artifact is than something else, measured in the same rounds."""

    against: str
    num_threads: Size
    ratio: Ratio = Field(description="the other's latency over this one's: above 1 is faster")
    ratio_interval: Interval = Field(description="bootstrap over the rounds")
    verdict: Literal["faster", "slower", "no difference measured"]


class NoiseFloor(Record):
    """One artifact measured against itself, in two processes: the smallest difference that means anything here."""

    artifact: str
    num_threads: Size
    ratio: Ratio
    ratio_interval: Interval
    floor: float = Field(ge=0, le=1e30, description="a fraction: relative differences up to it are noise")


class Check(Record):
    """One gate: a limit against what was measured."""

    name: str
    limit: Figure | None = Field(description="None where the gate has no number: the artifact ran, its promise is kept")
    measured: Figure | None
    verdict: Literal["certified", "passed", "failed", "not judged"]
    reason: str


class MachineRecord(Record):
    """Where something was measured. It holds no host name."""

    cpu: str
    architecture: str
    logical_cores: Size
    system: str
    python: str
    cpu_flags: list[str] = Field(description="those that matter for integer arithmetic, of a fixed list")
    governor: str | None = Field(description="the CPU's frequency governor; None where the system does not tell")
    load_average: Figure = Field(description="over the last minute, before anything was measured")


class Row(Record):
    """One artifact on one runtime."""

    format: str
    runtime: str
    file: str
    sha256: str
    size_bytes: Count
    audit: Audit | None = Field(description="read from the file when it was verified; None where it can't be read")
    peak_memory_mb: Figure | None
    latency: Latency | None = Field(description="at the target's thread count")
    thread_sweep: list[Latency] = Field(description="at the other thread counts that were asked for")
    speedups: list[Speedup]
    drift: Drift | None
    checks: list[Check]
    warnings: list[str] = Field(
        description="what the user must hear of this artifact, such as an int8 slower than float"
    )
    machine: MachineRecord | None = Field(
        default=None, description="where it was measured; None in reports of before rows said it: the report's machine"
    )
    error: str | None
    verdict: Literal["certified", "passed", "failed"]

    @property
    def artifact(self) -> str:
        """Its name in a report: a format may run on several runtimes."""
        return f"{self.format} on {self.runtime}"

    @model_validator(mode="after")
    def _what_ran_has_a_size(self) -> Self:
        if self.drift and not self.size_bytes:
            raise ValueError(f"{self.artifact} answered photos, and its file has no size")
        return self


class OriginalRow(Record):
    """The original: as the training device computed it, and run again on this CPU (None: not asked for)."""

    accuracy: Fraction
    accuracy_interval: Interval
    device: DeviceRecord
    size_bytes: Size
    cpu_drift: Drift | None
    cpu_latency: Latency | None
    cpu_thread_sweep: list[Latency]
    peak_memory_mb: Figure | None


class AttributionStep(Record):
    """One step from the original to an artifact, and what was lost in it."""

    artifact: str = Field(description="FORMAT on RUNTIME; the device step belongs to all")
    step: Literal["device", "conversion", "quantization", "kernels"]
    before: str
    after: str
    num_photos: Count
    accuracy_drop_points: Figure | None = Field(description="None where it was not measured: see note")
    agreement: Figure | None
    mean_abs_probability_difference: Figure | None
    note: str


class LayerError(Record):
    """How far one layer's output is from the float model's. ``sqnr_db`` is None where they are equal."""

    name: str
    operator: str
    sqnr_db: Figure | None = Field(
        description="signal-to-quantization-noise ratio, 10 log10(signal power / error power)"
    )
    cosine: Figure
    own_sqnr_db: Figure | None = Field(
        default=None,
        description="of the error that the layer itself adds: against the float layer on the quantized network's values; "
        "None where it adds none",
    )


class LayerReport(Record):
    """The layers of one artifact, those first that add the largest error of their own."""

    artifact: str
    against: str
    num_photos: Count
    layers: list[LayerError]
    note: str = Field(description="what could not be compared, and why; empty where all was")


class FlippedAnswer(Record):
    """What one artifact says of a photo on which it differs from the original."""

    artifact: str
    predicted: str
    confidence: Figure


class FlippedPhoto(Record):
    """A test photo on which at least one artifact differs from the original."""

    id: str
    content_sha256: str
    label: str
    original_predicted: str
    original_confidence: Figure
    answers: list[FlippedAnswer]
    thumbnail_jpeg_base64: Thumbnail


class Lost(Record):
    """Why an artifact is not the best one."""

    artifact: str
    reason: str


class Choice(Record):
    """The best artifact that keeps every budget, by a stated rule; None where none does."""

    best: str | None
    reason: str
    others: list[Lost]


class Protocol(Record):
    """How latency was measured."""

    name: Literal["quick", "standard", "mlperf"]
    description: str
    pinned_cores: list[int] | None = Field(
        description="cores the workers were pinned to; None where the platform can't"
    )


class Limits(Record):
    """The budget of a target."""

    max_accuracy_drop_points: float = Field(ge=0, le=100)
    max_p95_latency_ms: float = Field(gt=0, le=1e9)
    max_size_mb: float = Field(gt=0, le=1e9, description="file size, in 1,000,000 bytes")
    max_memory_mb: float = Field(
        gt=0, le=1e9, description="peak memory of the process that runs it, in 1,000,000 bytes"
    )


class LimitBasis(Record):
    """Where each limit comes from; a limit of the command line is a requirement."""

    max_accuracy_drop_points: Literal["guess", "measured", "requirement"]
    max_p95_latency_ms: Literal["guess", "measured", "requirement"]
    max_size_mb: Literal["guess", "measured", "requirement"]
    max_memory_mb: Literal["guess", "measured", "requirement"]


class TargetRecord(Record):
    """The target that a report judges for, with what the command line set over it."""

    name: str
    description: str
    threads: int = Field(ge=1, le=1024)
    runtimes: list[str] = Field(description="the runtimes that are used there; empty: all that are installed")
    architectures: list[str] = Field(description="where latency and memory can be judged; empty: on any machine")
    cpu_contains: str = Field(description="text that the CPU's name must hold, beside the architecture")
    budget: Limits
    basis: LimitBasis


class Report(Record):
    """report.json: the source of every report."""

    schema_version: int = 3
    run: str
    manifest_sha256: str
    created_utc: str
    tledge_version: str
    dataset: str
    dataset_fingerprint_sha256: str
    test_split_sha256: str
    seed: int
    backbone: str
    labels: list[str] = Field(min_length=1)
    target: TargetRecord
    overrides: dict[str, Figure] = Field(description="budgets that the command line set over the target's")
    certify: bool
    machine: MachineRecord
    protocol: Protocol | None = Field(description="None where latency was not measured")
    num_test_photos: Size
    original: OriginalRow
    rows: list[Row] = Field(min_length=1)
    noise_floors: list[NoiseFloor] = Field(description="one a thread count")
    attribution: list[AttributionStep]
    layers: list[LayerReport]
    num_flipped_photos: Count
    flipped_photos: list[FlippedPhoto] = Field(max_length=300, description="those on which most artifacts differ first")
    choice: Choice
    warnings: list[str]
    library_versions: dict[str, str]
    wall_times_s: dict[str, Figure] = Field(description="of the parts of this verification")
    verdict: Literal["certified", "passed", "failed"]

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
