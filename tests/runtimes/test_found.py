"""Runtimes are found by their files, and those of other distributions by their entry points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tledge.errors import EnvironmentFault
from tledge.runtimes import ENTRY_POINTS, found, runtime, runtimes, runtimes_for
from tledge.verification import targets


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path in which a distribution can be put."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("another_runtime", "broken_runtime"):  # of the test before
        monkeypatch.delitem(sys.modules, name, raising=False)
    found._added.cache_clear()
    yield tmp_path
    found._added.cache_clear()


def _install(folder: Path, name: str, body: str) -> None:
    """Install a distribution whose module of that name declares a runtime."""
    (folder / f"{name}.py").write_text(body)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{name} = {name}:RUNTIME\n")


ANOTHER = """
from tledge.runtimes import Runtime
def load(model, num_threads, kernels):
    raise NotImplementedError
RUNTIME = Runtime(name={name!r}, suffixes=(".tflite",), kernels=("only",), load=load, libraries=({library!r},))
"""


def test_an_installed_distribution_adds_a_runtime_behind_the_own_ones(installed: Path) -> None:
    _install(installed, "another_runtime", ANOTHER.format(name="another", library="another_runtime"))
    assert runtime("another").missing_libraries() == []
    names = [one.name for one in runtimes_for(Path("model.tflite"))]
    assert names.index("litert") < names.index("another")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("import no_such_module", "can't be loaded: No module named 'no_such_module'"),
        ("raise SystemExit('no')", "can't be loaded: no"),
        ("RUNTIME = 1", "is no tledge.runtimes.Runtime"),
        (ANOTHER.format(name="litert", library="numpy"), "two runtimes are named 'litert'"),
    ],
)
def test_a_distribution_that_adds_no_usable_runtime_is_named(installed: Path, body: str, why: str) -> None:
    _install(installed, "broken_runtime", body)
    with pytest.raises(EnvironmentFault, match=why):
        runtimes()


def test_a_runtime_without_its_library_is_left_out_and_told(installed: Path) -> None:
    _install(installed, "another_runtime", ANOTHER.format(name="another", library="no-such-library"))
    usable, told = targets.usable_runtimes(targets.load("cpu"), "cpu")
    names = {one.name for one in usable}
    assert {"litert", "onnxruntime"} <= names
    assert "another" not in names
    assert "runtime another is left out: install no-such-library" in told


def test_a_target_that_names_a_runtime_without_its_library_is_refused(installed: Path) -> None:
    _install(installed, "another_runtime", ANOTHER.format(name="another", library="no-such-library"))
    named = targets.load("cpu").model_copy(update={"runtimes": ["another"]})
    with pytest.raises(
        EnvironmentFault, match="target 'mine' names it, but runtime another is left out: install no-such"
    ):
        targets.usable_runtimes(named, "mine")


def test_a_target_restricts_the_runtimes_and_keeps_their_order() -> None:
    named = targets.load("cpu").model_copy(update={"runtimes": ["onnxruntime"]})
    assert [one.name for one in targets.usable_runtimes(named, "mine")[0]] == ["onnxruntime"]
