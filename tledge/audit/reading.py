"""This module reads an artifact as its suffix says. The bytes may be hostile, so only the readers here see them."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tledge.errors import ArtifactError
from tledge.records import Audit

_MAX_FILE_BYTES = 2**31  # Neither a flatbuffer nor a protobuf can be larger.
_Found = TypeVar("_Found")


def audit(path: Path) -> Audit:
    """Audit an artifact. Raises ArtifactError where the file can't be parsed, or contradicts itself."""
    from tledge.audit.onnx import audit_onnx
    from tledge.audit.tflite import audit_tflite

    return read_with(path, {".tflite": audit_tflite, ".onnx": audit_onnx})


def read_with(path: Path, readers: Mapping[str, Callable[[bytes], _Found]]) -> _Found:
    """Give a file's bytes to the reader for its suffix. Whatever is wrong with the file raises ArtifactError."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
            raise ArtifactError("not a file of at most 2 GiB. Run tledge export again.")
        return readers[path.suffix](path.read_bytes())
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except Exception as error:  # the generated readers raise struct.error, IndexError, TypeError on damaged bytes
        raise ArtifactError(
            f"{path}: not a readable {path.suffix[1:]} model ({type(error).__name__}: {error})"
        ) from error
