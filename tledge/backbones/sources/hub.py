"""This source opens image feature vectors of TensorFlow Hub, by handle or local folder, as opaque layers."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tledge.backbones import mobilenet_v2
from tledge.backbones.apart import Apart
from tledge.backbones.backbone import Backbone, Opaque
from tledge.backbones.layer import Given, given_for_one
from tledge.backbones.source import BUNDLED, BackboneSource, Claim, is_address
from tledge.errors import EnvironmentFault, InputError, disk_full
from tledge.files import sha256_file
from tledge.home import expanded
from tledge.preprocessing import Pixels
from tledge.reachable import require_reachable
from tledge.saved_models import GRAPH, DamagedSavedModel, load_saved_model, saved_variables
from tledge.tensorflow_setup import device, tensorflow

_REMEDY = (
    "Set TFHUB_CACHE_DIR to a folder that holds the module, give a local folder with --backbone PATH, "
    "or use --backbone bundled, which needs no network."
)
_NETWORKS = (mobilenet_v2,)  # a module is compared with each of these networks in turn


def _claims(handle: str) -> Claim | None:
    """Claim ``bundled``, every address, and every folder whatever it holds.

    So the error for a folder without a module can say what is missing.
    """
    if handle == BUNDLED or is_address(handle):
        return "name"
    return "path" if expanded(handle, f"backbone {handle}").is_dir() else None


def _open(handle: str, input_size: int | None, weights: str | None, seed: int) -> Backbone:
    """Resolve, check and load a module of TensorFlow Hub.

    Raises InputError for a module that is no image feature vector in the Hub's TF2 format. Raises EnvironmentFault where
    the module would have to be downloaded and can't be.
    """
    if weights is not None:
        raise InputError(
            f"backbone {handle!r} brings its own weights. Drop --weights {weights}, or use --backbone keras:NAME."
        )
    folder, what = _resolve(handle), f"backbone {handle!r}"
    import tensorflow as tf

    try:
        layer = load_layer(folder, what)
    except DamagedSavedModel as error:
        raise (_cut_short(handle, folder) if is_address(handle) else error) from error
    except (ValueError, OSError, AttributeError, RuntimeError, IndexError, tf.errors.OpError) as error:
        if is_address(handle) and not _is_whole(folder):
            raise _cut_short(handle, folder) from error
        raise InputError(
            f"{what} is no whole TF2 SavedModel of TensorFlow Hub (read from {folder}): {error}"
        ) from error

    def apart(size: int) -> Apart | None:
        # A GPU's driver needs files and addresses that the limits of the process forbid.
        return None if handle == BUNDLED or device().kind == "GPU" else Apart(folder, what, size)

    def given(size: int) -> Given:
        found = apart(size)
        if found is None:
            return given_for_one(layer, size)
        with contextlib.closing(found):
            return Given(*found.given())

    declared, feature_dim = _signature(handle, layer, input_size, given)
    if declared is None and input_size is None:
        raise InputError(f"backbone {handle!r} takes any input size. Say which with --image-size.")
    if declared is not None and input_size not in (None, declared):
        raise InputError(
            f"backbone {handle!r} takes {declared} x {declared} pixels only. Drop --image-size {input_size}."
        )
    size = declared or input_size
    assert size is not None
    return Backbone(handle, folder_digest(folder), size, feature_dim, layer, apart=apart(size), take_apart=_take_apart)


def _take_apart(backbone: Backbone, photos: Pixels) -> Backbone | Opaque:
    """Find the layers of a module that is one of the known networks, or return why it is none of them."""
    reasons = []
    for network in _NETWORKS:
        found = network.flatten(backbone, photos)
        if isinstance(found, Backbone):
            return found
        reasons.append(found.reason)
    return Opaque("; ".join(reasons))


def load_layer(folder: Path, what: str) -> Any:
    """Load a module as a tf_keras layer of float32 RGB.

    Raises the errors of :func:`tledge.saved_models.load_saved_model`. They name ``what``.
    """
    tensorflow()
    import tensorflow_hub

    # The module is loaded first. Given a path, the layer would import Keras 3 for its load options, which takes a second.
    return tensorflow_hub.KerasLayer(load_saved_model(folder, what, tensorflow_hub.load), trainable=False)


def folder_digest(folder: Path) -> str:
    """Hash the relative paths and the contents of a module's files. Markdown files are left out. Returns hex SHA-256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
    lines = [f"{path.relative_to(folder).as_posix()} {sha256_file(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _resolve(handle: str) -> Path:
    if handle == BUNDLED:
        return Path(__file__).parent.parent / "bundled"
    if not is_address(handle):
        folder = expanded(handle, f"backbone {handle}")
        if (folder / GRAPH).is_file():
            return folder
        raise InputError(f"backbone folder {handle}: holds no {GRAPH}")
    if not handle.startswith("https://"):
        raise InputError(f"backbone {handle!r}: only https:// handles and local folders are loaded")
    import tensorflow_hub
    from tensorflow_hub import resolver

    cached = Path(resolver.tfhub_cache_dir(use_temp=True), hashlib.sha1(handle.encode()).hexdigest())  # noqa: S324 - the Hub's own cache key
    if not (cached / GRAPH).is_file():
        if cached.is_dir() and any(cached.iterdir()):  # the Hub would take these files for the module
            raise _cut_short(handle, cached)
        _forget_killed_download(cached)
        require_reachable(handle, f"backbone {handle}", _REMEDY)
    import tensorflow as tf

    try:
        return Path(tensorflow_hub.resolve(handle))
    except (OSError, EOFError, ValueError, http.client.HTTPException, tf.errors.OpError) as error:
        # HTTPException is an answer that breaks off. OpError is raised by the Hub's file functions.
        fault = EnvironmentFault(f"backbone {handle} could not be downloaded: {error}. {_REMEDY}")
        raise disk_full(error) or fault from error


def _cut_short(handle: str, folder: Path) -> EnvironmentFault:
    return EnvironmentFault(
        f"backbone {handle}: its copy in the Hub's cache is not whole, as a download leaves it that was interrupted. "
        f"Remove {folder}, and it is downloaded again."
    )


def _is_whole(folder: Path) -> bool:
    """Tell whether the graph of a SavedModel is not empty, and each of its variables can be read."""
    import tensorflow as tf

    try:
        with saved_variables(folder) as reader:
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
    except (ValueError, RuntimeError, IndexError, tf.errors.OpError):  # IndexError comes from a file cut short
        return False
    return (folder / GRAPH).stat().st_size > 0


def _forget_killed_download(cached: Path) -> None:
    """Remove the lock and the download that a killed process of this machine left beside the folder.

    The Hub would wait ten minutes for them. A lock names a machine by its host name alone. So containers that share the
    folder need different host names. Otherwise one takes the running download of another for a dead one.
    """
    lock = Path(f"{cached}.lock")
    with contextlib.suppress(FileNotFoundError):
        held = re.fullmatch(
            r"(.+)\.(\d{1,9})\.([0-9a-f]{32})", lock.read_text(errors="replace")
        )  # host, process, download
        if held and held[1] == socket.gethostname() and not _is_alive(int(held[2])):
            lock.unlink()
            shutil.rmtree(f"{cached}.{held[3]}.tmp", ignore_errors=True)


def _is_alive(process: int) -> bool:
    """Tell whether a process of this number runs on this machine, under any user."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process belongs to another user
        pass
    return True


def _signature(
    handle: str, layer: Any, input_size: int | None, given_for_one: Callable[[int], Given]
) -> tuple[int | None, int]:
    """Return the input size, None for any, and the feature dimension that a module declares.

    Where it does not declare the dimension, ``given_for_one`` runs it on one image. Raises InputError for a module that is
    no image feature vector.
    """
    call = layer.resolved_object.__call__
    shapes, outputs = [], []
    for function in call.concrete_functions:
        inputs = function.structured_input_signature[0]
        if inputs and getattr(inputs[0], "shape", None) is not None:
            shapes.append(inputs[0].shape)
            outputs.append(Given.of(function.structured_outputs))
    if shapes and all(shape.rank == 4 and shape[0] is not None for shape in shapes):
        raise InputError(f"backbone {handle!r} takes batches of one size only, and tledge needs one that takes any")
    square = [shape for shape in shapes if shape.rank == 4 and shape[1] == shape[2] and shape[3] in (3, None)]
    if not square:
        raise InputError(f"backbone {handle!r} is no image feature vector: its inputs are {shapes}, not (N, S, S, 3)")
    size, given = square[0][1], outputs[shapes.index(square[0])]
    if given.shape is None or None in given.shape[1:]:
        probe = size or input_size
        if probe is None:
            raise InputError(f"backbone {handle!r} takes any input size. Say which with --image-size.")
        given = given_for_one(probe)
    if given.shape is None or len(given.shape) != 2 or given.shape[1] is None or given.dtype != "float32":
        raise InputError(
            f"backbone {handle!r} gives {given.kind} of {given.shape} {given.dtype}, not one feature vector an image in float32"
        )
    return size, given.shape[1]


SOURCE = BackboneSource(
    name="hub",
    names=(BUNDLED,),
    forms=("a TensorFlow Hub URL", f"a folder that holds {GRAPH}"),
    claims=_claims,
    open=_open,
    is_pretrained=lambda weights: True,
    takes_weights=False,
    rebuild={network.KIND: network.rebuild for network in _NETWORKS},
)
