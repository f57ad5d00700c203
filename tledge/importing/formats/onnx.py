"""ONNX files: ONNX Runtime computes their answers, and operators that classifiers are made of are described as layers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tledge.audit.class_names import class_names_in
from tledge.backbones.described import DescribedNetwork
from tledge.backbones.source import MAX_INPUT_SIZE
from tledge.confinement import MEMORY_LIMIT_BYTES
from tledge.importing.foreign import Ending, Floats, LayersUnknown, ModelFormat, Refused, Taken
from tledge.importing.onnx_ending import cut_ending
from tledge.importing.onnx_file import read
from tledge.importing.onnx_network import described
from tledge.printable import few, one_line
from tledge.runtimes.onnx_session import session

_USUAL_SIZE = 224  # the side at which a model of open input size is tried
_MOST_OUTPUTS = 100_000
_NO_MEMORY = ("Failed to allocate memory", "bad allocation", "bad_alloc")  # ONNX Runtime's words, and C++'s


@dataclass(frozen=True)
class _Input:
    """What a file says of its image input. ``photos`` and ``size`` are None where it leaves them open."""

    name: str
    data_type: str
    photos: int | None
    channels: int
    size: int | None
    is_channels_first: bool


class OnnxModel:
    """An ``OnnxModel`` is an ONNX file of one photo input and one output of class scores."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._model = read(path)
        self._input = _image_input(self._model)
        _check_output(self._model)
        self._photos = self._input.photos
        self._framework = f"onnxruntime {onnxruntime.__version__}"
        # onnxruntime takes a model from its bytes: nothing beside the file is looked for.
        whole = self._model.SerializeToString()
        self._ending: Ending = cut_ending(self._model)
        scores = None
        if self._ending != "logits":
            # This session ends before the other begins: each holds the weights more than once.
            scores = self._run(_opened(whole, "not optimized"), self._noise(), self._photos or 1)
            whole = self._model.SerializeToString()
        self._session = _opened(whole)
        del whole
        self._taken = self._tried(scores)

    def taken(self) -> Taken:
        """Say what the model takes and gives."""
        return self._taken

    def answers(self, images: Floats) -> Floats:
        """Compute logits by ONNX Runtime on the CPU."""
        logits = self._run(self._session, images)
        return logits if logits.shape[1] > 1 else np.concatenate([np.zeros_like(logits), logits], axis=1)

    def network(self, input_size: int) -> DescribedNetwork:
        """Describe the operators as layers. Raises LayersUnknown."""
        given = self._input
        if given.size not in (None, input_size):
            raise LayersUnknown(f"the file is made for {given.size} pixels, not for {input_size}")
        if given.data_type == "FLOAT16":
            raise LayersUnknown("it computes in float16, and tledge describes float32. Export it in float32")
        return described(self._model, input_size, given.channels, given.is_channels_first, given.photos or 1)

    def _noise(self) -> Floats:
        size = self._input.size or _USUAL_SIZE
        noise = np.random.default_rng(0).random((2, size, size, self._input.channels), np.float32)
        return np.rint(noise * 255) if self._input.data_type == "UINT8" else noise

    def saved_model(self, folder: Path) -> Path | None:
        """Return None: nothing here makes a SavedModel of operators that are not known."""
        return None

    def _tried(self, scores: Floats | None) -> Taken:
        """Let the model answer noise, and say what it takes and gives. ``scores`` are its answers behind its last operator."""
        given, noise = self._input, self._noise()
        notes = []
        if given.photos is None:
            try:
                logits = self._run(self._session, noise)
            except Refused:  # a shape for one photo may be written into the graph
                self._photos = 1
                logits = self._run(self._session, noise)
                notes.append("the file says that it takes several photos at once, but it takes one")
        else:
            logits = self._run(self._session, noise)
        if not np.isfinite(logits).all():
            raise Refused(
                "its answers to noise are no finite numbers (NaN or infinite). Its training may have diverged."
            )
        count = logits.shape[1]
        if scores is not None:
            self._check_ending(scores, logits)
        if count == 1 and self._ending == "softmax":
            raise Refused("its softmax is over one class, so it always answers 1. Export it before the softmax.")
        if count == 1:
            ending = "with a sigmoid" if self._ending == "sigmoid" else "without a sigmoid"
            notes.append(
                f"its one output unit {ending} is the logit of the second of two classes; the first has logit 0"
            )
        elif self._ending == "sigmoid":
            notes.append("its classes have a sigmoid each; tledge takes the class with the largest")
        if given.data_type == "UINT8":
            notes.append("its input is uint8: it takes the pixels as they are, 0 to 255")
        if given.data_type == "FLOAT16":
            notes.append("its input is float16: it computes with about 3 decimal digits")
        if given.photos is not None and given.photos > 1:
            notes.append(f"the file takes {given.photos} photos at once, and missing ones are filled with zeros")
        classes = max(count, 2)
        return Taken(
            input_size=given.size,
            channels=given.channels,
            num_outputs=classes,
            ending=self._ending,
            labels=next((tuple(names) for names in class_names_in(self._model) if _are_of(names, classes)), ()),
            framework=self._framework,
            notes=tuple(notes),
        )

    def _check_ending(self, scores: Floats, logits: Floats) -> None:
        from scipy.special import expit, softmax

        if self._ending == "sigmoid":
            expected = [expit(logits)]
        else:
            expected = [softmax(logits, axis=1), np.log(softmax(logits.astype(np.float64), axis=1) + 1e-38)]
        if not any(scores.shape == one.shape and np.allclose(scores, one, atol=2e-3, rtol=1e-3) for one in expected):
            raise Refused(
                f"its last {self._ending} is not over the classes. Export it so that it ends in one score a class."
            )

    def _run(self, opened: Any, images: Floats, photos: int | None = None) -> Floats:
        """Return one row of scores a photo, float32 (N, C). ``photos`` is how many are given at once."""
        step = photos or self._photos or max(len(images), 1)
        rows = [self._rows(opened, images[first : first + step], step) for first in range(0, len(images), step)]
        return np.concatenate(rows)

    def _rows(self, opened: Any, images: Floats, step: int) -> Floats:
        given = self._input
        count = len(images)
        if count < step:
            images = np.concatenate([images, np.zeros((step - count, *images.shape[1:]), np.float32)])
        fed: Any = images.transpose(0, 3, 1, 2) if given.is_channels_first else images
        if given.data_type == "UINT8":
            fed = np.clip(np.rint(fed), 0, 255).astype(np.uint8)
        else:
            fed = np.ascontiguousarray(fed, np.float16 if given.data_type == "FLOAT16" else np.float32)
        try:
            (scores,) = opened.run(None, {given.name: fed})
        except Exception as error:  # onnxruntime's errors have no common class
            if any(words in str(error) for words in _NO_MEMORY):
                raise Refused(
                    f"its answers at {images.shape[1]} pixels take more memory than there is, or than the "
                    f"{MEMORY_LIMIT_BYTES / 2**30:.0f} GiB that a model from elsewhere may take. Export a smaller one."
                ) from error
            raise Refused(
                f"ONNX Runtime can't compute its answers at {images.shape[1]} pixels: {one_line(str(error))[:300]} "
                "Where the file leaves its input's size open, set it by onnx.tools.update_model_dims."
            ) from error
        shape = list(np.shape(scores))
        if not shape or shape[0] != step or sum(1 for size in shape[1:] if size > 1) > 1 or not np.size(scores):
            raise Refused(
                f"its output has the shape {shape}, and a classifier gives one row of class scores for each of {step} photos"
            )
        rows = np.asarray(scores, np.float32).reshape(step, -1)
        if rows.shape[1] > _MOST_OUTPUTS:
            raise Refused(
                f"it gives {rows.shape[1]:,} numbers a photo, and tledge takes up to {_MOST_OUTPUTS:,} classes"
            )
        return rows[:count]


