"""A small run on colours, and files that plain converters make of its network, with and without planted faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tledge.datasets.run_photos import load_split
from tledge.progress import Silent
from tledge.run import Run, open_run

COLOURS = {"blue": (60, 60, 200), "green": (60, 200, 60), "orange": (230, 140, 40), "red": (200, 60, 60)}
ORDER = [2, 0, 1, 3]  # of the classes in order.tflite: its output 0 answers class 2
_MEAN, _STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def make(folder: Path) -> None:
    """Build the run ``colours`` in ``folder/artifacts``, and write the files into ``folder/files``."""
    from tledge.training.build import build
    from tledge.training.resolve import resolve

    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(120):
            mean = np.clip(rng.normal(colour, 35, 3), 0, 255)
            pixels = np.clip(rng.normal(mean, 40, (28, 28, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number:03}.png")
    recipe = resolve("scratch", {"max_epochs": 10, "batch_size": 32})
    build(str(folder / "photos"), backbone="lenet", recipe=recipe, run="colours", artifacts=folder / "artifacts")
    (folder / "files").mkdir()
    _convert(open_run(folder / "artifacts", "colours"), folder / "files")


def _convert(run: Run, folder: Path) -> None:
    from tledge.classifier.of_run import network_of
    from tledge.tensorflow_setup import tensorflow

    tf = tensorflow()
    import tf_keras

    network = network_of(run, [])  # from pixels in [0, 1] to logits
    side = run.manifest.backbone.input_size
    pixels = load_split(run, "train", Silent()).pixels[:60] / np.float32(255)
    photo = tf_keras.Input((side, side, 3), batch_size=1)

    def model(prepare: Callable[[Any], Any], answer: Callable[[Any], Any] = tf.nn.softmax) -> Any:
        return tf_keras.Model(photo, answer(network(prepare(photo))))

    def write(name: str, keras: Any, samples: Any = None, kind: Any = None, **options: Any) -> None:
        converter = tf.lite.TFLiteConverter.from_keras_model(keras)
        if samples is not None or options:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if samples is not None:
            converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if kind is not None:
            converter.inference_input_type = converter.inference_output_type = kind
        if options.get("float16"):
            converter.target_spec.supported_types = [tf.float16]
        (folder / name).write_bytes(converter.convert())

    of_fractions, of_signed = model(lambda x: x * 1.0), model(lambda x: (x + 1.0) * 0.5)
    write("float.tflite", of_fractions)
    write("signed.tflite", of_signed)
    write("bgr.tflite", model(lambda x: tf.reverse(x, [3])))
    write("dynamic.tflite", of_signed, dynamic=True)
    write("float16.tflite", of_fractions, float16=True)
    write("int8-in.tflite", of_fractions, pixels, tf.int8)
    write("uint8-in.tflite", of_signed, pixels * 2 - 1, tf.uint8)
    write("float-in.tflite", of_fractions, pixels)
    # Planted faults:
    write("order.tflite", model(lambda x: x * 1.0, lambda logits: tf.gather(tf.nn.softmax(logits), ORDER, axis=1)))
    write("wrong-mean.tflite", model(lambda x: x - np.float32([0.5, 0.0, -0.5])))
    write("int8-in-name-only.tflite", of_fractions)
    noise = np.random.default_rng(0).normal(0.5, 0.001, pixels.shape).astype(np.float32)
    write("noise.tflite", of_fractions, noise, tf.int8)
    _convert_to_onnx(model(lambda x: x * _STD + _MEAN, lambda logits: logits * 1.0), pixels, folder)


def _convert_to_onnx(logits: Any, pixels: np.ndarray, folder: Path) -> None:
    """ONNX in the style of PyTorch: NCHW, mean and std of ImageNet, logits, any batch; and ONNX Runtime's static QDQ."""
    import tensorflow as tf
    import tf2onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    name = logits.inputs[0].name
    signature = [tf.TensorSpec((None, *logits.inputs[0].shape[1:]), tf.float32, name=name)]
    path = folder / "nchw.onnx"
    tf2onnx.convert.from_keras(logits, signature, opset=17, inputs_as_nchw=[name], output_path=str(path))
    samples = iter([{name: ((one - _MEAN) / _STD).transpose(2, 0, 1)[None]} for one in pixels])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Any:
            return next(samples, None)

    quantize_static(
        str(path), str(folder / "qdq.onnx"), Reader(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True
    )
