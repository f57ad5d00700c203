"""What passes between the stages through the disk: validated on reading, unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tledge.errors import ArtifactError
from tledge.files import read_sealed, write_sealed

SplitName = Literal["train", "validation", "test"]
Promise = Literal["float32", "float16 weights", "dynamic-range int8", "all-integer"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


class Record(BaseModel):
    """Frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.model_dump(mode="json")

    def save(self, path: Path) -> None:
        """Write atomically, sealed with its own hash."""
        write_sealed(path, self.as_json())

    @classmethod
    def load(cls, path: Path, remedy: str) -> Self:
        """Read back. Raises ArtifactError, ending in ``remedy``, where the file is damaged or of another version."""
        record = read_sealed(path, remedy)
        version = cls.model_fields["schema_version"].default if "schema_version" in cls.model_fields else None
        if record.get("schema_version") != version:
            raise ArtifactError(
                f"{path}: schema version {record.get('schema_version')}, this tledge reads {version}; {remedy}"
            )
        try:
            return cls.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise ArtifactError(f"{path}: {place}: {first['msg']}; {remedy}") from error


class SkippedPhoto(Record):
    """A photo that could not be read, and why."""

    id: str
    reason: str


class DatasetRecord(Record):
    """The data a run was built from."""

    spec: str
    name: str
    fingerprint_sha256: str
    num_photos: int
    skipped: list[SkippedPhoto]
    duplicates_dropped: int = Field(description="training copies of photos that are in a held-out split of the source")
    conflicting_labels: int = Field(description="pictures that occur under more than one label")


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
    preprocessing: dict[str, Any]
    features: FeatureRecord
    metrics: dict[Literal["validation", "test"], Metrics]
    best_epoch: int
    num_epochs: int
    device: DeviceRecord
    wall_time_s: float
    library_versions: dict[str, str]
    files_sha256: dict[str, str]


class OperatorCount(Record):
    """How often one operator occurs with one kind of arithmetic."""

    name: str
    kind: Literal["integer", "float", "hybrid", "layout", "boundary", "flex", "custom"]
    data_type: str
    count: int


class TensorRecord(Record):
    """An input or output as the file declares it."""

    name: str
    shape: list[int]
    data_type: str
    scale: float | None = None
    zero_point: int | None = None


class Audit(Record):
    """What a file really holds, read from the file itself."""

    operators: list[OperatorCount]
    weight_types: dict[str, int] = Field(description="bytes of constants by data type")
    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    file_versions: dict[str, int] = Field(description="opset and IR version of ONNX, schema version of TFLite")
    num_parameters: int = Field(description="elements of the weights and biases")
    num_macs: int | None = Field(
        description="multiply-accumulates of one inference: convolutions and matrix products; None where a shape is unknown"
    )
    integer_mac_share: float | None = Field(
        description="part of num_macs in integer arithmetic; None where there are none, or their number is unknown"
    )
    weight_granularity: dict[Literal["per-channel", "per-tensor"], int] = Field(
        description="quantized weight tensors of the multiplying operators by how many scales they have"
    )
    float_constants: list[str] = Field(
        description="constants in floating point that are no scale of a quantization, NAME (bytes), the 20 largest first"
    )

    def names_of(self, *kinds: str) -> list[str]:
        """``NAME (data type) x count`` of the operators of these kinds."""
        return [f"{op.name} ({op.data_type}) x{op.count}" for op in self.operators if op.kind in kinds]


class CalibrationRecord(Record):
    """Which training photos set the quantization ranges."""

    split: Literal["train"] = "train"
    num_samples: int
    class_counts: dict[str, int]
    seed: int
    ids: list[str]
    content_sha256: list[str]
    disjoint_from_test: Literal[True] = True


class ExportRecord(Record):
    """export.json: one artifact, how it was made, and what is in it."""

    schema_version: int = 2
    format: str
    promise: Promise
    file: str
    sha256: str
    size_bytes: int
    created_utc: str
    source_manifest_sha256: str
    options: dict[str, Any]
    calibration: CalibrationRecord | None
    audit: Audit
    library_versions: dict[str, str]
    convert_s: float


