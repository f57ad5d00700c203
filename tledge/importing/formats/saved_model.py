"""This format reads plain SavedModels of TensorFlow 2, whose layers are not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tledge.backbones.described import DescribedNetwork
from tledge.errors import InputError
from tledge.importing.foreign import LayersUnknown, ModelFormat, Refused, Taken
from tledge.importing.opaque import save_logits
from tledge.printable import sentence
from tledge.saved_models import GRAPH, DamagedSavedModel, load_saved_model

Floats = npt.NDArray[np.float32]
SIGNATURE = "serving_default"
_LEAST = 1e-30  # a probability of zero has no logarithm
_SUM_ERROR = 1e-3


class SavedModel:
    """A ``SavedModel`` answers by its signature ``serving_default``."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._tf = tf
        try:
            loaded = load_saved_model(folder, "the SavedModel")
        except DamagedSavedModel as error:
            raise Refused(f"{sentence(str(error))} Copy the whole folder again, or save it again.") from error
        except InputError as error:
            raise Refused(f"{sentence(str(error))} Save the network alone.") from error
        except Exception as error:  # TensorFlow's loader raises its own and built-in types for a damaged folder
            raise Refused(f"TensorFlow can't load it ({_first_line(error)}). Save it again.") from error
        if SIGNATURE not in loaded.signatures:
            raise Refused(
                f"it has no signature {SIGNATURE}. Save it with one: tf.saved_model.save(model, folder, signatures=...)."
            )
        self._loaded, self._serve = loaded, loaded.signatures[SIGNATURE]
        self._name, self._takes = _image_input(self._serve)
        self._size, self._channels = _sides(self._takes)

    def taken(self) -> Taken:
        if len(self._serve.structured_outputs) != 1:
            names = ", ".join(sorted(self._serve.structured_outputs))
            raise Refused(
                f"it gives several outputs ({names}), as detectors do. tledge takes classifiers, which give one."
            )
        size = self._size or 224
        noise = np.random.default_rng(0).uniform(0, 1, (2, size, size, self._channels)).astype(np.float32)
        given = self._given(noise)
        if given.ndim != 2:
            raise Refused(
                f"it gives an output of shape {given.shape}, and a classifier gives one number for each class."
            )
        self._is_probabilities = bool(np.all(given >= 0) and np.allclose(given.sum(axis=1), 1, atol=_SUM_ERROR))
        return Taken(
            self._size,
            self._channels,
            given.shape[1],
            "softmax" if self._is_probabilities else "logits",
            framework=f"tensorflow {self._tf.__version__}",
        )

    def answers(self, images: Floats) -> Floats:
        given = self._given(images)
        return np.log(np.maximum(given, _LEAST)).astype(np.float32) if self._is_probabilities else given

    def network(self, input_size: int) -> DescribedNetwork:
        raise LayersUnknown("a SavedModel without Keras' own description holds operators, and no layers")

    def saved_model(self, folder: Path) -> Path:
        def logits(images: Any) -> Any:
            (output,) = self._serve(**{self._name: self._tf.cast(images, self._takes.dtype)}).values()
            given = self._tf.cast(output, self._tf.float32)
            return self._tf.math.log(self._tf.maximum(given, _LEAST)) if self._is_probabilities else given

        return save_logits(logits, self._loaded, (None, self._size, self._size, self._channels), folder)

    def _given(self, images: Floats) -> Floats:
        values = self._tf.cast(self._tf.constant(images), self._takes.dtype)
        (output,) = self._serve(**{self._name: values}).values()
        return np.asarray(output.numpy(), np.float32)


def _image_input(serve: Any) -> tuple[str, Any]:
    """Return the name and the specification of the one input of a signature."""
    inputs = serve.structured_input_signature[1]
    if len(inputs) != 1:
        raise Refused(
            f"it takes {len(inputs)} inputs ({', '.join(sorted(inputs))}), and an image classifier takes one."
        )
    ((name, takes),) = inputs.items()
    if takes.dtype.name not in ("float32", "uint8", "float16"):
        raise Refused(
            f"its input {name} is of {takes.dtype.name}, as in models of text. tledge takes models of images."
        )
    return name, takes


def _sides(takes: Any) -> tuple[int | None, int]:
    """Return the side of the photos, or None for any, and the number of channels."""
    shape = takes.shape.as_list() if takes.shape.rank == 4 else None
    if shape is None or shape[3] not in (1, 3):
        raise Refused(f"its input has the shape {takes.shape}, and photos have (N, height, width, 3) or 1 channel.")
    if shape[1] != shape[2]:
        raise Refused(f"it takes photos of {shape[1]} x {shape[2]} pixels, and tledge square ones.")
    if shape[0] is not None:
        raise Refused("it takes one photo at a time. Save it for any number of photos: shape (None, height, width, 3).")
    return shape[1], shape[3]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


FORMAT = ModelFormat(
    name="saved_model",
    described="a SavedModel (a folder)",
    claims=lambda path: (path / GRAPH).is_file(),
    open=SavedModel,
)
