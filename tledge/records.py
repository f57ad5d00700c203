"""Records pass between the stages through the disk: they are validated on reading, and unknown keys are errors."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from tledge import earlier_records
from tledge.errors import InputError
from tledge.pixel_range import PixelRange
from tledge.record_base import Record as Record  # noqa: PLC0414 - a module that imports records finds their base here
from tledge.resizing import SQUEEZE, Resize, parse_resize

SplitName = Literal["train", "validation", "test"]
Promise = Literal[
    "float32",
    "float16 weights",
    "dynamic-range int8",
    "int16 activations, int8 weights",
    "all-integer",
    "mixed integer and float",
]
MIXED_SUFFIX = "-mixed"  # ends the name of a format of which a search left some layers in float
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


def _in_order(confusions: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    places = [(actual, predicted) for actual, predicted, _ in confusions]
    if any(first >= second for first, second in pairwise(places)):
        raise ValueError("the classes of confusions are not in order, each pair once")
    return confusions


def _check_classes(confusions: Confusions, labels: list[str]) -> None:
    """Raise ValueError where confusions are of a class that has no label."""
    if any(max(actual, predicted) >= len(labels) for actual, predicted, _ in confusions):
        raise ValueError(f"confusions are of more classes than the {len(labels)} labels")


def _tuple_of_json(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


_Confusion = Annotated[tuple[Count, Count, Size], BeforeValidator(_tuple_of_json)]
Confusions = Annotated[list[_Confusion], AfterValidator(_in_order)]
"""This is a confusion matrix without its zeros: true class, predicted class and photos of each pair, in order.

Classes are numbers from 0, in label order. With many classes nearly all of a matrix is zero.
"""
_CONFUSIONS = (
    "Each item is [class, answered class, photos] of a pair that occurs. Classes are numbered from 0, in label order."
)


class SkippedPhoto(Record):
    """This record names a photo that could not be read."""

    id: str = Field(
        description="This names the photo by its place in its source, such as a path below the data set's folder."
    )
    reason: str = Field(description="This sentence says why the photo could not be read.")


class NearCopy(Record):
    """This record names a photo that is another one, encoded or resized again."""

    id: str = Field(description="This names the near copy by its place in its source.")
    of: str = Field(description="This is the id of the photo in the run that the near copy resembles.")
    split: SplitName = Field(description="This is the run's split that holds the photo named in `of`.")
    distance: Figure = Field(
        description="This is the distance of the two fingerprints in grey levels, 0 to 255: the root mean square of the "
        "differences of their 16 x 16 mean grey levels."
    )


class DatasetRecord(Record):
    """This record says from which data a run was built."""

    spec: str = Field(description="This is the data set as `--dataset` named it.")
    name: str = Field(description="This is the name of the data set, with its version if it has one.")
    fingerprint_sha256: str = Field(
        description="This is a SHA-256 over the content and label of every photo of the data set."
    )
    num_photos: int = Field(description="This is the number of photos that were read.")
    skipped: list[SkippedPhoto] = Field(description="This lists the photos that could not be read.")
    duplicates_dropped: int = Field(
        description="This is the number of training photos that were dropped because the source holds the same picture "
        "in its own validation or test split."
    )
    moved_into_training: list[str] = Field(
        default=[],
        description="This lists the ids of photos that were moved into training because no photo of their class fell there.",
    )
    conflicting_labels: int = Field(description="This is the number of pictures that occur under more than one label.")
    conflicting_photos: list[list[str]] = Field(
        default=[],
        description="This lists, for each picture that occurs under more than one label, the ids of its photos.",
    )
    conflicts_left_out: list[str] = Field(
        default=[],
        description="This lists the photos that were left out of the test split because their pictures occur under more than "
        "one label.",
    )
    near_copies_dropped: list[NearCopy] = Field(
        default=[],
        description="This lists the photos that were left out because they are near copies of photos of the same class in a "
        "later split. The order of the splits is train, validation, test.",
    )
    near_copies_kept: int = Field(
        default=0,
        description="This is the number of photos that are as near to a photo of a later split as a near copy is, but "
        "were kept. They are kept if many photos of the data set are alike, or if the classes differ.",
    )


class SplitRecord(Record):
    """This record describes one split."""

    num_photos: int = Field(description="This is the number of photos in the split.")
    class_counts: dict[str, int] = Field(description="This gives the number of photos for each label.")
    sha256: str = Field(description="This is a SHA-256 over the content and label of every photo in the split.")


class BackboneRecord(Record):
    """This record names the feature extractor under the head."""

    handle: str = Field(description="This is the backbone as `--backbone` named it.")
    sha256: str = Field(description="This is the SHA-256 of the backbone's files or weights.")
    input_size: int = Field(description="This is the height and the width of the input, in pixels.")
    feature_dim: int = Field(description="This is the number of features that the backbone computes for one photo.")


class DeviceRecord(Record):
    """This record says on which device something was computed."""

    kind: Literal["CPU", "GPU"] = Field(description="This is the kind of device.")
    name: str = Field(description="This is the name of the device as the system gives it.")
    count: int = Field(description="This is the number of devices that took part.")


class Metrics(Record):
    """This record scores the answers to one split, as fractions of one. Means are over the classes that are present."""

    num_photos: int = Field(description="This is the number of photos that were scored.")
    accuracy: float = Field(description="This is the top-1 accuracy, a fraction from 0 to 1.")
    precision_macro: float = Field(description="This is the mean precision of the classes, a fraction from 0 to 1.")
    recall_macro: float = Field(description="This is the mean recall of the classes, a fraction from 0 to 1.")
    f1_macro: float = Field(description="This is the mean F1 score of the classes, a fraction from 0 to 1.")
    confusions: Confusions = Field(description=f"This counts the right and the wrong answers. {_CONFUSIONS}")


class FeatureRecord(Record):
    """This record says what computed the frozen features, and how near it is to TensorFlow."""

    runtime: str = Field(description="This is the runtime that computed the features.")
    proof_photos: int = Field(
        description="This is the number of photos whose features TensorFlow computed too, for comparison."
    )
    max_abs_difference: float = Field(
        description="This is the largest absolute difference between a feature of the runtime and the same feature of "
        "TensorFlow."
    )
    output_range: float = Field(
        description="This is the largest feature of the compared photos minus the smallest one."
    )


class PreprocessingRecord(Record):
    """This record says how a photo becomes an input of the network. It is in each artifact's metadata too."""

    version: int = Field(description="This is the version of the preprocessing.")
    description: str = Field(description="This text describes the steps from a photo's file to the network's input.")
    input: str = Field(description="This text gives the shape, data type and range of the network's input.")
    scale_in_graph: float = Field(description="The graph multiplies each pixel by this factor.")
    pixel_range: Annotated[list[int], Field(min_length=2, max_length=2)] | None = Field(
        default=None,
        description="These are the two 16-bit values that stand for black and for white. The value is None if the build was "
        "given no `--pixel-range`.",
    )
    resize: str = Field(
        default=str(SQUEEZE),  # records of an earlier tledge, which knew no other, lack the key
        description="This text says how a photo becomes a square of the input's size, in the words of `--resize`.",
    )

    @model_validator(mode="after")
    def _the_range_and_the_resize_are_possible(self) -> Self:
        if self.pixel_range and not PixelRange(*self.pixel_range).is_possible():
            raise ValueError(f"no range of 16-bit values: {self.pixel_range}")
        try:
            parse_resize(self.resize)
        except InputError as error:
            raise ValueError(str(error)) from error
        return self


