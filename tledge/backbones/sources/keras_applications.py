"""This source makes flat graphs of the networks of tf_keras.applications. Every graph takes RGB in [0, 1]."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tledge.backbones.backbone import RESCALE, Backbone
from tledge.backbones.flat import flattened
from tledge.backbones.graph import initialise, of_graph
from tledge.backbones.source import IMAGENET, MAX_INPUT_SIZE, NO_WEIGHTS, BackboneSource
from tledge.backbones.structure import parsed, structure_fault
from tledge.errors import EnvironmentFault, InputError, unknown
from tledge.home import expanded
from tledge.reachable import require_reachable
from tledge.records import Record
from tledge.tensorflow_setup import tensorflow

KERAS = "keras:"  # stands before the name of a network
KIND = "keras_applications"
_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"
_REMEDY = "Give a file that holds them with --weights PATH.h5, or start from random ones with --weights none."
# The mean and the deviation of ImageNet's photos in RGB, for [0, 1], from tf_keras.src.applications.imagenet_utils.
_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE_MEAN = np.array([123.68, 116.779, 103.939])  # the mean for [0, 255], in the order RGB


@dataclass(frozen=True)
class Preprocessing:
    """A ``Preprocessing`` maps x in [0, 1] to ``scale * x + offset``, which a network takes.

    ``scale`` and ``offset`` are float64 (3,), for R, G and B. ``is_bgr``: whether the first kernel of the published weights
    takes the channels in the order B, G, R.
    """

    scale: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    is_bgr: bool = False


_ONE = np.ones(3)
_CAFFE = Preprocessing(255 * _ONE, -_CAFFE_MEAN, is_bgr=True)
_SYMMETRIC = Preprocessing(2 * _ONE, -_ONE)
_STANDARDIZED = Preprocessing(1 / _DEVIATION, -_MEAN / _DEVIATION)
_SYMMETRIC_128 = Preprocessing(255 / 128 * _ONE, -_ONE)
_NOTHING = Preprocessing(_ONE, 0 * _ONE)

# The preprocessing of a network by the module of tf_keras.src.applications that it comes from.
_PREPROCESSING = {
    "convnext": _STANDARDIZED, "densenet": _STANDARDIZED, "efficientnet": _STANDARDIZED,
    "efficientnet_v2": _STANDARDIZED, "inception_resnet_v2": _SYMMETRIC, "inception_v3": _SYMMETRIC,
    "mobilenet": _SYMMETRIC, "mobilenet_v2": _SYMMETRIC, "mobilenet_v3": _SYMMETRIC, "nasnet": _SYMMETRIC,
    "regnet": _NOTHING, "resnet": _CAFFE, "resnet_rs": _STANDARDIZED, "resnet_v2": _SYMMETRIC, "vgg16": _CAFFE,
    "vgg19": _CAFFE, "xception": _SYMMETRIC,
}  # fmt: skip
_UNLIKE_THEIR_MODULE = dict.fromkeys(("EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L"), _SYMMETRIC_128)
_MIN_SIZES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
_DEFAULT_SIZES = {
    "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300, "EfficientNetB4": 380, "EfficientNetB5": 456,
    "EfficientNetB6": 528, "EfficientNetB7": 600, "EfficientNetV2B1": 240, "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300, "EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480,
    "InceptionResNetV2": 299, "InceptionV3": 299, "NASNetLarge": 331, "Xception": 299,
}  # fmt: skip


class KerasStructure(Record):
    """This record rebuilds the graph without its weights."""

    kind: Literal["keras_applications"] = "keras_applications"
    network: str
    input_size: Annotated[int, Field(strict=True, ge=1, le=MAX_INPUT_SIZE)]


def _open(handle: str, input_size: int | None, weights: str | None, seed: int) -> Backbone:
    """Load a network of tf_keras.applications by its name in any case, without its top and with global average pooling.

    The ``layer`` and ``graph`` of the backbone compute float32 (N, feature_dim) from float32 RGB (N, S, S, 3) in [0, 1].

    Args:
        handle: ``keras:`` and the name of the network.
        input_size: The side S of the photos in pixels. None takes the network's own.
        weights: None or ``imagenet`` for the weights that Keras publishes, ``none`` for random weights, or the path of an
            HDF5 file of the network without its top.
        seed: The seed of random weights.

    Raises:
        InputError: The name is unknown, the size is below the network's smallest, or the file does not fit.
        EnvironmentFault: The weights would have to be downloaded, and can't be.
    """
    network = _known_name(handle.removeprefix(KERAS))
    size = default_size(network) if input_size is None else input_size
    if size < min_size(network):
        raise InputError(f"--image-size {size}: {network} takes {min_size(network)} pixels a side or more")
    structure = KerasStructure(network=network, input_size=size)
    source, published = weights or IMAGENET, weights in (None, IMAGENET)
    if source == NO_WEIGHTS:
        graph = _flat(_construct(structure), preprocessing(network))
        initialise(graph, seed)
    else:
        trained = _published(structure) if published else _from_file(structure, expanded(source, f"--weights {source}"))
        graph = _flat(trained, preprocessing(network))
        _transfer(trained, graph, preprocessing(network), published)
        if not all(np.isfinite(values).all() for values in graph.get_weights()):
            raise InputError(f"--weights {source}: holds weights that are not finite. Use another file.")
    return of_graph(f"{KERAS}{network}", graph, structure.as_json(), is_pretrained=source != NO_WEIGHTS)


def _rebuild(structure: dict[str, Any]) -> Any:
    """Build the flat tf_keras.Model that ``structure`` describes. Its weights have no meaning yet.
    Raises ArtifactError for unknown, missing or impossible values.
    """
    described = parsed(KerasStructure, structure)
    if described.network not in constructors():
        raise structure_fault(f"unknown network {described.network!r}")
    if described.input_size < min_size(described.network):
        raise structure_fault(f"{described.network} of input_size {described.input_size}")
    return _flat(_construct(described), preprocessing(described.network))


def constructors() -> dict[str, Callable[..., Any]]:
    """Return the constructor of every network of the installed tf_keras.applications, by the network's name."""
    tensorflow()
    from tf_keras import applications

    return {name: value for name, value in vars(applications).items() if inspect.isfunction(value)}


