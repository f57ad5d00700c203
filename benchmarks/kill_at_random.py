"""Kill build, export and verify at random moments with SIGKILL, and look at what they leave.

    python benchmarks/kill_at_random.py --kills 20 --seed 0

Everything is real and happens in a temporary folder: the digits data set on the bundled backbone, where no other is
named, each command in a process of its own. First the commands run unkilled, which makes a whole run and tells how
long each takes; then they are killed, two thirds of them at any moment of that time, one third in its last fifth, where
files are written. A command that ends before its moment is no kill: its end is checked all the same, and it is started
again.

After every kill the folder is read anew (see whole.py for the checks, which share no code with tledge's):
a run that opens is whole, and so are the artifacts and the report it shows; damage is reported; the run that was
there before is byte for byte as it was but for what the killed command was to write; ``latest`` names a run that
opens; no process of the killed command lives on. A damaged artifact is then made again as the error message says.
At last the commands run unkilled once more, must end with exit code 0, and must leave no half-built run behind.
With a ``--recipe`` that trains a network, as finetune, builds that a kill left unfinished are then finished by
``build --resume``, and must come to the history and the metrics of the unbroken build; without dropout, whose random
numbers are the only ones that a resumed training draws anew.
``--command build`` and so on kills, and runs, that command alone after what it needs.

Exit code 1 where any of this does not hold. The budgets of verify are set so wide that only an error can fail it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from common import REPOSITORY, busy_warning, load_average, project_environment
from rich.console import Console
from rich.table import Table
from whole import faults_of_export, faults_of_report, faults_of_run, tree

EXISTING, AFTERWARDS = "before", "after"
COMMANDS = ("build", "verify", "export")  # in the order in which they are killed
_UNFINISHED = ".unfinished-"  # before the name of a run, with build.json inside
_MAX_DIFFERENCE = 1e-3  # of losses and metrics between a resumed training and an unbroken one
_SAME_BY_SEED = ("splits.csv", "reference.npz", "history.csv")
LATE_SHARE = 0.8  # of a command's time: its last fifth
MAX_ATTEMPTS = 8
WORKER_GRACE_S = 5.0
TARGET = """
description = "No budget that a busy machine could miss"
threads = 1
runtimes = ["litert", "onnxruntime"]
architectures = []
[budget]
max_accuracy_drop_points = 100.0
max_p95_latency_ms = 1e9
max_size_mb = 1e9
max_memory_mb = 1e9
[basis]
max_accuracy_drop_points = "requirement"
max_p95_latency_ms = "requirement"
max_size_mb = "requirement"
max_memory_mb = "requirement"
"""


@dataclass(frozen=True)
class Command:
    """A command line to kill. ``may_write``: what of the existing run it may change; ``new_run``: the run it makes."""

    name: str
    timed_as: str
    arguments: tuple[str, ...]
    may_write: tuple[str, ...] = ()
    new_run: str | None = None


@dataclass(frozen=True)
class Ended:
    """How a started command ended. ``exit_code`` None: it was killed, at ``after_s`` from its start."""

    exit_code: int | None
    after_s: float
    said: str


@dataclass
class Strike:
    """One attempt and what a fresh reader found after it."""

    command: Command
    late: bool
    ended: Ended
    expected_s: float
    found: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def killed(self) -> bool:
        return self.ended.exit_code is None


class Ground:
    """The temporary folder in which everything happens."""

    def __init__(
        self, folder: Path, commands: list[str], formats: list[str], build_options: list[str], seed: int
    ) -> None:
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.cache = folder / "cache"
        self.commands = commands
        self.formats = formats
        self.killed_formats = formats[1::2] or formats  # the others must stay as they are
        self.build_options = build_options
        self.random = random.Random(seed)  # noqa: S311
        self.durations_s: dict[str, float] = {}
        self.target = folder / "no-limits.toml"
        self.target.write_text(TARGET)
        (folder / "tmp").mkdir()

    def build(self, run: str, *, empty_cache: bool) -> Command:
        arguments = ["build", *self.build_options, "--seed", "0", "--run", run]
        timed_as = "build, empty cache" if empty_cache else "build, cache of a killed one"
        return Command("build", timed_as, tuple(arguments), new_run=run)

    def export(self, formats: list[str]) -> Command:
        named = [part for name in formats for part in ("--format", name)]
        may_write = tuple(f"exports/{name}/" for name in formats)
        return Command("export", f"export {', '.join(formats)}", ("export", "--run", EXISTING, *named), may_write)

    def verify(self) -> Command:
        arguments = ("verify", "--run", EXISTING, "--target", str(self.target), "--protocol", "quick")
        return Command("verify", "verify", arguments, ("verification/",))

    def start(self, command: Command, kill_after_s: float | None) -> tuple[Ended, int]:
        """Run a command to its end, or to its kill; also its process group. Only the command itself is killed."""
        environment = project_environment(TLEDGE_CACHE_DIR=str(self.cache), TMPDIR=str(self.folder / "tmp"))
        line = [sys.executable, "-m", "tledge", *command.arguments, "--artifacts", str(self.artifacts)]
        log = self.folder / "said.log"
        with log.open("wb") as said:
            started = time.perf_counter()
            process = subprocess.Popen(
                line, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
            try:
                process.wait(kill_after_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
            seconds = time.perf_counter() - started
        exit_code = None if process.returncode == -signal.SIGKILL else process.returncode
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        return Ended(exit_code, seconds, " / ".join(last)), process.pid

    def resume(self, run: str) -> Command:
        return Command("build", "build, resumed", ("build", "--resume", "--run", run), new_run=run)

    def unfinished(self) -> list[str]:
        """Runs whose builds were killed on the way, and can be resumed."""
        folders = (path.parent for path in self.artifacts.glob(f"{_UNFINISHED}*/build.json"))
        return sorted(folder.name.removeprefix(_UNFINISHED) for folder in folders)

    def finish(self, command: Command) -> list[str]:
        """Run a command unkilled and note its time; what is wrong with how it ended."""
        ended, _ = self.start(command, None)
        self.durations_s[command.timed_as] = ended.after_s
        return [] if ended.exit_code == 0 else [f"{command.name} unkilled: exit code {ended.exit_code}: {ended.said}"]

    def processes(self, group: int) -> list[int]:
        """Living processes of a killed command: of its group, or with this folder in their command line."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                state, _, of_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue  # it ended while we looked
            if state != "Z" and (int(of_group) == group or str(self.folder) in line):
                found.append(int(entry.name))
        return found