class TrialRecord(Record):
    """This record is one preparation that was tried on labelled photos when a model was imported."""

    preparation: str = Field(description="This is the preparation in the words of `--prepare`.")
    class_order: str = Field(description="This says in which order the classes of the outputs were taken.")
    log_loss: Figure = Field(description="This is the mean log-loss of the model's answers.")
    accuracy: Annotated[float, Field(ge=0, le=1)] = Field(
        description="This is the share of photos that were answered rightly."
    )


class ImportRecord(Record):
    """This record says from which file a model was imported, and how its input was found."""

    file: str = Field(description="This is the name of the model's file or folder.")
    sha256: str = Field(description="This is the SHA-256 of the file, or of the list of a folder's files.")
    format: str = Field(description="This is the kind of the file.")
    framework: str = Field(description="This is the library that computed the original's answers, with its version.")
    takes: str = Field(description="This says in words what the model takes.")
    preparation: str = Field(description="This is the preparation of its photos in the words of `--prepare`.")
    class_order: str = Field(description="This says in which order the classes of its outputs stand.")
    trial_photos: Count = Field(
        description="This is the number of labelled photos on which preparations were tried. None of them is a test photo."
    )
    trials: list[TrialRecord] = Field(description="These are the preparations that were tried, the best first.")
    layers_unknown: str | None = Field(
        description="This says why the model's layers are not known, so that formats which need them can't be made. The value is "
        "None if they are known."
    )
    max_abs_difference: Figure = Field(
        description="This is the largest absolute difference between a logit of the network and the same logit of the model in "
        "its own framework."
    )
    output_range: Figure = Field(description="This is the largest logit of the compared photos minus the smallest one.")
    proof_photos: Count = Field(description="This is the number of photos and noise images that were compared.")
    training_photos: Literal["known", "unknown"] = Field(
        description="This says whether it is known on which photos the model was trained. If it is unknown, some of the test "
        "photos may be among them."
    )
    notes: list[str] = Field(description="These sentences say what was read otherwise than it stands in the file.")


class Manifest(Record):
    """``manifest.json`` says what a run is, and what it was built from."""

    earlier: ClassVar = {1: earlier_records.manifest_of_1}
    schema_version: int = Field(default=2, description="This is the version of the keys of this file.")
    name: str = Field(description="This is the name of the run.")
    created_utc: str = Field(description="This is the time when the run was built, in UTC as ISO 8601.")
    tledge_version: str = Field(description="This is the version of tledge that built the run.")
    dataset: DatasetRecord = Field(description="This describes the data set that the run was built from.")
    labels: list[str] = Field(description="This lists the class names in the order of the network's outputs.")
    splits: dict[SplitName, SplitRecord] = Field(description="This describes the training, validation and test splits.")
    split_rule: str = Field(description="This text says how each photo was assigned to a split.")
    backbone: BackboneRecord = Field(description="This describes the network under the head.")
    recipe: dict[str, Any] = Field(description="This is the recipe as it was carried out: every key with its value.")
    seed: int = Field(description="This is the seed of the splits and of the training.")
    preprocessing: PreprocessingRecord = Field(
        description="This describes how a photo becomes an input of the network."
    )
    features: FeatureRecord | None = Field(
        description="This describes how the features of the frozen backbone were computed. The value is None if the training "
        "used no such features."
    )
    metrics: dict[Literal["validation", "test"], Metrics] = Field(
        description="This holds the scores of the original on the validation and test splits."
    )
    best_epoch: int = Field(description="This is the epoch whose weights were kept, counted from 1.")
    num_epochs: int = Field(description="This is the number of epochs that were trained.")
    device: DeviceRecord = Field(description="This describes the device on which the run was trained.")
    wall_time_s: float = Field(description="This is the duration of the build, in seconds.")
    library_versions: dict[str, str] = Field(description="This gives the version of each library that took part.")
    imported: ImportRecord | None = Field(
        default=None,
        description="This says from which file the model was imported. The value is None for a model that tledge trained.",
    )
    files_sha256: dict[RelativePath, str] = Field(
        description="This gives the SHA-256 of every other file of the run, by its path below the run's folder."
    )

    @model_validator(mode="after")
    def _is_of_a_classifier(self) -> Self:
        if len(self.labels) < 2:
            raise ValueError("a classifier has two labels or more")
        if missing := [name for name in SPLITS if name not in self.splits]:
            raise ValueError(f"the {missing[0]} split is missing")
        if missing := [name for name in ("validation", "test") if name not in self.metrics]:
            raise ValueError(f"the metrics of the {missing[0]} split are missing")
        for scores in self.metrics.values():
            _check_classes(scores.confusions, self.labels)
        return self

    @property
    def pixel_range(self) -> PixelRange | None:
        """Return the range of 16-bit photos; None where the build was told of none."""
        named = self.preprocessing.pixel_range
        return PixelRange(*named) if named else None

    @property
    def resize(self) -> Resize:
        """Return how photos become squares of the input's size."""
        return parse_resize(self.preprocessing.resize)