def preprocessing(network: str) -> Preprocessing:
    """Return the preprocessing of a network by its name."""
    module = constructors()[network].__module__.rpartition(".")[2]
    return _UNLIKE_THEIR_MODULE.get(network) or _PREPROCESSING[module]


def default_size(network: str) -> int:
    """Return the side of the photos, in pixels, for which a network was designed."""
    return _DEFAULT_SIZES.get(network, 224)


def min_size(network: str) -> int:
    """Return the smallest side of the photos, in pixels, that a network takes."""
    return _MIN_SIZES.get(network, 32)


def _known_name(name: str) -> str:
    names = {known.lower(): known for known in constructors()}
    if name.lower() not in names:
        raise unknown("network of tf_keras.applications", name, names.values())
    return names[name.lower()]


def _construct(structure: KerasStructure, weights: str | None = None) -> Any:
    """Make a network by Keras' constructor, without the preprocessing that some networks have inside."""
    import tf_keras

    constructor, size = constructors()[structure.network], structure.input_size
    # Keras numbers layers without a given name over the whole process. After a reset, a rebuilt graph has the same names.
    tf_keras.backend.reset_uids()
    inside = "include_preprocessing" in inspect.signature(constructor).parameters
    try:
        return constructor(
            include_top=False, pooling="avg", weights=weights, input_shape=(size, size, 3),
            **({"include_preprocessing": False} if inside else {}),
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{structure.network} can't be made for --image-size {size}: {error}") from error


def _published(structure: KerasStructure) -> Any:
    """Make a network with the ImageNet weights that Keras publishes, from Keras' cache or a download."""
    what = f"the ImageNet weights of {structure.network}"
    if not _is_cached(structure.network):
        require_reachable(_HOST, what, _REMEDY)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Keras draws a progress bar where our results go
            return _construct(structure, IMAGENET)
    except InputError:
        raise
    except Exception as error:  # a download that fails is a plain Exception in Keras
        raise EnvironmentFault(f"{what} could not be loaded: {error}. {_REMEDY}") from error


def _is_cached(network: str) -> bool:
    """Tell whether Keras' cache holds a file for the network. Keras itself then checks which file it is, and its hash.

    The names of the files follow one rule only: the name of the network, in some spelling, stands before "no top".
    """
    name = re.compile(rf"(?<![a-z]){network.lower()}(?!v\d).*notop")
    base = os.path.expanduser("~/.keras")  # noqa: PTH111 - without a home folder it stays as it is, as in Keras
    files = Path(base if os.access(base, os.W_OK) else "/tmp/.keras", "models").glob("*.h5")  # noqa: S108 - Keras' choice
    return any(name.search(re.sub(r"^weights|[^a-z0-9]", "", path.name.lower())) for path in files)


def _from_file(structure: KerasStructure, path: Path) -> Any:
    """Make a network with the weights of an HDF5 file. Only arrays are read from the file, and nothing in it is run."""
    if path.suffix != ".h5":
        raise InputError(f"--weights {path}: use imagenet, none, or an HDF5 file whose name ends in .h5")
    if not path.is_file():
        raise InputError(f"--weights {path}: no such file")
    bare = _construct(structure)
    try:
        bare.load_weights(str(path))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError, IndexError) as error:
        raise InputError(
            f"--weights {path}: not the weights of {structure.network} without its top, which Keras names "
            f"..._notop.h5 ({str(error).splitlines()[0]})"
        ) from error
    return bare


