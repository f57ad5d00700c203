"""Small classifiers of the digits, as their users have them in files. Each is trained in a moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 8
REAL_MODELS = Path(os.environ.get("TFHUB_CACHE_DIR", "/nonexistent")).parent / "models"
"""This folder holds models that PyTorch and Keras 3 trained, where the machine has the real data."""
KERAS3 = """
import sys
import keras, numpy as np
weights = np.load(sys.argv[1])
model = keras.Sequential([
    keras.Input((8, 8, 3)),
    keras.layers.RandomFlip(),
    keras.layers.Rescaling(1 / 255),
    keras.Sequential([
        keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="a"),
        keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="b"),
    ]),
    keras.layers.GlobalAveragePooling2D(),
    keras.layers.Dropout(0.2),
    keras.layers.Dense(10, activation="softmax", name="c"),
])
model.set_weights([weights[name] for name in sorted(weights.files)])
model.save(sys.argv[2])
"""


def digits() -> tuple[Any, Any]:
    """The photos of data set ``digits``, float32 RGB (N, 8, 8, 3) in [0, 255], and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = np.rint(data.images * (255.0 / 16.0)).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=3).astype(np.float32), data.target


def trained(low: float = 0.0, high: float = 1.0) -> Any:
    """A tf_keras.Model that takes [0, 255] and maps it to [low, high] inside, trained on every second digit."""
    import tf_keras
    from tf_keras import layers

    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential(
        [
            layers.Rescaling((high - low) / 255, offset=low, input_shape=(SIZE, SIZE, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="a"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="b"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax", name="c"),
        ]
    )
    model.compile(tf_keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    pixels, labels = digits()
    model.fit(pixels[::2], labels[::2], epochs=15, verbose=0)
    return model


def save_all(folder: Path) -> None:
    """Write the classifier as ``model.h5``, ``keras`` and ``plain`` (SavedModels), ``model.onnx`` and ``model.keras``."""
    import tensorflow as tf
    import tf2onnx

    folder.mkdir(exist_ok=True)
    model = trained()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 calls its own format old
        model.save(folder / "model.h5")
    model.save(folder / "keras")
    module = tf.Module()
    module.model = model
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")
    serve = tf.function(lambda images: {"probabilities": model(images, training=False)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder / "plain"), {"serving_default": serve})
    tf2onnx.convert.from_keras(model, [spec], opset=17, output_path=str(folder / "model.onnx"))
    weights = {f"{number}": values for number, values in enumerate(model.get_weights())}
    np.savez(folder / "weights.npz", **weights)
    program = [sys.executable, "-c", KERAS3, str(folder / "weights.npz"), str(folder / "model.keras")]
    subprocess.run(program, check=True, capture_output=True)
