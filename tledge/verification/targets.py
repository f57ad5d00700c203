"""Deployment targets: one TOML file each, with the budgets an artifact must keep there."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field, ValidationError

from tledge.errors import EnvironmentFault, InputError, first_problem, unknown
from tledge.files import MAX_TABLE_BYTES, read_file
from tledge.records import LimitBasis, Limits, Record
from tledge.runtimes import Runtime, runtimes

DEFAULT = "cpu"


class _Table(Record):
    """A table that a person wrote: ``"2"`` is no number, and no limit is infinite."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Budget(Limits, _Table):
    """The limits of a target. ``basis`` says of every limit where it comes from."""


class Basis(LimitBasis, _Table):
    """Where each limit of a budget comes from."""


class Target(_Table):
    """A kind of machine. ``architectures``: where its latency and memory can be judged; empty: on any machine."""

    description: str
    threads: int = Field(ge=1, le=1024)
    runtimes: list[str] = Field(default_factory=list, description="the only runtimes used there; empty: all")
    architectures: list[str]
    cpu_contains: str = Field("", description="text that the CPU's name must hold, beside the architecture")
    int8_saturates: bool = Field(
        default=True,
        exclude=True,  # it is for export, and for a warning of files made for other CPUs; no report judges by it
        description="whether its CPU may add products of uint8 and int8 in 16 bits: x86-64 with AVX2 and without VNNI does",
    )
    budget: Budget
    basis: Basis


def folder() -> Path:
    """Where the targets are: beside the package in a checkout, inside it in a wheel."""
    packaged = Path(__file__).parent.parent / "targets"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent.parent / "targets"


def names() -> list[str]:
    """The targets that ship with tledge."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load(name: str) -> Target:
    """A target by name, or by the path of a TOML file of one's own (it ends in ``.toml``).

    Raises InputError for an unknown name, a file that is no TOML, an unknown key (with the nearest match)
    or a value out of range.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"target file {name}: no such file")
    elif name not in names():
        raise unknown("target", name, names(), "Or give the path of a .toml file.")
    else:
        path = folder() / f"{name}.toml"
    try:
        table = tomllib.loads(read_file(path, MAX_TABLE_BYTES).decode())
    except OSError as error:
        raise InputError(f"target {path}: can't be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"target {path}: not TOML: {error}") from error
    try:
        target = Target.model_validate(table)
    except ValidationError as error:
        raise _explain(path, error) from error
    for runtime in target.runtimes:
        if runtime not in runtimes():
            raise unknown(f"runtime in target {path}", runtime, runtimes())
    return target


def usable_runtimes(target: Target, name: str) -> tuple[list[Runtime], list[str]]:
    """List the runtimes that a verification for a target uses, the preferred ones first, and warn of those it leaves out.

    Raises EnvironmentFault where one that the target names is not installed. Of a target that names none, those that are
    installed are used.
    """
    known = runtimes().values()
    lacking = {runtime.name: missing for runtime in known if (missing := runtime.missing_libraries())}
    wanted = [runtime for runtime in known if not target.runtimes or runtime.name in target.runtimes]
    told = [
        f"runtime {one.name} is left out: install {' and '.join(lacking[one.name])}"
        for one in wanted
        if one.name in lacking
    ]
    if told and target.runtimes:
        raise EnvironmentFault(f"target {name!r} names it, but {told[0]}")
    return [runtime for runtime in wanted if runtime.name not in lacking], told


def override(target: Target, limits: Mapping[str, float | None]) -> tuple[Target, dict[str, float]]:
    """The target with some limits of its budget replaced (None keeps one), and those that were.

    Raises InputError for a limit out of range.
    """
    given = {name: value for name, value in limits.items() if value is not None}
    try:
        budget = Budget.model_validate({**target.budget.as_json(), **given})
    except ValidationError as error:
        place, said, value = first_problem(error)
        raise InputError(f"{place} {value}: {said}") from error
    basis = Basis.model_validate({**target.basis.as_json(), **dict.fromkeys(given, "requirement")})
    return target.model_copy(update={"budget": budget, "basis": basis}), given


def _explain(path: Path, error: ValidationError) -> InputError:
    # A misspelt key is also a missing one: the spelling is what helps.
    misspelt = [problem["loc"] for problem in error.errors() if problem["type"] == "extra_forbidden"]
    if misspelt:
        *parents, key = map(str, misspelt[0])
        tables: dict[str, type[Record]] = {"budget": Budget, "basis": Basis}
        table = tables.get(parents[0], Target) if parents else Target
        return unknown(f"key in target {path}", key, table.model_fields)
    return InputError(f"target {path}: {first_problem(error)}")