class OperatorCount(Record):
    """This record counts one operator with one kind of arithmetic."""

    name: str = Field(description="This is the operator's name in its file format.")
    kind: Literal["integer", "float", "hybrid", "layout", "boundary", "flex", "custom"] = Field(
        description="This is the operator's kind of arithmetic."
    )
    data_type: str = Field(description="This is the data type in which the operator computes.")
    count: Count = Field(description="This says how often the operator occurs in the file.")


class TensorRecord(Record):
    """This record describes an input or output as the file declares it."""

    name: str = Field(description="This is the name of the tensor.")
    shape: list[int] = Field(description="This is the shape of the tensor. A dimension of -1 may have any size.")
    data_type: str = Field(description="This is the data type of the tensor.")
    scale: Figure | None = Field(
        default=None,
        description="This is the scale of the tensor: the step between two neighbouring quantized values. The value is None if "
        "the tensor is not quantized.",
    )
    zero_point: int | None = Field(
        default=None,
        description="This is the quantized value that stands for the real number 0. The value is None if the tensor is not "
        "quantized.",
    )


class Audit(Record):
    """This record says what a file holds, as the file itself was read."""

    operators: list[OperatorCount] = Field(description="This lists the operators of the file with their counts.")
    weight_types: dict[str, Count] = Field(
        description="This gives the size of the constants, in bytes, for each data type."
    )
    inputs: list[TensorRecord] = Field(description="This describes the inputs as the file declares them.")
    outputs: list[TensorRecord] = Field(description="This describes the outputs as the file declares them.")
    file_versions: dict[str, int] = Field(
        description="This gives the versions of the file format: opset and IR version for ONNX, schema version for "
        "TFLite."
    )
    num_parameters: Count = Field(description="This is the number of elements in the weights and biases.")
    num_macs: Count | None = Field(
        description="This is the number of multiply-accumulates in the convolutions and matrix products of one "
        "inference. The value is None if a shape is unknown."
    )
    integer_mac_share: Fraction | None = Field(
        description="This is the share of the multiply-accumulates that use integer arithmetic, from 0 to 1. The value is None "
        "if the file has no multiply-accumulates, or if their number is unknown."
    )
    weight_granularity: dict[Literal["per-channel", "per-tensor"], Count] = Field(
        description="This counts the quantized weight tensors of convolutions and matrix products: per-channel ones have "
        "a scale for each output channel, per-tensor ones a single scale."
    )
    float_constants: list[str] = Field(
        description="This lists the floating-point constants that are no scale of a quantization. Each entry is a name "
        "with its size in bytes; the 20 largest come first."
    )
    zero_weight_share: Fraction | None = Field(
        default=None,
        description="This is the share of zeros among the int8 weights of the TFLite operators CONV_2D and "
        "FULLY_CONNECTED, from 0 to 1. The value is None if there are no such weights.",
    )
    most_weight_codes: Count | None = Field(
        default=None,
        description="This is the largest number of different int8 values that the weights of one CONV_2D or "
        "FULLY_CONNECTED operator have. Only operators with 2,048 weights or more count. The value is None if no "
        "such operator exists.",
    )
    largest_pair_sum: Count | None = Field(
        default=None,
        description="This is the largest absolute sum of two int8 weights of the same sign whose products ONNX Runtime "
        "adds in one step. Above 128 the sum of the products may not fit into the 16 bits that CPUs without "
        "VNNI use. The value is None if no ONNX operator has such weights.",
    )
    min_runtime_version: Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,4}){1,3}$")] | None = Field(
        default=None,
        description="This is the oldest TensorFlow Lite runtime that has all operators, as the file itself declares. The value "
        "is None if the file declares none.",
    )

    def names_of(self, *kinds: str) -> list[str]:
        """List the operators of these kinds as ``NAME (data type) xCOUNT``."""
        return [f"{op.name} ({op.data_type}) x{op.count}" for op in self.operators if op.kind in kinds]


class CalibrationRecord(Record):
    """This record names the representative data set: training photos that set the ranges. None is a test photo."""

    split: Literal["train"] = Field(default="train", description="This is the split that the photos come from.")
    num_samples: int = Field(description="This is the number of photos in the representative data set.")
    class_counts: dict[str, int] = Field(
        description="This gives the number of photos of the representative data set for each label."
    )
    seed: int = Field(description="This is the seed with which the photos were chosen.")
    ids: list[str] = Field(description="This names each photo by its place in its source.")
    content_sha256: list[str] = Field(
        description="This gives the SHA-256 of each photo's content, in the order of `ids`."
    )
    disjoint_from_test: Literal[True] = Field(
        default=True, description="This is always true: no photo of the representative data set is a test photo."
    )
    test_num_photos: int = Field(
        description="This is the number of test photos with which the representative data set was compared."
    )
    test_sha256: str = Field(
        description="This is the SHA-256 of the test split with which the representative data set was compared, as in "
        "the run's manifest."
    )
    near_copies_left_out: int = Field(
        default=0,
        description="This is the number of training photos that were not used because they are near copies of test "
        "photos.",
    )
    near_copies_kept: int = Field(
        default=0,
        description="This is the number of photos in the representative data set that are as near to a test photo as a "
        "near copy is. They are kept because many photos of the data set are alike.",
    )


