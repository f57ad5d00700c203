"""This module says of files that are no models tledge can take what they are, and which way in works."""

from __future__ import annotations

from pathlib import Path

from tledge.importing.keras_models.allowed import EXPORT_ONNX

_EXPORT_TORCH = (
    'Export the model to ONNX where its code is: torch.onnx.export(model.eval(), torch.zeros(1, 3, 224, 224), "model.onnx", '
    "dynamo=False), with the size of its photos, and import that file"
)
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".bin", ".mar")
_PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_TORCH_MEMBERS = (b"/data.pkl", b"/code/", b"/constants.pkl", b"/byteorder", b"/.format_version")
_OTHERS = {
    ".ckpt": f"a checkpoint, which holds weights and no model. Save the whole model, or {EXPORT_ONNX}",
    ".index": f"a part of a checkpoint, which holds weights and no model. Save the whole model, or {EXPORT_ONNX}",
    ".mlmodel": "a Core ML model. Import the model that it was made from",
    ".mlpackage": "a Core ML model. Import the model that it was made from",
    ".pb": "a graph of TensorFlow alone. Import the folder of its SavedModel, in which saved_model.pb lies",
    ".safetensors": f"weights without a model. {_EXPORT_TORCH}",
}


def stranger(path: Path) -> str | None:
    """Return a sentence on a file of a kind that tledge never opens, such as a pickle; None for any other file.

    It reads a few bytes at most and opens no archive: a pickle runs its author's code when it is opened.
    """
    suffix = path.suffix.lower()
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(256)
    is_torch = start.startswith(b"PK") and any(member in start for member in _TORCH_MEMBERS)
    if suffix in _PICKLES or start.startswith(_PICKLE_STARTS) or is_torch:
        return (
            f"{path.name} is a pickle, as PyTorch saves models. Opening it would run its author's code. {_EXPORT_TORCH}"
        )
    return f"{path.name} is {_OTHERS[suffix]}" if suffix in _OTHERS else None
