"""This module checks the files of Keras models before Keras opens them: their sizes, their parts and what they name."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from tledge.errors import InputError
from tledge.importing.foreign import Refused
from tledge.importing.keras_models.allowed import require_plain
from tledge.printable import sentence

_MAX_JSON_BYTES = 64 * 2**20
_MAX_WEIGHTS_BYTES = 2**31
_MOST_MEMBERS = 1000
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
KERAS_METADATA = "keras_metadata.pb"


def keras_version_of_zip(path: Path) -> str:
    """Check a ``.keras`` file, and return the version of Keras that wrote it. Raises Refused."""
    what = path.name
    try:
        with zipfile.ZipFile(path) as archive:
            _require_members(archive, what)
            config = _json(_read(archive, _CONFIG, _MAX_JSON_BYTES, what), what)
            metadata = _json(_read(archive, _METADATA, _MAX_JSON_BYTES, what), what)
            weights = _read(archive, _WEIGHTS, _MAX_WEIGHTS_BYTES, what)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise Refused(
            f"{what} is damaged or no .keras file, which is a zip archive ({error}). Copy it again, or save the model again "
            "by model.save"
        ) from error
    require_plain(config, what)
    _require_plain_hdf5(io.BytesIO(weights), what)
    return str(metadata.get("keras_version", ""))


def keras_version_of_hdf5(path: Path) -> str:
    """Check an HDF5 file of a whole model, and return the version of Keras that wrote it. Raises Refused."""
    what = path.name
    root = _require_plain_hdf5(path, what)
    if "model_config" not in root:
        if root.keys() & {"layer_names", "keras_version", "backend"} or path.name.endswith(".weights.h5"):
            raise Refused(
                f"{what} holds weights only, and no model. Save the whole model, such as by "
                'model.save("model.keras"), and import that file'
            )
        raise Refused(f"{what} holds no Keras model. Save the whole model by model.save, and import that file")
    text = root["model_config"]
    config = _json(text.encode() if isinstance(text, str) else bytes(text), what)
    require_plain(config, what)
    version = root.get("keras_version", "")
    return version.decode(errors="replace") if isinstance(version, bytes) else str(version)


def require_plain_saved_model(folder: Path) -> None:
    """Check a SavedModel that tf_keras wrote: its operators, and the descriptions of its layers. Raises Refused."""
    from tledge.saved_models import DamagedSavedModel, require_image_network

    what = folder.name
    try:
        require_image_network(folder, what)
    except DamagedSavedModel as error:
        raise Refused(f"{sentence(str(error))} Copy the whole folder again, or save it again") from error
    except InputError as error:
        raise Refused(f"{sentence(str(error))} Save the network alone") from error
    for identifier, described in _saved_objects(folder / KERAS_METADATA, what):
        if identifier != "_tf_keras_metric":
            require_plain(described, what)
        else:  # tf_keras makes no metrics but its own; what they hold is checked.
            require_plain({"config": described.get("config")}, what)


def _saved_objects(path: Path, what: str) -> list[tuple[str, Any]]:
    from google.protobuf.message import DecodeError
    from tf_keras.protobuf import saved_metadata_pb2

    if path.stat().st_size > _MAX_JSON_BYTES:
        raise Refused(f"{what} is refused: {path.name} has {path.stat().st_size / 1e6:.0f} MB, more than any model's")
    try:
        metadata = saved_metadata_pb2.SavedMetadata.FromString(path.read_bytes())
    except DecodeError as error:
        raise Refused(f"{what} is damaged: {path.name} can't be read. Copy the folder again") from error
    return [(str(node.identifier), _json(node.metadata.encode(), what)) for node in metadata.nodes]


def _require_members(archive: zipfile.ZipFile, what: str) -> None:
    names = archive.namelist()
    if len(names) > _MOST_MEMBERS or len(set(names)) < len(names):
        raise Refused(f"{what} is refused: its list of members is none that Keras writes")
    if missing := [name for name in (_CONFIG, _METADATA, _WEIGHTS) if name not in names]:
        raise Refused(f"{what} is no whole Keras model: it lacks {', '.join(missing)}. Save it by model.save")
    if others := [name for name in names if name not in (_CONFIG, _METADATA, _WEIGHTS, "assets/")]:
        raise Refused(f"{what} is refused: it holds {others[0][:100]!r}, which no image classifier of Keras needs")


def _read(archive: zipfile.ZipFile, name: str, most: int, what: str) -> bytes:
    """Read a member. The size that an archive declares may be a lie, so the bytes are counted as well."""
    declared = archive.getinfo(name).file_size
    if declared <= most:
        with archive.open(name) as member:
            data = member.read(most + 1)
        if len(data) <= most:
            return data
    raise Refused(
        f"{what} is refused: {name} unpacks to {declared / 1e6:.0f} MB or more, beyond the {most / 1e6:.0f} MB allowed. "
        "Save the model again by model.save"
    )


def _json(text: bytes, what: str) -> Any:
    if len(text) > _MAX_JSON_BYTES:
        raise Refused(f"{what} is refused: its description has {len(text) / 1e6:.0f} MB, more than any model's")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(
            f"{what} is damaged: its description is no JSON ({type(error).__name__}). Save it again by model.save"
        ) from error
    if not isinstance(value, dict):
        raise Refused(f"{what} is damaged: its description is no JSON object. Save it again by model.save")
    return value


def _require_plain_hdf5(file: Any, what: str) -> dict[str, Any]:
    """Check that an HDF5 file names no other file and unpacks to a bounded size; return the attributes of its root.

    HDF5 can link to other files, and can keep values in them. So a stranger's model could hold this machine's files as weights.
    """
    import h5py

    total = 0
    try:
        with h5py.File(file, "r") as root:
            groups = [root]
            while groups:
                group = groups.pop()
                for name in group:
                    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                        raise Refused(f"{what} is refused: {name[:100]!r} in it is a link, perhaps to another file")
                    one = group[name]
                    if isinstance(one, h5py.Group):
                        if len(one.name) > 1000:
                            raise Refused(f"{what} is refused: its groups are nested more deeply than any model's")
                        groups.append(one)
                    elif one.external or one.is_virtual:
                        raise Refused(f"{what} is refused: {name[:100]!r} in it lies in another file")
                    else:
                        total += one.nbytes
                if total > _MAX_WEIGHTS_BYTES:
                    raise Refused(f"{what} is refused: its weights unpack to over {_MAX_WEIGHTS_BYTES / 1e9:.1f} GB")
            return dict(root.attrs)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise Refused(f"{what} is damaged or no HDF5 file ({error}). Copy it again, or save the model again") from error
