"""The naive recipe: transfer learning as the common tutorial writes it. The baseline of build.py.

A hub.KerasLayer, a Dense softmax on top, Adam, batches of 32, and the whole graph in every epoch. tf.data reads,
decodes and resizes every photo in every epoch, with the tutorial's parallel map and prefetch; the held-out photos are
scored after every epoch. TensorFlow Datasets keeps the encoded photos of a data set this small in memory by
itself, and does so here; decoded photos are not kept.

As it is, the layer is frozen and the head trained for six epochs. With ``--whole`` the layer is trained too, as the
tutorials on fine-tuning do it: a learning rate of 1e-4, a Dropout before the Dense, and Keras' preprocessing layers
that flip, turn, move and zoom the training photos as far as tledge's recipes finetune and best do. It then ends after
the first epoch whose validation accuracy is ``--until-accuracy``, and is scored with the weights of its best one.

It trains on the very photos a run of tledge was trained on, and is scored on the same ones:

    python benchmarks/naive_transfer.py --splits artifacts/RUN/splits.csv

It prints one JSON object. Its wall time starts before TensorFlow is imported and ends with the last epoch.
"""

# The clock starts before TensorFlow is imported.
# ruff: noqa: E402

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse
import csv
import json
import math
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import tensorflow_datasets as tfds
import tensorflow_hub as hub
import tf_keras

BACKBONE = "https://tfhub.dev/google/tf2-preview/mobilenet_v2/feature_vector/4"
IMAGE_SIZE = 224
SPLITS = ("train", "validation", "test")
LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-hub", "tensorflow-datasets", "numpy")
HEAD_LEARNING_RATE, WHOLE_LEARNING_RATE = 1e-3, 1e-4  # Adam's own, and the one that does not undo trained weights
DROPOUT = 0.2
ROTATION_DEGREES, SHIFT, ZOOM = 10, 0.05, 0.1
_LESS_THAN_A_PHOTO = 1e-9  # of an accuracy: what dividing two counts may round away


def read_splits(path: Path, limit: int | None) -> dict[str, list[str]]:
    """The tfds_ids of every split of a run's splits.csv; the first ``limit`` of each where given."""
    ids: dict[str, list[str]] = {name: [] for name in SPLITS}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ids[row["split"]].append(row["id"])
    return {name: members[:limit] for name, members in ids.items()}


def encoded_photos(name: str, ids: list[str]) -> Any:
    """A tf.data.Dataset of (JPEG bytes, label) of the photos with these tfds_ids, in the data set's order.

    Reading it raises tf.errors.FailedPreconditionError where the data set lacks some of them.
    """
    photos = tfds.load(
        name,
        split="all",
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(add_tfds_id=True),
    )
    members = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(ids), tf.ones(len(ids), tf.int64)), default_value=0
    )
    chosen = photos.filter(lambda photo: members.lookup(photo["tfds_id"]) > 0)
    chosen = chosen.map(lambda photo: (photo["image"], photo["label"]))
    return chosen.apply(tf.data.experimental.assert_cardinality(len(ids)))


def format_image(data: Any, label: Any) -> tuple[Any, Any]:
    """JPEG bytes to float32 RGB (224, 224, 3) in [0, 1]: what the Hub module takes."""
    image = tf.image.decode_jpeg(data, channels=3)
    return tf.image.resize(image, (IMAGE_SIZE, IMAGE_SIZE)) / 255.0, label