class Interval(Record):
    """This record is a 95% confidence interval, in the unit of the value that it belongs to."""

    low: Figure = Field(description="This is the lower end of the interval.")
    high: Figure = Field(description="This is the upper end of the interval.")


class AccuracyStep(Record):
    """This record scores one file that a search within a budget of accuracy tried on the validation photos."""

    format: str = Field(description="This is the format of the file that was tried.")
    float_operators: Count = Field(
        description="This is the number of the file's operators that compute the network's layers in float."
    )
    accuracy: Fraction | None = Field(
        description="This is the file's top-1 accuracy on the validation photos, a fraction from 0 to 1. The value is None if "
        "the file did not run."
    )
    accuracy_drop_points: Points | None = Field(
        description="This is the original's top-1 accuracy minus the file's on the same photos, in points. A positive "
        "drop means that the file is worse. The value is None if the file did not run."
    )
    accuracy_drop_points_interval: Interval | None = Field(
        description="This is Tango's 95% score interval of the paired drop, in points. The value is None if the file did not "
        "run."
    )
    size_bytes: Size = Field(description="This is the size of the file, in bytes.")
    p50_ms: Milliseconds | None = Field(
        description="This is the median latency of a few inferences on one thread of the machine that ran the search, in "
        "milliseconds. The value is None if the latency was not measured."
    )
    is_within_budget: bool = Field(description="This says whether the whole interval of the drop is inside the budget.")
    error: str | None = Field(description="This says why the file did not run. The value is None if the file ran.")


class AccuracySearch(Record):
    """This record lists the files that were tried for a budget of accuracy, in their order."""

    split: Literal["validation"] = Field(default="validation", description="This is the split that judged the files.")
    num_photos: Size = Field(description="This is the number of photos in the validation split.")
    original_accuracy: Fraction = Field(
        description="This is the original's top-1 accuracy on the validation split, a fraction from 0 to 1."
    )
    max_drop_points: Points = Field(description="This is the budget: the largest drop that is allowed, in points.")
    missed_by_points: Figure | None = Field(
        description="This says by how many points the upper end of the interval of this artifact's drop exceeds the "
        "budget. The value is None if the interval is inside the budget."
    )
    steps: list[AccuracyStep] = Field(description="This lists the files in the order in which they were tried.")


class ExportRecord(Record):
    """``export.json`` says how one artifact was made, and what is in it."""

    schema_version: int = Field(default=4, description="This is the version of the keys of this file.")
    format: str = Field(description="This is the name of the artifact's format.")
    promise: Promise = Field(description="This is what the format says of the file's content.")
    file: PlainName = Field(description="This is the name of the artifact's file, which lies beside this record.")
    sha256: str = Field(description="This is the SHA-256 of the artifact's file.")
    size_bytes: int = Field(description="This is the size of the artifact's file, in bytes.")
    compressed_bytes: int = Field(
        description="This is the size of the file in an ordinary archive, as `zip -9` makes it, in bytes. tledge 0.1 "
        "wrote the smallest size that thirteen settings of zlib reach."
    )
    created_utc: str = Field(description="This is the time when the artifact was written, in UTC as ISO 8601.")
    source_manifest_sha256: str = Field(
        description="This is the SHA-256 of the manifest of the run that the artifact was made from."
    )
    options: dict[str, Any] = Field(description="This says how the artifact was made: every option with its value.")
    calibration: CalibrationRecord | None = Field(
        description="This describes the representative data set. The value is None if the format needs none."
    )
    audit: Audit = Field(description="This says what the file holds.")
    library_versions: dict[str, str] = Field(description="This gives the version of each library that took part.")
    convert_s: float = Field(description="This is the duration of the conversion, in seconds.")
    search: AccuracySearch | None = Field(
        default=None,
        description="This lists the files that a search within a budget of accuracy tried. The value is None if `--max-drop` "
        "was not given.",
    )


class Flips(Record):
    """This record counts the photos on which the artifact's top-1 class differs from the original's."""

    right_to_wrong: Count = Field(description="This is the number of photos that only the original answers rightly.")
    wrong_to_right: Count = Field(description="This is the number of photos that only the artifact answers rightly.")
    wrong_to_wrong: Count = Field(
        description="This is the number of photos for which original and artifact name two different wrong classes."
    )


class ClassDrift(Record):
    """This record compares answers on the photos of one class. Recalls are fractions; None where there is no test photo."""

    label: str = Field(description="This is the name of the class.")
    num_photos: Count = Field(description="This is the number of test photos of the class.")
    original_recall: Fraction | None = Field(
        description="This is the original's recall of the class, a fraction from 0 to 1. The value is None if the class has no "
        "test photo."
    )
    recall: Fraction | None = Field(
        description="This is the artifact's recall of the class, a fraction from 0 to 1. The value is None if the class has no "
        "test photo."
    )
    recall_drop_points: Figure | None = Field(
        description="This is the original's recall minus the artifact's on the same photos, in points. A positive drop "
        "means that the artifact is worse. The value is None if the class has no test photo."
    )
    recall_drop_points_interval: Interval | None = Field(
        description="This is Tango's 95% score interval of the drop of recall, in points. The value is None if the class has no "
        "test photo."
    )
    flips: Flips = Field(description="This counts the flips among the photos of the class.")


