"""Files that tledge never opens are named, with the way in that works."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest

from tledge.importing.strangers import stranger


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl", "MODEL.PTH"])
def test_a_pickle_is_named_by_its_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    told = stranger(tmp_path / name)
    assert told is not None
    assert told.startswith(f"{name} is a pickle")
    assert "torch.onnx.export" in told


def test_a_pickle_is_named_by_its_bytes(tmp_path: Path) -> None:
    plain, archive = tmp_path / "model.onnx", tmp_path / "weights"
    plain.write_bytes(pickle.dumps({"weight": 1}))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("model/data.pkl", b"")
    for path in (plain, archive):
        assert "is a pickle" in str(stranger(path))


def test_other_strangers_have_their_own_way_in(tmp_path: Path) -> None:
    assert "holds weights and no model" in str(stranger(tmp_path / "model.ckpt"))
    assert "saved_model.pb lies" in str(stranger(tmp_path / "frozen.pb"))
    assert "weights without a model" in str(stranger(tmp_path / "model.safetensors"))


def test_files_of_models_are_no_strangers(tmp_path: Path) -> None:
    keras = tmp_path / "model.keras"
    with zipfile.ZipFile(keras, "w") as file:
        file.writestr("metadata.json", b"{}")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for path in (keras, tmp_path / "model.h5", tmp_path / "missing.onnx", tmp_path):
        assert stranger(path) is None
