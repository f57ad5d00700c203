"""Make small models with Keras 3 and tf_keras, and their own answers to noise: ``python make_keras_models.py FOLDER [strange]``.

It is a program of its own, because a process in which tledge's tests run has tf_keras set up already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import keras
import numpy as np
import tf_keras

SIZE = 32
CLASSES = 5
Body = Callable[[Any, Any], Any]


def nested(library: Any, images: Any) -> Any:
    """Sequential models inside a model, with what only training needs."""
    layers = library.layers
    augmentation = library.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)], name="augmentation"
    )
    block = library.Sequential([layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D()], name="block")
    x = layers.Rescaling(1 / 255)(augmentation(images))
    x = layers.GaussianNoise(0.1)(block(x))
    head = library.Sequential(
        [layers.Flatten(), layers.Dropout(0.5), layers.Dense(CLASSES, activation="softmax")], name="head"
    )
    return head(x)


def functional(library: Any, images: Any) -> Any:
    """The preparation as a formula, and logits."""
    layers = library.layers
    x = library.applications.mobilenet_v2.preprocess_input(images)
    x = layers.LeakyReLU()(layers.Conv2D(8, 5, strides=2, padding="same")(x))
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(8, 3, dilation_rate=2, groups=2)(x))
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))


def residual(library: Any, images: Any) -> Any:
    """A block with a shortcut, and batch normalizations."""
    layers = library.layers
    x = layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3700.0, 3900.0])(images)
    x = layers.ZeroPadding2D(3)(x)
    x = shortcut = layers.BatchNormalization()(layers.Conv2D(8, 7, strides=2, use_bias=False)(x))
    x = layers.Conv2D(8, 3, padding="same", activation="swish")(layers.ReLU()(x))
    x = layers.Add()([layers.BatchNormalization()(x), shortcut])
    x = layers.GlobalMaxPooling2D()(layers.Activation("relu")(x))
    return layers.Activation("softmax")(layers.Dense(CLASSES)(layers.Dense(6)(x)))


def depthwise(library: Any, images: Any) -> Any:
    """The end and the paddings of MobileNet."""
    layers = library.layers
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(layers.Rescaling(1 / 127.5, offset=-1)(images))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, use_bias=False)(x)))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2)(x))
    x = layers.SeparableConv2D(12, 3, padding="same", activation="relu")(x)
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Reshape((CLASSES,))(layers.Conv2D(CLASSES, 1, use_bias=False)(x))
    return layers.Softmax()(x)


def concat(library: Any, images: Any) -> Any:
    """Branches that are laid beside each other, and each class's own sigmoid."""
    layers = library.layers
    x = layers.Rescaling(1 / 255)(images)
    one = layers.Conv2D(6, 3, padding="same", activation="tanh")(x)
    other = layers.AveragePooling2D(3, strides=1, padding="same")(layers.Conv2D(4, 1, activation="elu")(x))
    x = layers.MaxPooling2D(2)(layers.Concatenate()([one, other]))
    return layers.Dense(CLASSES, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))


def squeeze_excite(library: Any, images: Any) -> Any:
    """Gates of channels, written as layers and as formulas."""
    layers = library.layers
    x = layers.Conv2D(8, 3, padding="same")(images / 255.0)
    x = x * layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0)
    gate = layers.Reshape((1, 1, 8))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(8, 1, activation="hard_sigmoid")(layers.Conv2D(4, 1, activation="relu")(gate))
    x = layers.Multiply()([x, gate])
    x = layers.Subtract()([x, layers.Dense(8)(x)])
    return layers.Dense(CLASSES, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def caffe(library: Any, images: Any) -> Any:
    """The channels turned around, and means taken off."""
    layers = library.layers
    x = layers.Conv2D(8, 3, strides=2)(library.applications.vgg16.preprocess_input(images))
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))


def two_classes(library: Any, images: Any) -> Any:
    """One output unit."""
    layers = library.layers
    x = layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(images))
    return layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))


def shared(library: Any, images: Any) -> Any:
    """One layer at two places, and activations as operations."""
    layers = library.layers
    twice = layers.Conv2D(3, 3, padding="same", activation="softplus")
    x = layers.Activation("gelu")(twice(twice(images / 255.0)))
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))


def hard_swish(library: Any, images: Any) -> Any:
    """Activations that Keras 3 alone has, and operations of keras.ops."""
    x = library.layers.Conv2D(8, 3, activation="hard_swish")(images / 255.0)
    x = library.ops.relu6(library.layers.Conv2D(8, 3, activation="relu6")(x))
    x = library.layers.Dense(CLASSES)(library.ops.mean(x, axis=[1, 2]))
    return library.ops.softmax(x)


def resizing(library: Any, images: Any) -> Any:
    """A layer that has no place in a flat graph."""
    x = library.layers.Conv2D(4, 3)(library.layers.Resizing(16, 16)(images))
    return library.layers.Dense(CLASSES)(library.layers.GlobalAveragePooling2D()(x))


MATRIX = (nested, functional, residual, depthwise, concat, squeeze_excite)


def teachable(library: Any) -> Any:
    """Sequential models in a Sequential model, as Teachable Machine saves them."""
    layers = library.layers
    images = library.Input((SIZE, SIZE, 3))
    base = library.Model(
        images, layers.ReLU(6.0)(layers.Conv2D(8, 3, strides=2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(images)))
    )
    features = library.Sequential([base, layers.GlobalAveragePooling2D()])
    head = [layers.Dense(6, activation="relu"), layers.Dense(CLASSES, activation="softmax", use_bias=False)]
    made = library.Sequential([library.Input((SIZE, SIZE, 3)), features, library.Sequential(head)])
    made(np.zeros((1, SIZE, SIZE, 3), np.float32))
    return made