class Drift(Record):
    """This record compares an artifact's answers with the original's on the same photos.

    Values are fractions of one unless the name says points. Differences are original minus artifact: positive where the
    artifact is worse.
    """

    num_photos: Size = Field(description="This is the number of photos that original and artifact both answered.")
    original_accuracy: Fraction = Field(description="This is the original's top-1 accuracy, a fraction from 0 to 1.")
    original_accuracy_interval: Interval = Field(
        description="This is Wilson's 95% interval of the original's accuracy."
    )
    accuracy: Fraction = Field(description="This is the artifact's top-1 accuracy, a fraction from 0 to 1.")
    accuracy_interval: Interval = Field(description="This is Wilson's 95% interval of the artifact's accuracy.")
    accuracy_drop_points: Points = Field(
        description="This is the original's top-1 accuracy minus the artifact's, in points. A positive drop means that "
        "the artifact is worse."
    )
    accuracy_drop_points_interval: Interval = Field(
        description="This is Tango's 95% score interval of the paired drop of accuracy, in points."
    )
    mcnemar_p_value: Figure = Field(
        description="This is the exact, two-sided p-value of McNemar's test that original and artifact are equally "
        "accurate."
    )
    agreement: Fraction = Field(
        description="This is the share of photos for which original and artifact name the same top-1 class, from 0 to 1."
    )
    agreement_interval: Interval = Field(description="This is Wilson's 95% interval of the agreement.")
    flips: Flips = Field(description="This counts the photos whose top-1 class differs between original and artifact.")
    original_macro_f1: Figure = Field(
        description="This is the original's mean F1 score of the classes, a fraction from 0 to 1."
    )
    macro_f1: Figure = Field(description="This is the artifact's mean F1 score of the classes, a fraction from 0 to 1.")
    confusions: Confusions = Field(
        description=f"This counts the right and the wrong answers of the artifact. {_CONFUSIONS}"
    )
    per_class: list[ClassDrift] = Field(
        description="This compares the answers class by class, in the order of the labels."
    )
    max_abs_probability_difference: Figure = Field(
        description="This is the largest absolute difference between two probabilities of the same photo and class."
    )
    mean_abs_probability_difference: Figure = Field(
        description="This is the mean absolute difference of the probabilities, over all photos and classes."
    )
    p99_abs_probability_difference: Figure = Field(
        description="This is the absolute difference that 99% of all probabilities do not exceed."
    )
    mean_kl_divergence_nats: Figure = Field(
        description="This is the mean over the photos of the Kullback-Leibler divergence KL(original, artifact) of the "
        "probabilities, in nats. Probabilities below 1e-7 count as 1e-7."
    )
    mean_logit_cosine: Figure | None = Field(
        description="This is the mean over the photos of the cosine between both vectors of logits, from -1 to 1. The value is "
        "None if one side gives probabilities only."
    )
    original_expected_calibration_error: Figure = Field(
        description="This is the original's expected calibration error, over 15 bins with equally many photos, from 0 to "
        "1."
    )
    expected_calibration_error: Figure = Field(
        description="This is the artifact's expected calibration error, over 15 bins with equally many photos, from 0 to "
        "1."
    )
    original_mean_confidence: Figure = Field(
        description="This is the mean over the photos of the original's largest probability."
    )
    mean_confidence: Figure = Field(
        description="This is the mean over the photos of the artifact's largest probability."
    )

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

    wrong: list[Count] = Field(description="These are the numbers of the photos whose top-1 class is not their label.")
    changed: list[Count] = Field(
        description="These are the numbers of the photos whose top-1 class is not the original's."
    )

    @model_validator(mode="after")
    def _photos_ascend(self) -> Self:
        for photos in (self.wrong, self.changed):
            if any(one >= other for one, other in pairwise(photos)):
                raise ValueError("the numbers of the photos do not ascend")
        return self


class Latency(Record):
    """This record sums up the latency of one photo at one thread count, in milliseconds, over rounds after a warm-up."""

    num_threads: Size = Field(description="This is the number of threads of the runtime.")
    runs: Size = Field(description="This is the number of inferences that were timed.")
    rounds: Size = Field(description="This is the number of rounds over which the timed inferences are spread.")
    warmup_runs: Count = Field(
        description="This is the number of inferences of the warm-up, which were not timed for this record."
    )
    is_stable: bool = Field(description="This says whether the warm-up settled before it reached its limit.")
    mean_ms: Milliseconds = Field(description="This is the mean latency, in milliseconds.")
    p50_ms: Milliseconds = Field(description="This is the median latency, in milliseconds.")
    p90_ms: Milliseconds = Field(description="This is the 90th percentile of the latency, in milliseconds.")
    p95_ms: Milliseconds = Field(description="This is the 95th percentile of the latency, in milliseconds.")
    p99_ms: Milliseconds = Field(description="This is the 99th percentile of the latency, in milliseconds.")
    iqr_ms: Figure = Field(description="This is the interquartile range of the latency, in milliseconds.")
    quantiles_ms: list[Milliseconds] = Field(
        min_length=21,
        max_length=21,
        description="These are the percentiles 0, 5, ..., 100 of the latency, in milliseconds. Charts draw the "
        "distribution from them.",
    )
    round_medians_ms: list[Milliseconds] = Field(
        min_length=1,
        description="This is the median latency of each round, in milliseconds. Comparisons between artifacts use these "
        "medians.",
    )
    load_ms: Figure = Field(description="This is the time that the runtime took to load the file, in milliseconds.")
    first_inference_ms: Figure = Field(description="This is the time of the first inference, in milliseconds.")
    reference_ms: Milliseconds | None = Field(
        default=None,
        description="This is the median over the rounds of the time of a fixed piece of work in the same process, in "
        "milliseconds. It tells how fast the machine was. The value is None in reports of earlier versions.",
    )


