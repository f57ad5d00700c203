"""Every target that ships, and what is said of a wrong file of one's own."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tledge.errors import InputError
from tledge.runtimes import runtimes
from tledge.verification import targets

CPU = (targets.folder() / "cpu.toml").read_text(encoding="utf-8")


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., targets.Target]:
    """Load the cpu target with some of its text replaced."""

    def load(old: str = "", new: str = "") -> targets.Target:
        assert old in CPU
        path = tmp_path / "own.toml"
        path.write_text(CPU.replace(old, new, 1) if old else new or CPU, encoding="utf-8")
        return targets.load(str(path))

    return load


@pytest.fixture
def refused(loaded: Callable[..., targets.Target]) -> Callable[..., str]:
    """What is said of the cpu target with some of its text replaced."""

    def load(old: str, new: str) -> str:
        with pytest.raises(InputError) as caught:
            loaded(old, new)
        assert caught.value.exit_code == 2
        assert "own.toml" in str(caught.value)
        return str(caught.value)

    return load


@pytest.mark.parametrize("name", targets.names())
def test_a_target_that_ships_is_whole(name: str) -> None:
    target = targets.load(name)
    assert set(target.runtimes) <= set(runtimes())
    text = (targets.folder() / f"{name}.toml").read_text(encoding="utf-8")
    assert set(tomllib.loads(text)["basis"]) == set(targets.Budget.model_fields)
    if "guess" in target.basis.as_json().values():
        assert "guess" in text


def test_the_four_targets_of_the_readme_ship() -> None:
    assert set(targets.names()) >= {"cpu", "cpu-single-core", "raspberry-pi-4", "raspberry-pi-5"}
    assert targets.load("cpu-single-core").threads == 1


def test_a_file_of_ones_own_is_read(loaded: Callable[..., targets.Target]) -> None:
    assert loaded("max_size_mb = 100.0", "max_size_mb = 0.5").budget.max_size_mb == 0.5
    assert loaded("max_size_mb = 100.0", "max_size_mb = 3").budget.max_size_mb == 3


@pytest.mark.parametrize(
    ("old", "new", "nearest"),
    [
        ("threads = 2", "thread = 2", "threads"),
        ("threads = 2", "threads = 2\nrun_times = []", "runtimes"),
        ("int8_saturates = true", "int8_saturate = true", "int8_saturates"),
        ("max_size_mb = 100.0", "max_size_mb = 100.0\nmax_sise_mb = 1.0", "max_size_mb"),
        ('max_size_mb = "guess"', 'max_size_mb = "guess"\nmax_memory = "guess"', "max_memory_mb"),
    ],
)
def test_an_unknown_key_offers_the_nearest(refused: Callable[..., str], old: str, new: str, nearest: str) -> None:
    assert f"Did you mean '{nearest}'?" in refused(old, new)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("threads = 2", 'threads = "two"', "threads"),
        ("threads = 2", 'threads = "2"', "threads"),
        ("threads = 2", "threads = true", "threads"),
        ("threads = 2", "threads = 2.5", "threads"),
        ("threads = 2", "threads = 0", "threads"),
        ("max_size_mb = 100.0", "max_size_mb = -1.0", "budget.max_size_mb"),
        ("max_size_mb = 100.0", 'max_size_mb = "20"', "budget.max_size_mb"),
        ("max_size_mb = 100.0", "max_size_mb = inf", "budget.max_size_mb"),
        ("max_size_mb = 100.0", "max_size_mb = nan", "budget.max_size_mb"),
        ("max_size_mb = 100.0", "", "budget.max_size_mb"),
        ('max_size_mb = "guess"', 'max_size_mb = "hope"', "basis.max_size_mb"),
        ("architectures = []", 'architectures = "x86_64"', "architectures"),
        ("int8_saturates = true", 'int8_saturates = "no"', "int8_saturates"),
        ("", "", "description"),
        ("", "budget = 3", "description"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(refused: Callable[..., str], old: str, new: str, key: str) -> None:
    if not old and not new:
        new = "# nothing"
    assert f"{key}: " in refused(old, new)


def test_products_may_be_added_in_16_bits_unless_the_file_says_otherwise(loaded: Callable[..., targets.Target]) -> None:
    assert {name for name in targets.names() if targets.load(name).int8_saturates} == {"cpu", "cpu-single-core"}
    assert not loaded("int8_saturates = true", "int8_saturates = false").int8_saturates
    without = "\n".join(line for line in CPU.splitlines() if not line.startswith("int8_saturates"))
    assert loaded("", without).int8_saturates


def test_an_unknown_runtime_offers_the_nearest(refused: Callable[..., str]) -> None:
    assert "Did you mean 'litert'?" in refused("threads = 2", 'threads = 2\nruntimes = ["liteRT"]')


def test_what_is_no_toml_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "not TOML" in refused("threads = 2", "threads = = 2")
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not TOML"):
        targets.load(str(tmp_path / "own.toml"))


def test_a_missing_file_and_an_unknown_name_are_errors_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        targets.load(str(tmp_path / "absent.toml"))
    with pytest.raises(InputError, match=r"Did you mean 'raspberry-pi-4'\?.*path of a \.toml file"):
        targets.load("raspberry-pi4")
    with pytest.raises(InputError):
        targets.load("../targets/cpu")


def test_the_command_lists_every_target_and_its_guesses(tledge: Callable[..., Any]) -> None:
    ended = tledge("targets")
    assert ended.code == 0
    for name in targets.names():
        assert name in ended.out
    assert "guess" in ended.out
