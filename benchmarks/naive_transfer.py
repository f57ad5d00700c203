"""The naive recipe: transfer learning as the common tutorial writes it. The baseline of build.py.

A frozen hub.KerasLayer, a Dense softmax on top, Adam, batches of 32, six epochs. tf.data reads, decodes and
resizes every photo in every epoch, with the tutorial's parallel map and prefetch; the validation photos are
scored after every epoch. TensorFlow Datasets keeps the encoded photos of a data set this small in memory by
itself, and does so here; decoded photos are not kept.

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
import os
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


def batches(photos: Any, batch_size: int, shuffle_buffer: int = 0) -> Any:
    """Batches of decoded photos, decoded anew in every pass; shuffled through a buffer where one is given."""
    if shuffle_buffer:
        photos = photos.shuffle(shuffle_buffer)
    return photos.map(format_image, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def last_accuracy(model: Any) -> float:
    """The share of photos that the model's last pass classified right, a fraction."""
    metric = next(metric for metric in model.metrics if metric.name == "accuracy")
    return int(metric.total) / int(metric.count)  # Keras itself reports a float32, which rounds


def main() -> None:
    parser = argparse.ArgumentParser(description="The naive transfer-learning recipe on the photos of a tledge run.")
    parser.add_argument("--splits", type=Path, required=True, help="splits.csv of the run whose split to use")
    parser.add_argument("--dataset", default="tf_flowers", help="the TensorFlow Datasets name the run was built from")
    parser.add_argument("--backbone", default=BACKBONE, help="handle of a Hub feature vector of 224 x 224 pixels")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only the first photos of each split, to try the program out")
    options = parser.parse_args()

    tf_keras.utils.set_random_seed(options.seed)
    ids = read_splits(options.splits, options.limit)
    photos = {name: encoded_photos(options.dataset, members) for name, members in ids.items()}
    train = batches(photos["train"], options.batch_size, shuffle_buffer=max(1, len(ids["train"]) // 4))
    validation = batches(photos["validation"], options.batch_size)
    test = batches(photos["test"], options.batch_size)
    # The recipe splits 70/30 and validates on the 30% after every epoch: tledge's validation and test photos.
    held_out = batches(encoded_photos(options.dataset, ids["validation"] + ids["test"]), options.batch_size)

    num_classes = tfds.builder(options.dataset).info.features["label"].num_classes
    model = tf_keras.Sequential(
        [
            hub.KerasLayer(options.backbone, input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3), trainable=False),
            tf_keras.layers.Dense(num_classes, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    model.fit(train, epochs=options.epochs, validation_data=held_out, verbose=0)
    fit_s = time.perf_counter() - started
    # Scored apart to compare with tledge on the same photos: the recipe itself ends with the held-out 30%.
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
        "num_photos": {name: len(members) for name, members in ids.items()},
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "backbone": options.backbone,
        "library_versions": {name: version(name) for name in LIBRARIES},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