class Speedup(Record):
    """This record compares the latency of an artifact with that of another one, measured in the same rounds."""

    against: str = Field(description="This names the other artifact of the comparison, or the original.")
    num_threads: Size = Field(description="This is the number of threads of the runtime.")
    ratio: Ratio = Field(
        description="This is the other artifact's latency divided by this artifact's. Above 1 this artifact is faster."
    )
    ratio_interval: Interval = Field(
        description="This is the 95% interval of the ratio, by a bootstrap over the rounds."
    )
    verdict: Literal["faster", "slower", "no difference measured"] = Field(
        description="This is what the interval and the noise floor together allow to say."
    )


class NoiseFloor(Record):
    """This record compares one artifact with itself, in two processes. Smaller differences mean nothing."""

    artifact: str = Field(description="This names the artifact that ran in two processes.")
    num_threads: Size = Field(description="This is the number of threads of the runtime.")
    ratio: Ratio = Field(description="This is the latency of one process divided by that of the other.")
    ratio_interval: Interval = Field(
        description="This is the 95% interval of the ratio, by a bootstrap over the rounds."
    )
    floor: float = Field(
        ge=0,
        le=1e30,
        description="This is the noise floor, a fraction such as 0.03: smaller relative differences of latency are "
        "noise.",
    )


class Check(Record):
    """This record compares a measurement with a limit: one gate."""

    name: str = Field(description="This is the name of the gate.")
    limit: Figure | None = Field(
        description="This is the limit of the gate. The value is None if the gate has no number, as for whether the artifact "
        "ran and keeps its promise."
    )
    measured: Figure | None = Field(
        description="This is the measured value, in the unit of the limit. The value is None if nothing was measured."
    )
    verdict: Literal["certified", "passed", "failed", "not judged"] = Field(
        description="This is the result of the gate."
    )
    reason: str = Field(description="This sentence explains the result with its numbers.")


class MachineRecord(Record):
    """This record says on which machine something was measured. It has no host name."""

    cpu: str = Field(description="This is the name of the CPU.")
    architecture: str = Field(description="This is the architecture of the CPU, such as x86_64 or aarch64.")
    logical_cores: Size = Field(description="This is the number of logical cores that the process may use.")
    system: str = Field(description="This is the operating system with its version.")
    python: str = Field(description="This is the version of Python.")
    cpu_flags: list[str] = Field(
        description="This lists the instruction-set extensions of the CPU that matter for integer arithmetic. They are "
        "taken from a fixed list."
    )
    governor: str | None = Field(
        description="This is the frequency governor of the CPU. The value is None if the system does not tell."
    )
    load_average: Figure = Field(
        description="This is the load average of the last minute, taken before anything was measured."
    )


class TriedPreparation(Record):
    """This record says how well a file from elsewhere answers photos that are prepared in one way."""

    preparation: str = Field(description="This says the preparation in words, as `BGR, x/255`.")
    accuracy: Fraction = Field(description="This is the top-1 accuracy on the trial photos, a fraction from 0 to 1.")
    log_loss: Figure = Field(description="This is the mean log-loss on the trial photos, in nats.")


class ForeignRecord(Record):
    """This record says how a file that another tool made takes a photo and answers it, and how that was found."""

    input: str = Field(description="This says in words what the file takes: data type, layout, size and scale.")
    output: str = Field(description="This says in words what the outputs of the file are.")
    found_by: Literal["trial", "original", "given", "nothing"] = Field(
        description="This says how the input was found: by a trial on labelled photos (`trial`), by the original's answers to "
        "these photos if the labels left several alike (`original`), or by `--file-input` (`given`). The value is `nothing` "
        "if the file does not run."
    )
    num_trial_photos: Count = Field(
        description="This is the number of labelled photos of the trial. None of them is a test photo."
    )
    tried: list[TriedPreparation] = Field(
        description="This lists the preparations that were tried, the one with the lowest log-loss first."
    )
    labels_inside: list[str] | None = Field(
        description="This lists the class names that the file holds. The value is None if it holds none that can be read."
    )


class Row(Record):
    """This record has all that was measured of one artifact on one runtime."""

    format: str = Field(
        description="This is the name of the artifact's format, or the name of a file that another tool made."
    )
    runtime: str = Field(
        description="This is the runtime that ran the artifact. The value is empty if none could be chosen."
    )
    file: str = Field(
        description="This is the name of the artifact's file. The value is empty if the export record can't be read."
    )
    sha256: str = Field(description="This is the SHA-256 of the file as the export record gives it, or as it was read.")
    size_bytes: Count = Field(description="This is the size of the file, in bytes.")
    audit: Audit | None = Field(
        description="This is what the audit read from the file during the verification. The value is None if the file can't be "
        "read."
    )
    peak_memory_mb: Figure | None = Field(
        description="This is the peak memory of the artifact's process, in units of 1,000,000 bytes. The value is None if it "
        "was not measured."
    )
    latency: Latency | None = Field(
        description="This is the latency at the target's thread count. The value is None if it was not measured."
    )
    thread_sweep: list[Latency] = Field(
        description="This lists the latencies at the other thread counts that were asked for."
    )
    speedups: list[Speedup] = Field(description="This lists the comparisons of the latency with other artifacts.")
    drift: Drift | None = Field(
        description="This compares the artifact's answers with the original's. The value is None if the artifact did not run."
    )
    answers: PhotoAnswers | None = Field(
        default=None,
        description="This lists the photos that the artifact answered wrongly, and those that it answered otherwise than the "
        "original. The value is None if the artifact did not run, and in reports of earlier versions.",
    )
    checks: list[Check] = Field(description="This lists the gates with their verdicts.")
    warnings: list[str] = Field(
        description="This lists the warnings about the artifact, such as int8 that is slower than float."
    )
    machine: MachineRecord | None = Field(
        default=None,
        description="This is the machine on which the artifact was measured. The value is None in reports of earlier versions; "
        "there the report's own `machine` applies.",
    )
    foreign: ForeignRecord | None = Field(
        default=None,
        description="This describes a file that another tool made, which `--file` named. The value is None for an artifact of "
        "the run.",
    )
    error: str | None = Field(
        description="This says why the artifact did not run to its end. The value is None if the artifact did."
    )
    verdict: Literal["certified", "passed", "failed"] = Field(
        description="This is the verdict on the artifact. The verdict is failed if one of its gates failed."
    )

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

    accuracy: Fraction = Field(
        description="This is the top-1 accuracy of the answers that the training device computed, a fraction from 0 to "
        "1."
    )
    accuracy_interval: Interval = Field(description="This is Wilson's 95% interval of the accuracy.")
    device: DeviceRecord = Field(description="This is the training device.")
    confusions: Confusions | None = Field(
        description="This counts the right and the wrong answers of the original, as the training device computed them. "
        f"{_CONFUSIONS} The value is None in a report of before version 4 in which no artifact ran."
    )
    size_bytes: Size = Field(description="This is the size of the SavedModel, in bytes.")
    cpu_drift: Drift | None = Field(
        description="This compares the original's answers on this CPU with those of the training device. The value is None if "
        "the original did not run here."
    )
    cpu_latency: Latency | None = Field(
        description="This is the original's latency on this CPU at the target's thread count. The value is None if it was not "
        "measured."
    )
    cpu_thread_sweep: list[Latency] = Field(
        description="This lists the original's latencies on this CPU at the other thread counts."
    )
    peak_memory_mb: Figure | None = Field(
        description="This is the peak memory of the original's process, in units of 1,000,000 bytes. The value is None if it "
        "was not measured."
    )


