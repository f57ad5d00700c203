"""A report.json that somebody changed and sealed again is refused in a sentence, or drawn like any other."""

from __future__ import annotations

import copy
import io
import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from reporting.samples import sample_report
from tledge.errors import ArtifactError
from tledge.files import SEAL, write_sealed
from tledge.records import Report
from tledge.reporting import html, junit, markdown, rendered_files
from tledge.reporting.compare import compare_reports
from tledge.reporting.compare_table import comparison_table
from tledge.reporting.table import table

Json = Any
NUM_MUTANTS = 150
VALUES: tuple[Json, ...] = (
    None, True, 0, -1, 1, 2**53, 10**400, -(10**400), 0.0, 1e-320, 1e308, -1e308, "", "NaN", "1", "javascript:alert(1)",
    "</script>", "\x00\x1b[2J", "\udc80", [], [[]], {}, {"": None}, [None] * 3,
)  # fmt: skip


@pytest.fixture(scope="module")
def record() -> Json:
    """The sample as it stands on the disk, without its seal."""
    return sample_report(num_gallery=4).as_json()


def _places(value: Json) -> Iterator[tuple[Json, Any]]:
    """Every container of a JSON value with each of its keys."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _mutate(record: Json, dice: random.Random) -> Json:
    """A copy with one to three places dropped, doubled, emptied, made huge, or of another type."""
    mutant = copy.deepcopy(record)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        holder, key = dice.choice(list(_places(mutant)))
        match dice.randrange(4):
            case 0:
                del holder[key]
            case 1 if isinstance(holder[key], int | float):
                holder[key] = holder[key] * dice.choice((-1, 0, 1e-9, 1e9, 1e300))
            case 2 if isinstance(holder, list):
                holder.insert(dice.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
            case _:
                holder[key] = copy.deepcopy(dice.choice(VALUES))
    return mutant


def _seal(path: Path, record: Json) -> None:
    """As tledge would; where it can't, because of half a surrogate pair or infinity, with a wrong seal."""
    try:
        write_sealed(path, record)
    except ValueError:
        path.write_text(json.dumps({**record, SEAL: "0" * 64}))


def _draw(report: Report) -> None:
    console = Console(file=io.StringIO(), width=120)
    rendered_files(report)
    console.print(table(report, 120))
    console.print(comparison_table(compare_reports(sample_report(num_gallery=0), report)))
    console.print(comparison_table(compare_reports(report, report)))


@pytest.mark.long
def test_a_mutant_of_a_report_is_refused_in_a_sentence_or_drawn(record: Json, tmp_path: Path) -> None:
    dice = random.Random(0)  # noqa: S311 - repeatable, and no secret
    path, refused = tmp_path / "report.json", 0
    for number in range(NUM_MUTANTS):
        _seal(path, _mutate(record, dice))
        try:
            report = Report.load(path, "Verify again.")
        except ArtifactError as error:
            assert str(error).endswith((". Verify again.", ". Update tledge."))
            refused += 1
            continue
        try:
            _draw(report)
        except Exception as error:
            raise AssertionError(f"mutant {number} was read, and not drawn") from error
    assert NUM_MUTANTS // 4 < refused < NUM_MUTANTS  # both ways were tried


def _changed(record: Json, path: str, value: Json) -> Json:
    """A copy with another value at ``rows.0.drift``, say."""
    changed = copy.deepcopy(record)
    *parents, last = (int(part) if part.isdecimal() else part for part in path.split("."))
    holder = changed
    for part in parents:
        holder = holder[part]
    holder[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("target", {}),
        ("target.threads", "2"),
        ("target.budget.max_p95_latency_ms", 0),
        ("labels", ["daisy"]),
        ("labels", []),
        ("rows", []),
        ("rows.0.latency.quantiles_ms", []),
        ("rows.0.latency.round_medians_ms", []),
        ("rows.0.latency.p50_ms", 0.0),
        ("rows.0.latency.p50_ms", "NaN"),
        ("rows.0.size_bytes", 10**400),
        ("rows.0.size_bytes", 0),
        ("rows.1.format", "tflite-float32"),
        ("rows.0.drift.per_class", []),
        ("rows.0.drift.confusions", [[1]]),
        ("rows.0.drift.confusions.0.0", -1),
        ("rows.0.drift.confusions.0.1", 5),
        ("rows.0.drift.confusions.0.2", 0),
        ("rows.0.drift.confusions", [[0, 0, 1], [0, 0, 1]]),
        ("original.confusions", [[5, 0, 1]]),
        ("rows.0.drift.accuracy_drop_points_interval.high", 1e29),
        ("noise_floors.0.floor", -1.0),
        ("choice.best", "tflite-int4 on litert"),
        ("flipped_photos.0.thumbnail_jpeg_base64", "javascript:alert(1)"),
        ("flipped_photos.0.thumbnail_jpeg_base64", "/9j/4AA"),
        ("original.size_bytes", 0),
    ],
)
def test_what_could_not_be_drawn_is_refused_with_exit_code_3_and_the_place(
    tledge: Callable[..., Any], record: Json, tmp_path: Path, path: str, value: Json
) -> None:
    forged, good = tmp_path / "forged.json", tmp_path / "good.json"
    write_sealed(forged, _changed(record, path, value))
    write_sealed(good, record)
    outcome = tledge("compare", good, forged)
    assert outcome.code == 3, outcome.err
    assert outcome.err.startswith(f"error: {forged}: ")
    assert "Verify that run again" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "[" * 100_000, "[]", "7"])
def test_json_that_no_seal_can_be_computed_of_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ArtifactError, match="Verify again."):
        Report.load(tmp_path / "report.json", "Verify again.")


def test_a_name_that_looks_like_an_address_stays_text(record: Json, tmp_path: Path) -> None:
    write_sealed(tmp_path / "report.json", _changed(record, "run", "javascript:alert(1)"))
    page = rendered_files(Report.load(tmp_path / "report.json", ""))["report.html"].decode()
    assert "javascript:alert(1)" in page
    assert 'href="javascript' not in page


HOSTILE = "x\x1b[2J\x9b1;1H\u202everdict\u2066\x00"


@pytest.mark.parametrize(
    "render", [html.render, markdown.render, junit.render, lambda report: _on_a_console(table(report, 120))]
)
def test_a_report_shows_no_control_character_of_a_name(render: Callable[[Report], str]) -> None:
    labels = [f"{HOSTILE}{number}" for number in range(3)]
    text = render(sample_report(num_gallery=4, error=f"{HOSTILE} is no model", labels=labels))
    assert "x\N{REPLACEMENT CHARACTER}[2J" in text.replace("\\", "")
    assert [character for character in text if unicodedata.category(character)[0] == "C"] == ["\n"] * text.count("\n")


def _on_a_console(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    return cast(io.StringIO, console.file).getvalue()
