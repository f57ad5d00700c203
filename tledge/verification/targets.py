"""Targets are read from TOML files. Each file holds the budgets that an artifact must keep on that target."""

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
    """A table is checked strictly, because a person wrote it: ``"2"`` is no number, and no limit is infinite."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class Budget(Limits, _Table):
    """A budget holds the limits of a target. The target's ``basis`` says where each limit comes from."""


class Basis(LimitBasis, _Table):
    """A basis says where each limit of a budget comes from."""


class Target(_Table):
    """A target is a kind of machine with its budget.

    Its latency and memory can be judged on the ``architectures``, or on any machine where there are none.
    """

    description: str = Field(description="This text describes the machine.")
    threads: int = Field(ge=1, le=1024, description="This is the number of threads of the runtime.")
    runtimes: list[str] = Field(
        default_factory=list,
        description="This lists the only runtimes that are used on the target. If the list is empty, all installed "
        "runtimes are used.",
    )
    architectures: list[str] = Field(
        description="This lists the architectures on which latency and memory can be judged. If the list is empty, "
        "they are judged on any machine."
    )
    cpu_contains: str = Field(
        "",
        description="Latency and memory are judged only if the CPU's name contains this text and its architecture "
        "matches.",
    )
    int8_saturates: bool = Field(
        default=True,
        exclude=True,  # export uses it, and a warning of files made for other CPUs; no gate depends on it
        description="This says whether the target's CPU may add products of uint8 and int8 values in 16 bits. CPUs of "
        "x86-64 with AVX2 and without VNNI do so.",
    )
    budget: Budget
    basis: Basis


def folder() -> Path:
    """Return the folder of the targets: inside the package in a wheel, beside the package in a checkout."""
    packaged = Path(__file__).parent.parent / "targets"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent.parent / "targets"


def names() -> list[str]:
    """Return the names of the targets that ship with tledge, in alphabetical order."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load(name: str) -> Target:
    """Load a target by its name, or by the path of your own TOML file, which ends in ``.toml``.

    Raises InputError for an unknown name or runtime, a file that is missing or no TOML, an unknown key (with the
    nearest match) or a value out of range.
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
    """List the runtimes that a verification for a target uses, and return a warning for each one that it leaves out.

    The preferred runtimes come first. Where the target names no runtime, all that are installed are used. Raises
    EnvironmentFault where the target names a runtime that is not installed.
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
    """Replace limits of a target's budget; return the new target and the limits that were given. None keeps a limit.

    Raises InputError for an unknown limit, and for a limit out of range.
    """
    for name in limits:
        if name not in Budget.model_fields:
            raise unknown("limit", name, Budget.model_fields)
    given = {name: value for name, value in limits.items() if value is not None}
    try:
        budget = Budget.model_validate({**target.budget.as_json(), **given})
    except ValidationError as error:
        place, said, value = first_problem(error)
        raise InputError(f"{place} {value}: {said}") from error
    basis = Basis.model_validate({**target.basis.as_json(), **dict.fromkeys(given, "requirement")})
    return target.model_copy(update={"budget": budget, "basis": basis}), given


def _explain(path: Path, error: ValidationError) -> InputError:
    # A misspelt key is reported twice, as unknown and as missing; naming the misspelling helps more.
    misspelt = [problem["loc"] for problem in error.errors() if problem["type"] == "extra_forbidden"]
    if misspelt:
        *parents, key = map(str, misspelt[0])
        tables: dict[str, type[Record]] = {"budget": Budget, "basis": Basis}
        table = tables.get(parents[0], Target) if parents else Target
        return unknown(f"key in target {path}", key, table.model_fields)
    return InputError(f"target {path}: {first_problem(error)}")