def strike(ground: Ground, command: Command, late: bool) -> Strike:
    """Start a command, kill it at a random moment, and look."""
    expected_s = ground.durations_s.get(command.timed_as, ground.durations_s.get("build, empty cache", 0.0))
    moment_s = ground.random.uniform(LATE_SHARE * expected_s if late else 0.0, expected_s)
    before = tree(ground.artifacts / EXISTING)
    latest = (ground.artifacts / "latest").read_text()
    ended, group = ground.start(command, moment_s)
    made = Strike(command, late, ended, expected_s)
    _look_for_processes(ground, group, made)
    if not made.killed:
        ground.durations_s[command.timed_as] = ended.after_s
        if ended.exit_code:
            made.violations.append(f"ended with exit code {ended.exit_code} by itself: {ended.said}")
    _look_at_runs(ground, made)
    _look_at_existing(ground, made, before)
    _look_at_latest(ground, made, latest)
    return made


def _look_for_processes(ground: Ground, group: int, made: Strike) -> None:
    if not Path("/proc/self/stat").exists():
        made.found.append("processes not looked for (no /proc)")
        return
    seen, began = ground.processes(group), time.perf_counter()
    left = seen
    while left and time.perf_counter() - began < WORKER_GRACE_S:
        time.sleep(0.05)
        left = ground.processes(group)
    if left:
        made.violations.append(f"{len(left)} processes live on {WORKER_GRACE_S:.0f} s after the kill")
        for process in left:
            os.kill(process, signal.SIGKILL)
    elif seen:
        made.found.append(f"{len(seen)} worker gone within {time.perf_counter() - began:.1f} s")