class Interval(Record):
    """A 95% confidence interval, in the unit of what it belongs to."""

    low: float
    high: float


class Flips(Record):
    """Photos whose top-1 class changed, by whether the original and the artifact are right."""

    right_to_wrong: int
    wrong_to_right: int
    wrong_to_wrong: int


class ClassDrift(Record):
    """Drift on the photos of one class. Recalls are fractions; None where the class has no test photo."""

    label: str
    num_photos: int
    original_recall: float | None
    recall: float | None
    recall_drop_points: float | None = Field(description="paired, positive where the artifact is worse")
    recall_drop_points_interval: Interval | None
    flips: Flips


class Drift(Record):
    """An artifact's answers against the original's on the same photos. Fractions of one unless the name says points.

    Differences are original minus artifact: positive where the artifact is worse.
    """

    num_photos: int
    original_accuracy: float
    original_accuracy_interval: Interval = Field(description="Wilson")
    accuracy: float
    accuracy_interval: Interval = Field(description="Wilson")
    accuracy_drop_points: float
    accuracy_drop_points_interval: Interval = Field(description="Tango's score interval of the paired difference")
    mcnemar_p_value: float = Field(description="exact, two-sided")
    agreement: float = Field(description="share of photos with the same top-1 class")
    agreement_interval: Interval = Field(description="Wilson")
    flips: Flips
    original_macro_f1: float
    macro_f1: float
    original_confusion_matrix: list[list[int]] = Field(description="rows: truth, columns: prediction, in label order")
    confusion_matrix: list[list[int]]
    per_class: list[ClassDrift]
    max_abs_probability_difference: float
    mean_abs_probability_difference: float
    p99_abs_probability_difference: float = Field(description="what 99% of all photos' probabilities stay within")
    mean_kl_divergence_nats: float = Field(
        description="of the original's probabilities from the artifact's, none below 1e-7"
    )
    mean_logit_cosine: float | None = Field(description="None where one side gives probabilities only")
    original_expected_calibration_error: float = Field(description="15 equal-mass bins")
    expected_calibration_error: float
    original_mean_confidence: float
    mean_confidence: float


class Latency(Record):
    """Single-photo latency at one thread count, in milliseconds, over interleaved rounds after a warm-up."""

    num_threads: int
    runs: int
    rounds: int
    warmup_runs: int
    is_stable: bool = Field(description="whether the warm-up settled before its limit")
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    iqr_ms: float = Field(description="interquartile range")
    quantiles_ms: list[float] = Field(description="percentiles 0, 5, ..., 100: the distribution for a chart")
    round_medians_ms: list[float] = Field(description="one a round: what comparisons are made of")
    load_ms: float
    first_inference_ms: float


class Speedup(Record):
    """How many times faster one artifact is than something else, measured in the same rounds."""

    against: str
    num_threads: int
    ratio: float = Field(description="the other's latency over this one's: above 1 is faster")
    ratio_interval: Interval = Field(description="bootstrap over the rounds")
    verdict: Literal["faster", "slower", "no difference measured"]


class NoiseFloor(Record):
    """One artifact measured against itself, in two processes: the smallest difference that means anything here."""

    artifact: str
    num_threads: int
    ratio: float
    ratio_interval: Interval
    floor: float = Field(description="a fraction: relative differences up to it are noise")


class Check(Record):
    """One gate: a limit against what was measured."""

    name: str
    limit: float | None = Field(description="None where the gate has no number: the artifact ran, its promise is kept")
    measured: float | None
    verdict: Literal["certified", "passed", "failed", "not judged"]
    reason: str


class Row(Record):
    """One artifact on one runtime."""

    format: str
    runtime: str
    file: str
    sha256: str
    size_bytes: int
    audit: Audit | None = Field(description="read from the file when it was verified; None where it can't be read")
    peak_memory_mb: float | None
    latency: Latency | None = Field(description="at the target's thread count")
    thread_sweep: list[Latency] = Field(description="at the other thread counts that were asked for")
    speedups: list[Speedup]
    drift: Drift | None
    checks: list[Check]
    warnings: list[str] = Field(
        description="what the user must hear of this artifact, such as an int8 slower than float"
    )
    error: str | None
    verdict: Literal["certified", "passed", "failed"]

    @property
    def artifact(self) -> str:
        """Its name in a report: a format may run on several runtimes."""
        return f"{self.format} on {self.runtime}"