def _opened(model: bytes, kernels: str = "optimized") -> Any:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        return session(model, cores, kernels)
    except Exception as error:  # onnxruntime's errors have no common class
        raise Refused(
            f"ONNX Runtime can't load it: {one_line(str(error))[:300]} Export it again with opset_version=17."
        ) from error


def _are_of(names: list[str], count: int) -> bool:
    """Tell whether names can be those of ``count`` classes."""
    return len(names) == count == len(set(names)) and all(names)


def _image_input(model: Any) -> _Input:
    """Find the one input, a photo. Raises Refused where there is another."""
    import onnx

    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in held]
    if len(inputs) != 1:
        names = few([repr(one_line(value.name)) for value in inputs], ", ") or "none"
        raise Refused(
            f"it has {len(inputs)} inputs ({names}), and tledge takes networks of one photo. Export it with that one."
        )
    (value,) = inputs
    kind = value.type.tensor_type
    data_type = onnx.TensorProto.DataType.Name(kind.elem_type)
    dims = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim]
    told = f"its input {one_line(value.name)!r} is {data_type.lower()} of {_shown(dims)}"
    if data_type not in ("FLOAT", "FLOAT16", "UINT8") or len(dims) != 4:
        raise Refused(
            f"{told}, and tledge takes photos: float32 of [N, 3, S, S] or [N, S, S, 3]. A text or tabular model can't be taken."
        )
    is_channels_first = dims[1] in (1, 3) and not (dims[3] in (1, 3) and dims[1] == dims[2])
    if not is_channels_first and dims[3] not in (1, 3):
        raise Refused(
            f"{told}, and tledge takes photos of 3 channels or 1. "
            "Where the file leaves the channels open, set them by onnx.tools.update_model_dims."
        )
    channels, *sides = (dims[1], dims[2], dims[3]) if is_channels_first else (dims[3], dims[1], dims[2])
    if None in sides and sides != [None, None]:
        sides = [one for one in sides if one is not None] * 2
    if sides[0] != sides[1]:
        raise Refused(f"{told}, and tledge takes square photos. Export it with an input as high as it is wide.")
    if sides[0] is not None and sides[0] > MAX_INPUT_SIZE:
        raise Refused(f"{told}, and tledge takes photos of up to {MAX_INPUT_SIZE} pixels a side. Export it smaller.")
    assert channels is not None
    return _Input(value.name, data_type, dims[0], channels, sides[0], is_channels_first)


def _shown(dims: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in dims) + "]"


def _check_output(model: Any) -> None:
    import onnx

    outputs = model.graph.output
    names = few([repr(one_line(value.name)) for value in outputs], ", ")
    if not outputs:
        raise Refused("it has no output. Export it with the class scores as its output.")
    if len(outputs) > 1:
        raise Refused(
            f"it has {len(outputs)} outputs ({names}), as detectors have, and a classifier has one: a score for each class. "
            "Keep that one by onnx.utils.extract_model."
        )
    kind = outputs[0].type.tensor_type.elem_type
    if kind not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.UNDEFINED):
        raise Refused(
            f"its output {names} is {onnx.TensorProto.DataType.Name(kind).lower()}, and tledge needs a score for each class "
            "as float32. Export it before the operator that chooses a class."
        )


def _claims(path: Path) -> bool:
    return path.suffix.lower() == ".onnx"


FORMAT = ModelFormat("onnx", "an ONNX file (.onnx)", _claims, OnnxModel)