def _look_at_runs(ground: Ground, made: Strike) -> None:
    from tledge.errors import TledgeError
    from tledge.run import open_run

    for folder in sorted(path for path in ground.artifacts.iterdir() if path.is_dir() and path.name[0] != "."):
        faults = faults_of_run(folder)
        try:
            run = open_run(ground.artifacts, folder.name)
        except TledgeError as error:
            if folder.name == EXISTING or not faults:
                made.violations.append(f"run {folder.name} does not open: {error}")
            else:
                made.found.append(f"run {folder.name} reported as damaged")
            continue
        made.violations += [f"run {folder.name} opens as whole, and {fault}" for fault in faults]
        made.violations += [f"run {folder.name}: {fault}" for fault in faults_of_report(folder)]
        damaged = {path.parent.name: faults_of_export(path.parent) for path in folder.glob("exports/*/export.json")}
        damaged = {name: faults for name, faults in damaged.items() if faults}
        try:
            shown = set(run.exports())
        except TledgeError as error:
            allowed = {path.split("/")[1] for path in made.command.may_write if path.startswith("exports/")}
            if folder.name != EXISTING or not damaged or not set(damaged) <= allowed or not made.killed:
                made.violations.append(f"run {folder.name}: artifacts do not open: {error}; damaged: {damaged}")
            else:
                made.found.append(f"{', '.join(damaged)} reported as damaged")
        else:
            made.violations += [f"{name} opens as whole, and {', '.join(damaged[name])}" for name in shown & {*damaged}]
    if made.command.new_run:
        there = (ground.artifacts / made.command.new_run).is_dir()
        made.found.append("new run" if there else "no new run")
        if not there and any(ground.artifacts.glob(".building-*")):
            made.found.append("a half-built one, hidden")


def _look_at_existing(ground: Ground, made: Strike, before: dict[str, str]) -> None:
    now = tree(ground.artifacts / EXISTING)
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    foreign = [name for name in changed if not name.startswith(made.command.may_write or ("\0",))]
    if foreign:
        made.violations.append(f"the existing run changed: {', '.join(foreign[:5])}")
    own = [name for name in changed if name not in foreign]
    whole = [name for name in own if not any(part.startswith(".") for part in name.split("/"))]
    if made.command.may_write:
        made.found.append(f"wrote {', '.join(whole)}" if whole else "all files as before")
    if len(own) > len(whole):
        made.found.append(f"{len(own) - len(whole)} hidden files left")


def _look_at_latest(ground: Ground, made: Strike, before: str) -> None:
    from tledge.errors import TledgeError
    from tledge.run import open_run

    try:
        named = open_run(ground.artifacts).name
    except TledgeError as error:
        made.violations.append(f"the latest run does not open: {error}")
        return
    if named not in (before.strip(), made.command.new_run):
        made.violations.append(f"latest names {named}, a run that this command did not make")


def _restore(ground: Ground, made: Strike) -> None:
    """Do what the error message tells the user to do about a damaged artifact, until none is left."""
    from tledge.errors import TledgeError
    from tledge.run import open_run

    for _ in range(1 + len(ground.formats)):
        try:
            open_run(ground.artifacts, EXISTING).exports()
            return
        except TledgeError as error:
            named = re.search(r"tledge export --run (\S+) --format (\S+) again", str(error))
            if named is None:
                made.violations.append(f"no way out is named: {error}")
                return
            made.violations += ground.finish(ground.export([named[2]]))
            made.found.append(f"{named[2]} made again")
    made.violations.append("the artifacts do not open after what the message says was done")


