"""What passes between the stages through the disk: validated on reading, unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tledge.errors import ArtifactError
from tledge.files import read_sealed, write_sealed

SplitName = Literal["train", "validation", "test"]
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

    schema_version: int = 1
    format: str
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


class Latency(Record):
    """Single-photo latency after warm-up, in milliseconds."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    runs: int
    warmup_runs: int
    num_threads: int


class Drift(Record):
    """An artifact's answers against the original's on the same photos."""

    num_photos: int
    accuracy: float
    accuracy_drop_points: float
    agreement: float
    flips_right_to_wrong: int
    flips_wrong_to_right: int
    flips_wrong_to_wrong: int
    max_abs_probability_difference: float
    mean_abs_probability_difference: float


class Check(Record):
    """One budget of the target against what was measured."""

    name: str
    limit: float
    measured: float | None
    verdict: Literal["passed", "failed", "not judged"]
    reason: str


class Row(Record):
    """One artifact on one runtime."""

    format: str
    runtime: str
    file: str
    sha256: str
    size_bytes: int
    load_ms: float | None
    peak_memory_mb: float | None
    latency: Latency | None
    drift: Drift | None
    checks: list[Check]
    error: str | None
    verdict: Literal["passed", "failed"]


class OriginalRow(Record):
    """The original: as the training device computed it, and run again on this CPU."""

    reference_accuracy: float
    device: DeviceRecord
    cpu_drift: Drift
    cpu_latency: Latency
    load_ms: float
    peak_memory_mb: float
    size_bytes: int


class MachineRecord(Record):
    """Where the report was measured."""

    cpu: str
    architecture: str
    logical_cores: int
    system: str
    python: str


class Report(Record):
    """report.json: the source of every report."""

    schema_version: int = 1
    run: str
    manifest_sha256: str
    created_utc: str
    tledge_version: str
    target: dict[str, Any]
    machine: MachineRecord
    num_test_photos: int
    original: OriginalRow
    rows: list[Row]
    warnings: list[str]
    library_versions: dict[str, str]
    verdict: Literal["passed", "failed"]
