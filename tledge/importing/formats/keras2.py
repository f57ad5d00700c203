"""This format is the HDF5 files and SavedModel folders of Keras 2; Keras 3 writes HDF5 files, too."""

from __future__ import annotations

from pathlib import Path

from tledge.importing.foreign import ForeignModel, ModelFormat

_SUFFIXES = (".h5", ".hdf5")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_GRAPH, _METADATA = "saved_model.pb", "keras_metadata.pb"


def _claims(path: Path) -> bool:
    if path.is_dir():
        return (path / _GRAPH).is_file() and (path / _METADATA).is_file()
    if path.suffix.lower() in _SUFFIXES:
        return path.is_file()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_HDF5)) == _HDF5


def _open(path: Path) -> ForeignModel:
    from tledge.importing.keras_models.files import keras_version_of_hdf5, require_plain_saved_model
    from tledge.importing.keras_models.library import open_with_keras3, open_with_tf_keras

    if not path.is_dir():
        # tf_keras can't read what Keras 3 wrote.
        version = keras_version_of_hdf5(path)
        return open_with_keras3(path) if version.startswith("3.") else open_with_tf_keras(path)
    require_plain_saved_model(path)

    def load() -> object:
        from tledge.saved_models import load_saved_model
        from tledge.tensorflow_setup import tensorflow

        tensorflow()
        import tf_keras

        def by_keras(folder: str) -> object:
            return tf_keras.saving.load_model(folder, compile=False)

        return load_saved_model(path, path.name, by_keras)

    return open_with_tf_keras(path, load)


FORMAT = ModelFormat(
    name="keras2",
    described="a Keras HDF5 file (.h5) or a SavedModel folder that Keras saved",
    claims=_claims,
    open=_open,
)