class OriginalRow(Record):
    """The original: as the training device computed it, and run again on this CPU (None: not asked for)."""

    accuracy: float
    accuracy_interval: Interval
    device: DeviceRecord
    size_bytes: int
    cpu_drift: Drift | None
    cpu_latency: Latency | None
    cpu_thread_sweep: list[Latency]
    peak_memory_mb: float | None


class AttributionStep(Record):
    """One step from the original to an artifact, and what was lost in it."""

    artifact: str = Field(description="FORMAT on RUNTIME; the device step belongs to all")
    step: Literal["device", "conversion", "quantization", "kernels"]
    before: str
    after: str
    num_photos: int
    accuracy_drop_points: float | None = Field(description="None where it was not measured: see note")
    agreement: float | None
    mean_abs_probability_difference: float | None
    note: str


class LayerError(Record):
    """How far one layer's output is from the float model's. ``sqnr_db`` is None where they are equal."""

    name: str
    operator: str
    sqnr_db: float | None = Field(
        description="signal-to-quantization-noise ratio, 10 log10(signal power / error power)"
    )
    cosine: float
    own_sqnr_db: float | None = Field(
        default=None,
        description="of the error that the layer itself adds: against the float layer on the quantized network's values; "
        "None where it adds none",
    )


class LayerReport(Record):
    """The layers of one artifact, those first that add the largest error of their own."""

    artifact: str
    against: str
    num_photos: int
    layers: list[LayerError]
    note: str = Field(description="what could not be compared, and why; empty where all was")


class FlippedAnswer(Record):
    """What one artifact says of a photo on which it differs from the original."""

    artifact: str
    predicted: str
    confidence: float


class FlippedPhoto(Record):
    """A test photo on which at least one artifact differs from the original."""

    id: str
    content_sha256: str
    label: str
    original_predicted: str
    original_confidence: float
    answers: list[FlippedAnswer]
    thumbnail_jpeg_base64: str


class Lost(Record):
    """Why an artifact is not the best one."""

    artifact: str
    reason: str


class Choice(Record):
    """The best artifact that keeps every budget, by a stated rule; None where none does."""

    best: str | None
    reason: str
    others: list[Lost]


class MachineRecord(Record):
    """Where the report was measured. No host name."""

    cpu: str
    architecture: str
    logical_cores: int
    system: str
    python: str
    cpu_flags: list[str] = Field(description="those that matter for integer arithmetic, of a fixed list")
    governor: str | None = Field(description="the CPU's frequency governor; None where the system does not tell")
    load_average: float = Field(description="over the last minute, before anything was measured")


class Protocol(Record):
    """How latency was measured."""

    name: Literal["quick", "standard", "mlperf"]
    description: str
    pinned_cores: list[int] | None = Field(
        description="cores the workers were pinned to; None where the platform can't"
    )


class Report(Record):
    """report.json: the source of every report."""

    schema_version: int = 2
    run: str
    manifest_sha256: str
    created_utc: str
    tledge_version: str
    dataset: str
    dataset_fingerprint_sha256: str
    test_split_sha256: str
    seed: int
    backbone: str
    labels: list[str]
    target: dict[str, Any]
    overrides: dict[str, float] = Field(description="budgets that the command line set over the target's")
    certify: bool
    machine: MachineRecord
    protocol: Protocol | None = Field(description="None where latency was not measured")
    num_test_photos: int
    original: OriginalRow
    rows: list[Row]
    noise_floors: list[NoiseFloor] = Field(description="one a thread count")
    attribution: list[AttributionStep]
    layers: list[LayerReport]
    num_flipped_photos: int
    flipped_photos: list[FlippedPhoto] = Field(description="at most 300, those on which most artifacts differ first")
    choice: Choice
    warnings: list[str]
    library_versions: dict[str, str]
    wall_times_s: dict[str, float] = Field(description="of the parts of this verification")
    verdict: Literal["certified", "passed", "failed"]
