"""This module imports Keras 3 and tf_keras in the process of a model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from tledge.importing.keras_models.model import KerasModel, loaded
from tledge.tensorflow_setup import tensorflow


def open_with_keras3(path: Path) -> KerasModel:
    """Open a checked ``.keras`` or HDF5 file by Keras 3. Raises Refused."""
    _use_own_settings()
    import keras

    return loaded(lambda: keras.saving.load_model(path, safe_mode=True, compile=False), keras, "keras", path)


def open_with_tf_keras(path: Path, load: Any = None) -> KerasModel:
    """Open a checked file or SavedModel by tf_keras, or by the function ``load``. Raises Refused."""
    _use_own_settings()
    import tf_keras

    def load_by_path() -> Any:
        return tf_keras.saving.load_model(str(path), compile=False, safe_mode=True)

    return loaded(load or load_by_path, tf_keras, "tf_keras", path)


def _use_own_settings() -> None:
    # A user's keras.json may choose another backend, float16 or channels that come first. The model's layers say all that.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["KERAS_HOME"] = tempfile.gettempdir()
    tensorflow()