def batches(photos: Any, batch_size: int, shuffle_buffer: int = 0, augment: Any = None) -> Any:
    """Batches of decoded photos, decoded anew in every pass; shuffled through a buffer where one is given.

    ``augment``: a Keras layer that changes a batch of photos at random, or None.
    """
    if shuffle_buffer:
        photos = photos.shuffle(shuffle_buffer)
    decoded = photos.map(format_image, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    if augment is not None:
        decoded = decoded.map(
            lambda images, labels: (augment(images, training=True), labels), num_parallel_calls=tf.data.AUTOTUNE
        )
    return decoded.prefetch(tf.data.AUTOTUNE)


def augmentation() -> Any:
    """Keras' preprocessing layers, one after another."""
    return tf_keras.Sequential(
        [
            tf_keras.layers.RandomFlip("horizontal"),
            tf_keras.layers.RandomRotation(ROTATION_DEGREES / 360),
            tf_keras.layers.RandomTranslation(SHIFT, SHIFT),
            tf_keras.layers.RandomZoom(ZOOM),
        ]
    )


def compiled_model(backbone: str, num_classes: int, is_whole: bool) -> Any:
    """The tutorial's model, whose backbone is trained where ``is_whole``."""
    dropout = [tf_keras.layers.Dropout(DROPOUT)] if is_whole else []
    model = tf_keras.Sequential(
        [
            hub.KerasLayer(backbone, input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3), trainable=is_whole),
            *dropout,
            tf_keras.layers.Dense(num_classes, activation="softmax"),
        ]
    )
    optimizer = tf_keras.optimizers.Adam(WHOLE_LEARNING_RATE if is_whole else HEAD_LEARNING_RATE)
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Watch(tf_keras.callbacks.Callback):  # type: ignore[misc]
    """Tells accuracy on the held-out photos and the time after every epoch, and keeps the weights of the best one.

    The training ends after the epoch whose accuracy, a fraction, is ``enough``; math.inf is never enough.
    """

    def __init__(self, enough: float) -> None:
        super().__init__()
        self.enough = enough
        self.history: list[dict[str, float]] = []
        self.best_weights: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Called after the pass over the held-out photos, which is the last of an epoch."""
        accuracy, seconds = last_accuracy(self.model), time.perf_counter() - STARTED
        if accuracy > max((one["accuracy"] for one in self.history), default=-1.0):
            self.best_weights = self.model.get_weights()
        self.history.append({"epoch": epoch + 1, "accuracy": accuracy, "wall_time_s": round(seconds, 2)})
        print(f"epoch {epoch + 1}: held-out accuracy {accuracy:.2%} after {seconds:.1f} s", file=sys.stderr, flush=True)
        self.model.stop_training = self.is_enough

    @property
    def is_enough(self) -> bool:
        """Whether the last epoch's accuracy is what was asked for."""
        return self.history[-1]["accuracy"] >= self.enough - _LESS_THAN_A_PHOTO


def last_accuracy(model: Any) -> float:
    """The share of photos that the model's last pass classified right, a fraction."""
    metric = next(metric for metric in model.metrics if metric.name == "accuracy")
    return int(metric.total) / int(metric.count)  # Keras itself reports a float32, which rounds


def main() -> None:
    parser = argparse.ArgumentParser(description="The naive transfer-learning recipe on the photos of a tledge run.")
    parser.add_argument("--splits", type=Path, required=True, help="splits.csv of the run whose split to use")
    parser.add_argument("--dataset", default="tf_flowers", help="the TensorFlow Datasets name the run was built from")
    parser.add_argument("--backbone", default=BACKBONE, help="handle of a Hub feature vector of 224 x 224 pixels")
    parser.add_argument("--whole", action="store_true", help="train the backbone too, on changed photos")
    parser.add_argument("--epochs", type=int, default=6, help="at most")
    parser.add_argument("--until-accuracy", type=float, help="with --whole: validation accuracy, a fraction, to end at")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only the first photos of each split, to try the program out")
    options = parser.parse_args()
    if options.until_accuracy is not None and not options.whole:
        parser.error("--until-accuracy: only --whole ends early; the recipe of the frozen backbone has its epochs")

    tf_keras.utils.set_random_seed(options.seed)
    ids = read_splits(options.splits, options.limit)
    photos = {name: encoded_photos(options.dataset, members) for name, members in ids.items()}
    train = batches(
        photos["train"],
        options.batch_size,
        shuffle_buffer=max(1, len(ids["train"]) // 4),
        augment=augmentation() if options.whole else None,
    )
    validation = batches(photos["validation"], options.batch_size)
    test = batches(photos["test"], options.batch_size)
    held_out = validation  # it chooses the best epoch of the whole graph: the test photos have no part in that
    if not options.whole:
        # The recipe splits 70/30 and validates on the 30% after every epoch: tledge's validation and test photos.
        held_out = batches(encoded_photos(options.dataset, ids["validation"] + ids["test"]), options.batch_size)

    num_classes = tfds.builder(options.dataset).info.features["label"].num_classes
    model = compiled_model(options.backbone, num_classes, options.whole)
    watch = Watch(math.inf if options.until_accuracy is None else options.until_accuracy)
    started = time.perf_counter()
    model.fit(train, epochs=options.epochs, validation_data=held_out, verbose=0, callbacks=[watch])
    fit_s = time.perf_counter() - started
    if options.whole:
        model.set_weights(watch.best_weights)
    # Scored apart to compare with tledge on the same photos, which is no part of the recipe.
    model.evaluate(validation, verbose=0)
    validation_accuracy = last_accuracy(model)
    model.evaluate(test, verbose=0)
    test_accuracy = last_accuracy(model)
    scoring_s = time.perf_counter() - started - fit_s
    result = {
        "wall_time_s": round(started + fit_s - STARTED, 2),
        "fit_s": round(fit_s, 2),
        "scoring_s": round(scoring_s, 2),
        "validation_accuracy": validation_accuracy,
        "test_accuracy": test_accuracy,
        "is_reached": watch.is_enough,
        "history": watch.history,
        "num_photos": {name: len(members) for name, members in ids.items()},
        "whole": options.whole,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "backbone": options.backbone,
        "library_versions": {name: version(name) for name in LIBRARIES},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