class AttributionStep(Record):
    """This record says what one step from the original to an artifact lost."""

    artifact: str = Field(
        description="This names the artifact and its runtime, as in `FORMAT on RUNTIME`. The device step belongs to all "
        "artifacts."
    )
    step: Literal["device", "conversion", "quantization", "kernels"] = Field(
        description="This is what changes in the step: the machine (device), the file format (conversion), the data types "
        "(quantization) or the kernels."
    )
    before: str = Field(description="This names the model before the step.")
    after: str = Field(description="This names the model after the step.")
    num_photos: Count = Field(description="This is the number of photos that both models answered.")
    accuracy_drop_points: Figure | None = Field(
        description="This is the drop of top-1 accuracy that the step caused, in points. The value is None if it was not "
        "measured; `note` then says why."
    )
    agreement: Figure | None = Field(
        description="This is the share of photos for which both models name the same top-1 class, from 0 to 1. The value is "
        "None if it was not measured."
    )
    mean_abs_probability_difference: Figure | None = Field(
        description="This is the mean absolute difference of the probabilities, over all photos and classes. The value is None "
        "if it was not measured."
    )
    note: str = Field(description="This says why the step was not measured. The value is empty if it was measured.")


class LayerError(Record):
    """This record says how far one layer's output is from the float model's. ``sqnr_db`` is None where they are equal."""

    name: str = Field(description="This is the name of the layer's output in the file.")
    operator: str = Field(description="This is the operator that computes the layer.")
    sqnr_db: Figure | None = Field(
        description="This is the signal-to-quantization-noise ratio in decibels: 10 log10(signal power / error power). "
        "The value is None if both outputs are equal."
    )
    cosine: Figure = Field(description="This is the cosine of the angle between both outputs, from -1 to 1.")
    own_sqnr_db: Figure | None = Field(
        default=None,
        description="This is the signal-to-quantization-noise ratio, in decibels, of the error that the layer itself "
        "adds. For it the float layer reads the quantized network's values. The value is None if the layer adds no "
        "error.",
    )


class LayerReport(Record):
    """This record lists the layers of one artifact, those with the largest own error first."""

    artifact: str = Field(description="This names the int8 artifact.")
    against: str = Field(description="This names the float32 artifact that it is compared with.")
    num_photos: Count = Field(description="This is the number of photos that both artifacts answered.")
    layers: list[LayerError] = Field(description="This has one entry for each layer.")
    note: str = Field(
        description="This says what could not be compared, and why. The value is empty if everything was compared."
    )


class FlippedAnswer(Record):
    """This record is an artifact's answer that differs from the original's."""

    artifact: str = Field(description="This names the artifact whose answer differs from the original's.")
    predicted: str = Field(description="This is the artifact's top-1 class.")
    confidence: Figure = Field(description="This is the artifact's probability of its top-1 class.")


class FlippedPhoto(Record):
    """This record shows a test photo on which at least one artifact differs from the original."""

    id: str = Field(description="This names the photo by its place in its source.")
    content_sha256: str = Field(description="This is the SHA-256 of the photo's content.")
    label: str = Field(description="This is the label of the photo.")
    original_predicted: str = Field(description="This is the original's top-1 class.")
    original_confidence: Figure = Field(description="This is the original's probability of its top-1 class.")
    answers: list[FlippedAnswer] = Field(
        description="This lists the artifacts whose top-1 class differs from the original's, with their answers."
    )
    thumbnail_jpeg_base64: Thumbnail = Field(description="This is a small JPEG of the photo, encoded in base64.")


class Lost(Record):
    """This record says why an artifact is not the best one."""

    artifact: str = Field(description="This names the artifact.")
    reason: str = Field(description="This says why the artifact is not the best one.")


class Choice(Record):
    """This record names the best artifact that keeps every budget; None where none does."""

    best: str | None = Field(
        description="This names the best artifact. The value is None if no artifact keeps every budget."
    )
    reason: str = Field(
        description="This gives the rule by which the best artifact was chosen, or says why there is none."
    )
    others: list[Lost] = Field(description="This lists the other artifacts, each with the reason why it lost.")


class Protocol(Record):
    """This record says how latency was measured."""

    name: Literal["quick", "standard", "mlperf"] = Field(description="This is the name of the protocol.")
    description: str = Field(description="This text describes the rounds and the inferences of the protocol.")
    pinned_cores: list[int] | None = Field(
        description="This lists the cores to which the workers were pinned. The value is None if the platform can't pin "
        "processes."
    )


