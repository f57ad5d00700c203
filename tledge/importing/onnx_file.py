"""This module reads an ONNX file as one model: it checks its size, its versions and its weights, also those beside it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from tledge.audit.onnx_graph import checked_graphs, is_standard, parse_onnx, tensors
from tledge.errors import ArtifactError
from tledge.importing.foreign import Refused
from tledge.printable import one_line

_MAX_FILE_BYTES = 2**31 - 1  # a protobuf can't be larger
OLDEST_OPSET = 8
_MOST_PARTS = 64  # of the path of a file of weights


def read(path: Path) -> Any:
    """Read a ModelProto that holds all of its weights. Raises Refused with the reason and a way out."""
    data = _bytes_of(path)
    try:
        model = parse_onnx(data)
        _check_texts(model)
        _take_in_weights(model, path)
        checked_graphs(model)
    except ArtifactError as error:
        raise Refused(f"the file can't be read: {one_line(str(error))}. Export it again, and copy it whole.") from error
    except Refused:
        raise
    except Exception as error:  # damaged fields raise ValueError, TypeError, KeyError of the libraries that read them
        raise Refused(
            f"the file is damaged ({type(error).__name__}: {one_line(str(error))}). Export it again."
        ) from error
    _check_versions(model)
    _check_numbers(model)
    return model


def _check_texts(model: Any) -> None:
    """Refuse names that are no text. The library that reads protobufs gives them as bytes."""
    waiting, texts = [model.graph], [entry.domain for entry in model.opset_import]
    texts += [text for entry in model.metadata_props for text in (entry.key, entry.value)]
    while waiting:
        graph = waiting.pop()
        texts += [one.name for one in (*graph.input, *graph.output, *tensors(graph))]
        texts += [text for one in tensors(graph) for entry in one.external_data for text in (entry.key, entry.value)]
        for node in graph.node:
            texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
            for attribute in node.attribute:
                texts.append(attribute.name)
                waiting += ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)
    if not all(isinstance(text, str) for text in texts):
        raise Refused("the file is damaged: a name in it is no text of UTF-8. Export it again.")


def _bytes_of(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Refused("it is no file. Name the ONNX file itself.")
        if status.st_size > _MAX_FILE_BYTES:
            raise Refused("it has over 2 GiB, which an ONNX file can't have")
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"the file can't be read: {error.strerror}") from error


def _take_in_weights(model: Any, path: Path) -> None:
    """Put the weights that are kept in files beside the model into it."""
    import onnx

    room = _MAX_FILE_BYTES - path.stat().st_size
    for tensor in _all_tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = _beside(path.parent, entries.get("location", ""))
        try:
            offset, length = int(entries.get("offset", 0)), entries.get("length")
            size = file.stat().st_size
            count = size - offset if length is None else int(length)
        except ValueError as error:
            raise Refused("it says of weights outside of it no place that is a number. Export it again.") from error
        if offset < 0 or count < 0 or offset + count > size:
            raise Refused(
                f"weights are to lie at byte {offset:,} of {one_line(file.name)!r}, which has {size:,} bytes. "
                "Copy the files of the model whole."
            )
        room -= count
        if room < 0:
            raise Refused("it and its weights have over 2 GiB, and tledge takes models up to 2 GiB")
        with file.open("rb") as opened:
            opened.seek(offset)
            tensor.raw_data = opened.read(count)
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT


def _all_tensors(graph: Any) -> Iterator[Any]:
    waiting = [graph]
    while waiting:
        one = waiting.pop()
        yield from tensors(one)
        for node in one.node:
            for attribute in node.attribute:
                waiting += ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)


def _beside(folder: Path, location: str) -> Path:
    """Return the file of weights that a model names. It is below the model's folder, and no link leads to it."""
    told = one_line(location)
    parts = PurePosixPath(location.replace("\\", "/")).parts
    is_plain = location.strip() and "\0" not in location and not location.startswith("/") and ".." not in parts
    if not is_plain or len(parts) > _MOST_PARTS or ":" in parts[0]:
        raise Refused(
            f"its weights are kept in {told!r}, and tledge reads weights only from the folder of the model. "
            "Save it with onnx.save, which puts them into one file."
        )
    found = folder
    for part in parts:
        found = found / part
        if found.is_symlink():
            raise Refused(f"its weights are kept in {told!r}, which is a link. Copy the file itself beside the model.")
    if not found.is_file():
        raise Refused(f"its weights are kept in {told!r}, which is not beside the model. Copy the file there.")
    return found


def _check_versions(model: Any) -> None:
    import onnx

    newest = onnx.defs.onnx_opset_version()
    versions = [entry.version for entry in model.opset_import if is_standard(entry)]
    way_out = "Export it again with opset_version=17."
    if not versions:
        raise Refused(f"it does not say which version of ONNX's operators it has. {way_out}")
    if versions[0] < OLDEST_OPSET:
        raise Refused(f"it is of opset {versions[0]}, and tledge reads opset {OLDEST_OPSET} to {newest}. {way_out}")
    if versions[0] > newest:
        raise Refused(f"it is of opset {versions[0]}, which onnx {onnx.__version__} does not know. {way_out}")


def _check_numbers(model: Any) -> None:
    import numpy as np
    from onnx import numpy_helper

    floats = {onnx_type for name, onnx_type in _types().items() if name in ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")}
    for tensor in _all_tensors(model.graph):
        if tensor.data_type in floats and np.isnan(numpy_helper.to_array(tensor).astype(np.float32)).any():
            raise Refused(
                f"its weights {one_line(tensor.name)!r} have values that are no numbers (NaN). Its training diverged."
            )


def _types() -> dict[str, int]:
    import onnx

    return dict(onnx.TensorProto.DataType.items())
