"""TensorFlow takes a path for the one folder that it names, whatever the folder is called."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tledge.plain_path
from tledge.errors import EnvironmentFault
from tledge.plain_path import plain_path
from tledge.run import Run, open_run
from tledge.saved_models import load_saved_model, saved_variables
from tledge.training import saved_model

ODD = ("a[1]", "back\\slash", "any*thing?", os.fsdecode(b"not-utf-8-\xff"))


@pytest.fixture(scope="module")
def scaled() -> Any:
    import tensorflow as tf

    class Scaled(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = tf.Variable(2.0)
            self.serve = tf.function(lambda x: x * self.scale, [tf.TensorSpec([None])])
            self.serve_float = self.serve

    return Scaled()


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("has_descriptors", [True, False], ids=["by a descriptor", "by a link"])
def test_a_model_is_saved_and_loaded_in_a_folder_of_any_name(
    scaled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, has_descriptors: bool
) -> None:
    if not has_descriptors:  # as on a system without /proc
        monkeypatch.setattr(tledge.plain_path, "_DESCRIPTORS", tmp_path / "missing")
    (tmp_path / name).mkdir()
    saved_model.save(scaled, tmp_path / name / "model")
    loaded = load_saved_model(tmp_path / name / "model", "the model")
    assert np.array_equal(loaded.serve(np.ones(1, np.float32)), [2.0])
    with saved_variables(tmp_path / name / "model") as stored:
        assert "scale/.ATTRIBUTES/VARIABLE_VALUE" in stored.get_variable_to_shape_map()


def test_a_model_with_assets_is_saved_again_from_a_folder_of_any_name(tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / "classes.txt").write_text("daisy\n")
    holder = tf.Module()
    holder.classes = tf.saved_model.Asset(str(tmp_path / "classes.txt"))
    tf.saved_model.save(holder, str(tmp_path / "plain"))
    odd = tmp_path / ODD[0]
    shutil.copytree(tmp_path / "plain", odd)
    tf.saved_model.save(load_saved_model(odd, "the model"), str(tmp_path / "again"))
    assert (tmp_path / "again" / "assets" / "classes.txt").read_text() == "daisy\n"


def test_a_plain_path_is_given_as_it_is_and_a_folder_without_a_plain_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plain_path(tmp_path) as path:
        assert path == str(tmp_path)
    odd = tmp_path / ODD[0]
    odd.mkdir()
    monkeypatch.setattr(tledge.plain_path, "_DESCRIPTORS", tmp_path / "missing")
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    with pytest.raises(EnvironmentFault, match="or point TMPDIR at such a path"), plain_path(odd):
        pass


def test_a_run_in_a_folder_of_any_name_is_used_as_any_other(
    lenet: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tledge: Callable[..., Any]
) -> None:
    root = tmp_path / "runs [1]\\*"
    shutil.copytree(lenet.folder, root / "lenet")
    monkeypatch.setenv("TLEDGE_CACHE_DIR", str(tmp_path / "cache [2]"))
    made = tledge("export", "--run", "lenet", "--artifacts", root, "--format", "tflite-float32")
    assert made.code == 0, made.err
    checked = tledge("verify", "--run", "lenet", "--artifacts", root, "--accuracy-only")
    assert checked.code == 0, checked.err
    assert open_run(root, "lenet").reports().is_dir()