def strikes(ground: Ground, num_kills: int) -> list[Strike]:
    """Every attempt of ``num_kills`` kills, one command after another."""
    commands = ground.commands
    names = [commands[len(commands) * number // num_kills] for number in range(num_kills)]
    made: list[Strike] = []
    for number, name in enumerate(names):
        first = names.index(name)
        for attempt in range(MAX_ATTEMPTS):
            if name == "build":
                empty = (number - first) % 2 == 0
                if empty:
                    shutil.rmtree(ground.cache)  # otherwise the half-filled one of the last kill is built on
                command = ground.build(f"killed-{number}-{attempt}", empty_cache=empty)
            elif name == "verify":
                command = ground.verify()
            else:
                if (number - first) % 2:  # a first export; otherwise one that replaces an artifact
                    for format_name in ground.killed_formats:
                        shutil.rmtree(ground.artifacts / EXISTING / "exports" / format_name, ignore_errors=True)
                command = ground.export(ground.killed_formats)
            made.append(strike(ground, command, late=number % 3 == 2))
            _restore(ground, made[-1])
            if made[-1].killed:
                break
        else:
            raise SystemExit(f"{name} ended {MAX_ATTEMPTS} times before it could be killed: its time varies too much")
    return made


def finish_unkilled(ground: Ground) -> list[str]:
    """The commands once more, on what all the kills left; what is wrong afterwards."""
    again = [ground.build(AFTERWARDS, empty_cache=False), ground.export(ground.killed_formats), ground.verify()]
    problems = [said for command in again if command.name in ground.commands for said in ground.finish(command)]
    before, after = (tree(ground.artifacts / run) for run in (EXISTING, AFTERWARDS))
    if "build" in ground.commands:
        differing = [name for name in _SAME_BY_SEED if before.get(name) != after.get(name)]
        what = "differs between two builds of one seed, the second on a cache of killed builds"
        problems += [f"{name} {what}" for name in differing]
    unfinished = ground.unfinished()
    problems += resume_all(ground, unfinished)
    if unfinished:
        print(f"unfinished builds that were resumed: {len(unfinished)}")
    problems += [f"{path.name} is left of a dead build" for path in ground.artifacts.glob(".building-*")]
    whole = Strike(ground.verify(), False, Ended(0, 0.0, ""), 0.0)
    _look_at_runs(ground, whole)
    exported = {path.parent.name for path in (ground.artifacts / EXISTING).glob("exports/*/export.json")}
    if exported != set(ground.formats):
        whole.violations.append(f"the existing run has {sorted(exported)}, not {sorted(ground.formats)}")
    return problems + whole.violations


def resume_all(ground: Ground, runs: list[str]) -> list[str]:
    """Finish unfinished builds; what is wrong with how they end, or with what the runs say."""
    problems = []
    for run in runs:
        ended = ground.finish(ground.resume(run))
        problems += ended or [f"{run}, resumed: {one}" for one in differences(ground.artifacts, EXISTING, run)]
    return problems + [f"{run} is unfinished still" for run in ground.unfinished()]


def differences(artifacts: Path, unbroken: str, resumed: str) -> list[str]:
    """What a resumed run says otherwise than an unbroken one of the same options and seed."""
    one, other = (_said(artifacts / name) for name in (unbroken, resumed))
    if one.keys() != other.keys():
        return [f"it tells of {', '.join(sorted(one.keys() ^ other.keys()))}, or does not, unlike the unbroken one"]
    far = [name for name in one if not abs(one[name] - other[name]) <= _MAX_DIFFERENCE * max(1.0, abs(one[name]))]
    return [f"{name} is {other[name]:.6f}, of the unbroken one {one[name]:.6f}" for name in far]


def _said(run: Path) -> dict[str, float]:
    """The figures of a run by what they are: of each epoch, and of the splits."""
    with (run / "history.csv").open(newline="") as file:
        epochs = [(row.pop("epoch"), row) for row in csv.DictReader(file)]
    found = {f"{name} of epoch {epoch}": float(value) for epoch, row in epochs for name, value in row.items()}
    manifest = json.loads((run / "manifest.json").read_bytes())
    for split, metrics in manifest["metrics"].items():
        found |= {f"{split} {name}": float(metrics[name]) for name in ("accuracy", "f1_macro")}
    return found


def leftovers(ground: Ground) -> list[str]:
    """What dead processes left that nothing takes for whole and nothing removed; sentences."""
    hidden = list(ground.artifacts.rglob(".*"))
    rows = [path for path in ground.cache.rglob("*.rows") if not path.with_suffix(".keys").exists()]
    scratch = list((ground.folder / "tmp").iterdir())
    counted = {
        "hidden files or folders among the runs": [path.relative_to(ground.artifacts).as_posix() for path in hidden],
        "unfinished cache segments": [path.name for path in rows],
        "files or folders in the system's temporary folder": [path.name for path in scratch],
    }
    return [f"{len(names)} {what} ({names[0]} ...)" for what, names in counted.items() if names]


def table(made: list[Strike]) -> Table:
    """One row an attempt."""
    shown = Table(box=None, header_style="bold")
    for name in ("kill", "command", "at s", "of s", "moment", "found after it"):
        shown.add_column(name, justify="right" if name in ("kill", "at s", "of s") else "left")
    number = 0
    for one in made:
        number += one.killed
        shown.add_row(
            str(number) if one.killed else "none",
            one.command.timed_as,
            f"{one.ended.after_s:.2f}",
            f"{one.expected_s:.2f}",
            ("last fifth" if one.late else "any") if one.killed else "ended first",
            "; ".join([*one.found, *(f"VIOLATION: {problem}" for problem in one.violations)]),
        )
    return shown


def main() -> None:
    from tledge.exporters import chosen

    parser = argparse.ArgumentParser(description="Kill build, export and verify at random moments.")
    parser.add_argument("--kills", type=int, default=21, help="in all, shared evenly by the commands")
    parser.add_argument("--command", action="append", choices=COMMANDS, help="to kill; may be repeated [all]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--format", action="append", help="artifacts of the existing run; may be repeated [all]")
    parser.add_argument("--dataset", default="digits", help="of every build")
    parser.add_argument("--backbone", default="bundled", help="of every build")
    parser.add_argument("--recipe", help="of every build, without dropout [the build's own]")
    parser.add_argument("--max-epochs", type=int, help="of every build: a shorter program")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error("--kills: use a whole number from 1")

    warning = busy_warning(load_average())
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    commands = [name for name in COMMANDS if name in (options.command or COMMANDS)]
    formats = [] if commands == ["build"] else [form.name for form in chosen(options.format or ["all"])]
    folder = Path(tempfile.mkdtemp(prefix="tledge-kills-"))
    build_options = ["--dataset", options.dataset, "--backbone", options.backbone]
    build_options += ["--recipe", options.recipe] if options.recipe else []
    # A resumed training draws other random numbers for dropout; a head on frozen features is not resumed.
    build_options += ["--dropout", "0"] if options.recipe not in (None, "head") else []
    build_options += [] if options.max_epochs is None else ["--max-epochs", str(options.max_epochs)]
    ground = Ground(folder, commands, formats, build_options, options.seed)
    others = [name for name in formats if name not in ground.killed_formats]
    first = [ground.build(EXISTING, empty_cache=True)]
    first += [ground.export(names) for names in (others, ground.killed_formats) if names]
    first += [ground.verify()] if "verify" in commands else []
    for command in first:
        problems = ground.finish(command)
        if problems:
            raise SystemExit(f"before any kill: {problems[0]}")
    made = strikes(ground, options.kills)
    at_the_end = finish_unkilled(ground)
    Console(width=160).print(table(made))
    violations = [problem for one in made for problem in one.violations] + at_the_end
    for problem in at_the_end:
        print(f"VIOLATION, unkilled at the end: {problem}")
    if not at_the_end:
        print(f"unkilled at the end: {', '.join(commands)} exit 0; every run is whole; no half-built run is left")
    for left in leftovers(ground):
        print(f"left over, and read by nothing: {left}")
    print(f"{sum(one.killed for one in made)} kills, {len(violations)} violations")
    if violations:
        print(f"kept: {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))  # this checkout's tledge, wherever another is installed
    main()