def model(library: Any, body: Body, channels: int = 3, size: int | None = SIZE) -> Any:
    """Build a model whose weights and statistics are all drawn at random."""
    images = library.Input((size, size, channels))
    made = library.Model(images, body(library, images), name=body.__name__)
    rng = np.random.default_rng(7)
    for weight in made.weights:
        if np.dtype(getattr(weight.dtype, "as_numpy_dtype", weight.dtype)) != np.float32 or "seed" in weight.name:
            continue
        name = getattr(weight, "path", weight.name)
        fan_in = max(1, int(np.prod(weight.shape[:-1]))) if len(weight.shape) > 1 else 4
        values = rng.normal(scale=1 / np.sqrt(fan_in), size=tuple(weight.shape))
        if "norm" in name:
            if "mean" not in name and "variance" not in name and "gamma" not in name and "beta" not in name:
                continue
            if "normalization" in name and len(weight.shape) != 1:
                continue
            values = np.abs(values) + 0.5 if "variance" in name or "gamma" in name else values
        weight.assign(values.astype(np.float32))
    return made


def answered(folder: Path, name: str, made: Any, channels: int = 3) -> None:
    """Keep a model's own answers to noise."""
    noise = np.random.default_rng(3).uniform(0, 255, (6, SIZE, SIZE, channels)).astype(np.float32)
    np.savez(folder / f"{name}.npz", noise=noise, own=np.asarray(made(noise, training=False)))


def make(folder: Path) -> None:
    """Make all models."""
    for body in MATRIX:
        name = body.__name__
        made = model(keras, body)
        made.save(folder / f"{name}.keras")
        answered(folder, f"{name}.keras", made)
        made = model(tf_keras, body)
        made.save(folder / f"{name}.h5", save_format="h5")
        answered(folder, f"{name}.h5", made)
        made.save(folder / name, save_format="tf")
        answered(folder, name, made)
    made = model(keras, nested)
    made.save(folder / "by_keras3.h5")
    answered(folder, "by_keras3.h5", made)
    made = model(tf_keras, nested)
    made.save(folder / "by_tf_keras.keras")
    answered(folder, "by_tf_keras.keras", made)
    for body in (caffe, two_classes, shared):
        made = model(keras, body)
        made.save(folder / f"{body.__name__}.keras")
        answered(folder, f"{body.__name__}.keras", made)
        made = model(tf_keras, body)
        made.save(folder / f"{body.__name__}.h5", save_format="h5")
        answered(folder, f"{body.__name__}.h5", made)
    for body in (hard_swish, resizing):
        made = model(keras, body)
        made.save(folder / f"{body.__name__}.keras")
        answered(folder, f"{body.__name__}.keras", made)
    made = model(keras, two_classes, channels=1)
    made.save(folder / "grey.keras")
    answered(folder, "grey.keras", made, channels=1)
    made = model(keras, concat, size=None)
    made.save(folder / "open_size.keras")
    answered(folder, "open_size.keras", made)
    make_strange(folder)


def make_strange(folder: Path) -> None:
    """Make models that are no image classifiers, or hold code."""
    for library, suffix in ((keras, "keras"), (tf_keras, "h5")):
        made = teachable(library)
        made.save(folder / f"teachable.{suffix}")
        answered(folder, f"teachable.{suffix}", made)
        _make_strange(folder, library, suffix)


def _make_strange(folder: Path, library: Any, suffix: str) -> None:
    layers = library.layers

    class Doubled(layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x * 2

    def saved(name: str, inputs: Any, outputs: Any) -> Any:
        made = library.Model(inputs, outputs)
        made.save(folder / f"{name}.{suffix}")
        return made

    images = library.Input((SIZE, SIZE, 3), name="photo")
    logits = layers.Dense(2)(layers.GlobalAveragePooling2D()(images))
    lambda_model = saved(
        "with_lambda", images, layers.Lambda(lambda x: x + 1, name="secret", output_shape=(2,))(logits)
    )
    custom_model = saved("with_custom", images, Doubled(name="doubled")(logits))
    if library is tf_keras:
        lambda_model.save(folder / "with_lambda", save_format="tf")
        custom_model.save(folder / "with_custom", save_format="tf")
    made = saved("detector", images, [logits, layers.Conv2D(4, 3, name="boxes")(images)])
    made.save_weights(folder / f"only_weights_{suffix}.weights.h5")
    saved("segmentation", images, layers.Conv2D(4, 3)(images))
    words = library.Input((20,), dtype="int32", name="words")
    saved("text", words, layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.Embedding(100, 4)(words))))
    other = library.Input((SIZE, SIZE, 3), name="mask")
    saved("two_inputs", [images, other], layers.Dense(2)(layers.GlobalAveragePooling2D()(images + other)))
    wide = library.Input((SIZE, 2 * SIZE, 3), name="wide")
    saved("not_square", wide, layers.Dense(2)(layers.GlobalAveragePooling2D()(wide)))
    saved("one_softmax", images, layers.Dense(1, activation="softmax")(layers.GlobalAveragePooling2D()(images)))
    normalized = layers.BatchNormalization()(layers.Conv2D(4, 3)(images), training=True)
    saved("in_training", images, layers.Dense(2)(layers.GlobalAveragePooling2D()(normalized)))


if __name__ == "__main__":
    (make_strange if "strange" in sys.argv[2:] else make)(Path(sys.argv[1]))
