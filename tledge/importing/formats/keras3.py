"""This format is the ``.keras`` file of Keras 3, which late versions of Keras 2 write, too."""

from __future__ import annotations

from pathlib import Path

from tledge.importing.foreign import ForeignModel, ModelFormat


def _open(path: Path) -> ForeignModel:
    from tledge.importing.keras_models.files import keras_version_of_zip
    from tledge.importing.keras_models.library import open_with_keras3, open_with_tf_keras

    version = keras_version_of_zip(path)
    return open_with_tf_keras(path) if version.startswith("2.") else open_with_keras3(path)


FORMAT = ModelFormat(
    name="keras3",
    described="a Keras file (.keras)",
    claims=lambda path: path.suffix.lower() == ".keras" and path.is_file(),
    open=_open,
)