class Limits(Record):
    """This record has the limits of a target."""

    max_accuracy_drop_points: float = Field(
        ge=0, le=100, description="This is the largest drop of top-1 accuracy that is allowed, in points."
    )
    max_p95_latency_ms: float = Field(
        gt=0,
        le=1e9,
        description="This is the largest 95th percentile of single-photo latency that is allowed, in milliseconds.",
    )
    max_size_mb: float = Field(
        gt=0, le=1e9, description="This is the largest file size that is allowed, in units of 1,000,000 bytes."
    )
    max_memory_mb: float = Field(
        gt=0,
        le=1e9,
        description="This is the largest peak memory that is allowed for the process that runs the artifact, in units of "
        "1,000,000 bytes.",
    )


class LimitBasis(Record):
    """This record says where each limit comes from. A limit of the command line is a requirement."""

    max_accuracy_drop_points: Literal["guess", "measured", "requirement"] = Field(
        description="This says where the limit of the drop comes from."
    )
    max_p95_latency_ms: Literal["guess", "measured", "requirement"] = Field(
        description="This says where the limit of the latency comes from."
    )
    max_size_mb: Literal["guess", "measured", "requirement"] = Field(
        description="This says where the limit of the file size comes from."
    )
    max_memory_mb: Literal["guess", "measured", "requirement"] = Field(
        description="This says where the limit of the peak memory comes from."
    )


class TargetRecord(Record):
    """This record has the target that a report judges for, with the limits that the command line replaced."""

    name: str = Field(description="This is the name of the target, or the path of its file.")
    description: str = Field(description="This text describes the machine.")
    threads: int = Field(ge=1, le=1024, description="This is the number of threads of the runtime.")
    runtimes: list[str] = Field(
        description="This lists the only runtimes that are used on the target. If the list is empty, all installed "
        "runtimes are used."
    )
    architectures: list[str] = Field(
        description="This lists the architectures on which latency and memory can be judged. If the list is empty, "
        "they are judged on any machine."
    )
    cpu_contains: str = Field(
        description="Latency and memory are judged only if the CPU's name contains this text and its architecture "
        "matches."
    )
    budget: Limits = Field(description="This holds the limits by which the artifacts were judged.")
    basis: LimitBasis = Field(description="This says where each limit comes from.")


class Report(Record):
    """This record is ``report.json``, the result of a verification, from which all other reports are generated."""

    earlier: ClassVar = {3: earlier_records.report_of_3}
    schema_version: int = Field(default=4, description="This is the version of the keys of this file.")
    run: str = Field(description="This is the name of the run.")
    manifest_sha256: str = Field(description="This is the SHA-256 of the run's manifest.")
    created_utc: str = Field(description="This is the time when the verification ended, in UTC as ISO 8601.")
    tledge_version: str = Field(description="This is the version of tledge that verified the run.")
    dataset: str = Field(description="This is the name of the data set.")
    dataset_fingerprint_sha256: str = Field(
        description="This is a SHA-256 over the content and label of every photo of the data set."
    )
    test_split_sha256: str = Field(description="This is the SHA-256 of the test split.")
    seed: int = Field(description="This is the seed of the run.")
    backbone: str = Field(description="This is the backbone as `--backbone` named it.")
    labels: list[str] = Field(
        min_length=1, description="This lists the class names in the order of the network's outputs."
    )
    target: TargetRecord = Field(description="This is the target with its budget.")
    overrides: dict[str, Figure] = Field(
        description="This gives the limits that the command line set in place of the target's, by their names."
    )
    certify: bool = Field(
        description="This says whether an artifact fails if its drop is not certified, as `--certify` asks."
    )
    machine: MachineRecord = Field(description="This is the machine that made the measurements.")
    protocol: Protocol | None = Field(
        description="This says how latency was measured. The value is None if latency was not measured."
    )
    num_test_photos: Size = Field(description="This is the number of photos in the test split.")
    original: OriginalRow = Field(description="This describes the original.")
    rows: list[Row] = Field(min_length=1, description="This has one row for each artifact on each runtime.")
    noise_floors: list[NoiseFloor] = Field(description="This has one noise floor for each thread count.")
    attribution: list[AttributionStep] = Field(
        description="This lists the steps from the original to the artifacts, with the accuracy that each step lost."
    )
    layers: list[LayerReport] = Field(
        description="This lists the errors of single layers. The value is empty if `--layers` was not given."
    )
    num_flipped_photos: Count = Field(
        description="This is the number of test photos for which at least one artifact's top-1 class differs from the "
        "original's."
    )
    flipped_photos: list[FlippedPhoto] = Field(
        max_length=300,
        description="This shows the test photos for which an artifact's top-1 class differs from the original's, 300 at "
        "most. The photos on which most artifacts differ come first.",
    )
    choice: Choice = Field(description="This names the best artifact and gives the reasons.")
    warnings: list[str] = Field(description="This lists the warnings about the whole verification.")
    library_versions: dict[str, str] = Field(description="This gives the version of each library that took part.")
    wall_times_s: dict[str, Figure] = Field(
        description="This gives the duration of each part of the verification, in seconds."
    )
    verdict: Literal["certified", "passed", "failed"] = Field(description="This is the worst verdict of all rows.")

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        names = [row.artifact for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("an artifact has two rows")
        if self.choice.best not in (None, *names):
            raise ValueError("the best artifact has no row")
        _check_classes(self.original.confusions or [], self.labels)
        for drift in (self.original.cpu_drift, *(row.drift for row in self.rows)):
            if drift is None:
                continue
            _check_classes(drift.confusions, self.labels)
            if [one.label for one in drift.per_class] != self.labels:
                raise ValueError("the drift by class is not of the labels")
        return self
