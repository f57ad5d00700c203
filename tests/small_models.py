"""Small real models and artifacts: what the tests of export, audit and verification break on purpose."""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tledge.datasets.splits import split_digest
from tledge.files import sha256_file
from tledge.records import ExportRecord, Manifest
from tledge.run import MANIFEST, Run, open_run

SIZE = 32
CHANNELS = 128  # its kernel is large enough for the dynamic-range converter, which leaves small weights alone


def hub_module(folder: Path, body: Callable[[Any], Any]) -> Path:
    """A feature extractor in the Hub's TF2 format: a convolution, ``body`` on its output, a mean over the picture."""
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    kernel = np.random.default_rng(0).normal(scale=0.3, size=(3, 3, 3, CHANNELS)).astype(np.float32)

    class Extractor(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = tf.Variable(kernel)
            self.variables_, self.trainable_variables_, self.regularization_losses = [self.kernel], [], []

        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)], autograph=False)
        def __call__(self, images: Any) -> Any:
            features = tf.nn.relu6(tf.nn.conv2d(images - 0.5, self.kernel, 2, "SAME"))
            return tf.reduce_mean(body(features), [1, 2])

    tf.saved_model.save(Extractor(), str(folder))
    return folder


def two_classes(folder: Path, num_photos: int = 20) -> Path:
    """A data set of dark and light noise, ``num_photos`` of each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, brightness in (("dark", 60), ("light", 190)):
        (folder / name).mkdir(parents=True)
        for number in range(num_photos):
            noise = np.clip(rng.normal(brightness, 40, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noise).save(folder / name / f"{number:02}.png")
    return folder


def tflite(
    body: Callable[[Any], Any] = lambda x: x,
    *,
    quantize: bool = False,
    samples: Iterable[np.ndarray] | None = None,
    integer_io: bool = False,
    int16: bool = False,
    float_input: bool = True,
    flex: bool = False,
    custom: bool = False,
) -> bytes:
    """A convolution and a softmax of 10 classes by TensorFlow's own converter, with the options that matter here."""
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    rng = np.random.default_rng(1)
    kernel = tf.constant(rng.normal(scale=0.3, size=(3, 3, 3, 64)).astype(np.float32))
    head = tf.constant(rng.normal(scale=0.3, size=(64, 10)).astype(np.float32))

    @tf.function(
        input_signature=[tf.TensorSpec([1, SIZE, SIZE, 3], tf.float32 if float_input else tf.uint8)], autograph=False
    )
    def classify(pixels: Any) -> Any:
        features = tf.nn.relu6(tf.nn.conv2d(tf.cast(pixels, tf.float32) * (1 / 255), kernel, 2, "SAME"))
        return tf.nn.softmax(tf.matmul(tf.reduce_mean(body(features), [1, 2]), head))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()], tf.Module())
    if quantize:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if samples is not None:
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if int16:
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    if integer_io:
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    if flex:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    converter.allow_custom_ops = custom
    return bytes(converter.convert())


def noise(low: int, high: int, count: int = 4) -> list[np.ndarray]:
    """Calibration samples, float32 (1, S, S, 3), that reach ``low`` and ``high`` exactly."""
    rng = np.random.default_rng(2)
    out = [rng.integers(low, high + 1, (1, SIZE, SIZE, 3)).astype(np.float32) for _ in range(count)]
    out[0].flat[0], out[0].flat[1] = low, high
    return out


@functools.cache
def int8_tflite() -> bytes:
    """An all-integer TFLite as tledge promises it: pixels in, uint8 out."""
    return tflite(quantize=True, samples=noise(0, 255), integer_io=True)


def rewrite_tflite(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The same flatbuffer after ``change`` of its object form."""
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(data))
    change(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def rewrite_onnx(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The same ONNX model after ``change``."""
    import onnx

    model = onnx.load_model_from_string(data)
    change(model)
    return bytes(model.SerializeToString())


def replace_artifact(run: Run, format_name: str, data: bytes) -> None:
    """Put other bytes into a run as its artifact, with a record that fits them, as another tool could."""
    folder = run.export_folder(format_name)
    record = ExportRecord.load(folder / "export.json", "")
    (folder / record.file).write_bytes(data)
    changed = {"sha256": sha256_file(folder / record.file), "size_bytes": len(data)}
    record.model_copy(update=changed).save(folder / "export.json")


def with_files(run: Run, files: Mapping[str, bytes]) -> Run:
    """A run, which changes in place, in which files have another content that its manifest knows."""
    hashes = dict(run.manifest.files_sha256)
    for name, data in files.items():
        (run.folder / name).write_bytes(data)
        hashes[name] = sha256_file(run.folder / name)
    manifest = run.folder / "manifest.json"
    Manifest.load(manifest, "").model_copy(update={"files_sha256": hashes}).save(manifest)
    return open_run(run.folder.parent, run.name)


def without_split(run: Run, split: str) -> Run:
    """A run, which changes in place, in which no photo is of a split."""
    lines = (run.folder / "splits.csv").read_text().splitlines(keepends=True)
    is_other = [not line.startswith(f'"{split}"') for line in lines]
    assert not all(is_other)
    fingerprints = io.BytesIO()
    np.save(fingerprints, np.load(run.folder / "fingerprints.npy")[is_other[1:]])  # the first line is the header
    others = "".join(itertools.compress(lines, is_other))
    empty = run.manifest.splits[split].model_copy(update={"num_photos": 0, "sha256": split_digest([], [])})  # type: ignore[index]
    splits = {**run.manifest.splits, split: empty}
    run.manifest.model_copy(update={"splits": splits}).save(run.folder / MANIFEST)
    run = open_run(run.folder.parent, run.name)
    return with_files(run, {"splits.csv": others.encode(), "fingerprints.npy": fingerprints.getvalue()})


def most_significant_bits(values: np.ndarray) -> int:
    """The most that any of these positive float32 numbers has."""
    fractions = np.ldexp(np.frexp(np.asarray(values, np.float32))[0], 24).astype(np.int64)
    return max(len(f"{value:b}".rstrip("0")) for value in fractions.ravel())
