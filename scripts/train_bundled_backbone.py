"""Train the bundled backbone from scratch and write it in TensorFlow Hub's own format.

The network is MobileNetV2 (Sandler et al., 2018, arXiv:1801.04381), width 0.35, 64 x 64 pixels,
trained on CIFAR-10 with two tasks: name the class, and draw the photo again, small and grey, from the
features by one linear layer. With the class alone, the last layers forget whatever does not tell ten
classes apart: a linear probe on handwritten digits then reaches 87% from the features and 97% from a
middle layer. The second task keeps what was seen in the features.

The result is a SavedModel after the Hub's image-feature-vector contract:
``__call__(inputs, training)`` on float32 RGB in [0, 1], with ``variables``,
``trainable_variables`` and ``regularization_losses``.

    TFDS_DATA_DIR=... python scripts/train_bundled_backbone.py --out tledge/backbones/bundled

Two cores take about 35 s an epoch. A seed makes two runs alike, not byte-identical: the convolution
gradients add up in the order in which the threads end.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
import tf_keras
from tensorflow.core.protobuf import saved_model_pb2

WIDTH = 0.35
INPUT_SIZE = 64
NUM_CLASSES = 10
DRAWING_SIZE = 12
DRAWING_WEIGHT = 2.0


def load_cifar10(split: str) -> tuple[np.ndarray, np.ndarray]:
    """All photos of a split as uint8 (N, 32, 32, 3), and their labels as int64 (N,)."""
    images, labels = tfds.as_numpy(tfds.load("cifar10", split=split, batch_size=-1, as_supervised=True))
    return images, labels


@tf.function
def augment(images: tf.Tensor) -> tf.Tensor:
    """Random crop, zoom, flip, colour and grey of a batch; uint8 (B, 32, 32, 3) to float32 (B, 64, 64, 3) in [0, 1]."""
    batch = tf.shape(images)[0]
    # One op crops, zooms and flips: crop_and_resize takes boxes in normalised coordinates,
    # and a box whose left edge lies right of its right edge comes out mirrored.
    area = tf.random.uniform([batch], 0.35, 1.0)
    aspect = tf.exp(tf.random.uniform([batch], math.log(3 / 4), math.log(4 / 3)))
    height = tf.minimum(tf.sqrt(area / aspect), 1.0)
    width = tf.minimum(tf.sqrt(area * aspect), 1.0)
    top = tf.random.uniform([batch]) * (1.0 - height)
    left = tf.random.uniform([batch]) * (1.0 - width)
    mirrored = tf.random.uniform([batch]) < 0.5
    right = left + width
    boxes = tf.stack([top, tf.where(mirrored, right, left), top + height, tf.where(mirrored, left, right)], axis=1)
    pixels = tf.cast(images, tf.float32) / 255.0
    pixels = tf.image.crop_and_resize(pixels, boxes, tf.range(batch), [INPUT_SIZE, INPUT_SIZE])

    def factor(spread: float) -> tf.Tensor:
        return tf.random.uniform([batch, 1, 1, 1], 1.0 - spread, 1.0 + spread)

    grey = tf.image.rgb_to_grayscale(pixels)
    saturation = tf.where(tf.random.uniform([batch, 1, 1, 1]) < 0.15, 0.0, factor(0.4))
    pixels = grey + saturation * (pixels - grey)
    mean = tf.reduce_mean(grey, axis=[1, 2, 3], keepdims=True)
    pixels = mean + factor(0.4) * (pixels - mean)
    return tf.clip_by_value(pixels * factor(0.3), 0.0, 1.0)


def drawing(pixels: tf.Tensor) -> tf.Tensor:
    """What the features must be able to draw: the batch in small grey, its mean removed; float32 (B, 144)."""
    grey = tf.image.resize(tf.image.rgb_to_grayscale(pixels), [DRAWING_SIZE, DRAWING_SIZE], method="area")
    centred = 4.0 * (grey - tf.reduce_mean(grey, axis=[1, 2, 3], keepdims=True))
    return tf.reshape(centred, [-1, DRAWING_SIZE * DRAWING_SIZE])


def export_hub_module(network: Any, folder: Path) -> None:
    """Write ``network`` (float32 in [-1, 1] to features) as a Hub module that takes [0, 1]."""
    network = tf_keras.Model(network.input, network.output, name="m")  # the name stands before every node's
    module = tf.train.Checkpoint()  # the plain trackable object: tf.Module keeps `variables` for itself
    module.variables = list(network.variables)
    module.trainable_variables = list(network.trainable_variables)
    module.regularization_losses = []

    @tf.function
    def call(inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return network(inputs * 2.0 - 1.0, training=training)

    spec = tf.TensorSpec([None, INPUT_SIZE, INPUT_SIZE, 3], tf.float32, name="inputs")
    for training in (False, True):
        call.get_concrete_function(spec, training)
    module.__call__ = call
    tf.saved_model.save(module, str(folder), options=tf.saved_model.SaveOptions(save_debug_info=False))
    strip_hints(folder / "saved_model.pb")


def strip_hints(path: Path) -> None:
    """Drop what TensorFlow infers again on loading (shapes of inner nodes, argument names): a tenth of the file."""
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for function in saved_model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.attr.pop("_output_shapes", None)
        for argument in function.arg_attr.values():
            argument.attr.pop("_user_specified_name", None)
    path.write_bytes(saved_model.SerializeToString(deterministic=True))


def train(epochs: int, batch_size: int, peak_learning_rate: float, seed: int) -> Any:
    """The trained feature extractor with its averaged weights; prints test accuracy each epoch."""
    tf_keras.utils.set_random_seed(seed)
    backbone = tf_keras.applications.MobileNetV2(
        input_shape=(INPUT_SIZE, INPUT_SIZE, 3), alpha=WIDTH, weights=None, include_top=False, pooling="avg"
    )
    for layer in backbone.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.98  # Keras' 0.999 lags behind by two epochs of this data set
    features = backbone.output
    heads = [tf_keras.layers.Dense(NUM_CLASSES)(features), tf_keras.layers.Dense(DRAWING_SIZE * DRAWING_SIZE)(features)]
    classifier = tf_keras.Model(backbone.input, heads)
    images, labels = load_cifar10("train")
    test_images, test_labels = load_cifar10("test")
    steps_per_epoch = len(images) // batch_size
    warmup_steps, total_steps = steps_per_epoch, steps_per_epoch * epochs
    optimizer = tf_keras.optimizers.SGD(0.0, momentum=0.9, nesterov=True)
    decayed = [v for v in classifier.trainable_variables if len(v.shape) > 1]
    averages = [tf.Variable(v, trainable=False) for v in classifier.variables]

    @tf.function
    def step(batch_images: tf.Tensor, batch_labels: tf.Tensor, decay: tf.Tensor) -> tf.Tensor:
        pixels = augment(batch_images)
        with tf.GradientTape() as tape:
            logits, drawn = classifier(pixels * 2.0 - 1.0, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch_labels, logits))
            loss += DRAWING_WEIGHT * tf.reduce_mean(tf.square(drawn - drawing(pixels)))
            loss += 4e-5 * tf.add_n([tf.nn.l2_loss(v) for v in decayed])
        gradients = tape.gradient(loss, classifier.trainable_variables)
        optimizer.apply_gradients(zip(gradients, classifier.trainable_variables, strict=True))
        for average, variable in zip(averages, classifier.variables, strict=True):
            average.assign(decay * average + (1.0 - decay) * variable)
        return loss

    @tf.function
    def predict(batch_images: tf.Tensor) -> tf.Tensor:
        pixels = tf.image.resize(tf.cast(batch_images, tf.float32) / 127.5 - 1.0, [INPUT_SIZE, INPUT_SIZE])
        return tf.argmax(classifier(pixels, training=False)[0], axis=1)

    rng = np.random.default_rng(seed)
    done = 0
    for epoch in range(epochs):
        started, losses = time.perf_counter(), []
        order = rng.permutation(len(images))
        for i in range(steps_per_epoch):
            progress = max(0, done - warmup_steps) / (total_steps - warmup_steps)
            scale = min(1.0, (done + 1) / warmup_steps) * 0.5 * (1.0 + math.cos(math.pi * progress))
            optimizer.learning_rate.assign(peak_learning_rate * scale)
            rows = order[i * batch_size : (i + 1) * batch_size]
            decay = tf.constant(min(0.999, (1 + done) / (10 + done)), tf.float32)
            losses.append(step(images[rows], labels[rows], decay))
            done += 1
        trained = [tf.identity(v) for v in classifier.variables]
        for variable, average in zip(classifier.variables, averages, strict=True):
            variable.assign(average)
        hits = [predict(test_images[i : i + 500]).numpy() == test_labels[i : i + 500] for i in range(0, 10000, 500)]
        print(
            f"epoch {epoch + 1}/{epochs}  loss {np.mean(losses):.4f}  "
            f"CIFAR-10 test {100 * np.mean(np.concatenate(hits)):.2f}%  {time.perf_counter() - started:.0f} s",
            flush=True,
        )
        if epoch + 1 < epochs:  # the last epoch keeps the averaged weights
            for variable, value in zip(classifier.variables, trained, strict=True):
                variable.assign(value)
    return backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the SavedModel")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--peak-learning-rate", type=float, default=0.15)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    network = train(options.epochs, options.batch_size, options.peak_learning_rate, options.seed)
    export_hub_module(network, options.out)
    size_bytes = sum(f.stat().st_size for f in options.out.rglob("*") if f.is_file())
    print(f"wrote {options.out}: {size_bytes / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