def _flat(network: Any, before: Preprocessing) -> Any:
    return flattened(network, before.scale.tolist(), before.offset.tolist())


def _transfer(network: Any, graph: Any, before: Preprocessing, published: bool) -> None:
    """Copy the weights of a network to the flat graph that was made from it, in place.

    The first kernel is turned from BGR to RGB where ``before`` says so. ``published``: whether Keras loaded the weights by
    ``imagenet``.
    """
    kernels_to_turn = 1 if before.is_bgr else 0
    single = (one for layer in network.layers for one in getattr(layer, "layers", [layer]))
    for layer in (one for one in single if one.weights):
        if type(layer).__name__ == "Normalization":
            graph.get_layer(RESCALE).set_weights(_normalization(layer, published))
            continue
        target = graph.get_layer(layer.name)
        values = [np.reshape(old, new.shape) for old, new in zip(layer.get_weights(), target.weights, strict=True)]
        if kernels_to_turn:
            values[0], kernels_to_turn = values[0][:, :, ::-1], 0
        target.set_weights(values)


def _normalization(layer: Any, published: bool) -> list[npt.NDArray[np.float64]]:
    """Return the statistics of EfficientNet's Normalization layer as the kernel and the bias of ``rescale``."""
    mean, variance = (np.asarray(values, np.float64).reshape(3) for values in layer.get_weights()[:2])
    # The published files hold the deviation in place of the variance. Keras divides by the root of the deviation once more,
    # but only for weights="imagenet". So the same file, given by its path, would compute something else.
    if published or np.allclose(variance, _DEVIATION):
        variance = variance * _DEVIATION
    return [(1 / np.sqrt(variance)).reshape(1, 1, 3, 1), -mean / np.sqrt(variance)]


SOURCE = BackboneSource(
    name=KIND,
    names=(),
    forms=(f"{KERAS}NAME as in {KERAS}VGG16",),
    claims=lambda handle: "name" if handle.startswith(KERAS) else None,
    open=_open,
    is_pretrained=lambda weights: weights != NO_WEIGHTS,
    takes_weights=True,
    rebuild={KIND: _rebuild},
)
