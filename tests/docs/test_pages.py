"""Every command of the tutorials and how-tos does what its page says."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tledge.cli.main import app

from .pages import DOCS, blocks_of, run, run_workflow

# A page about adding a file to tledge shows parts of that file, and is run in a checkout of its own.
PAGES = [
    page for kind in ("tutorials", "how-to") for page in sorted((DOCS / kind).glob("*.md")) if page.stem[:4] != "add-"
]


@pytest.mark.long  # each page builds, exports and verifies
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_from_its_first_block_to_its_last(page: Path, tmp_path: Path) -> None:
    assert any(block.language in ("sh", "python") and not block.title for block in blocks_of(page))
    run(page, tmp_path)


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_commands_that_need_data_of_your_own_name_options_that_exist(page: Path) -> None:
    commands: Any = get_command(app)
    for block in blocks_of(page):
        for line in block.text.splitlines() if block.language == "bash" else []:
            assert line.startswith("tledge "), line
            name, *words = shlex.split(line.partition("#")[0])[1:]
            known = {option for one in commands.commands[name].params for option in (*one.opts, *one.secondary_opts)}
            assert {word for word in words if word.startswith("--")} <= known, line


def test_the_steps_of_a_workflow_run_in_its_folder_and_one_that_fails_in_a_pipe_is_seen(tmp_path: Path) -> None:
    (gate,) = [page for page in PAGES if page.stem == "gate-a-pull-request"]
    (workflow,) = [block for block in blocks_of(gate) if block.title.startswith(".github/")]
    head, _, _ = workflow.text.partition("    steps:")
    (tmp_path / "one").write_text("of the repository")
    steps = "    steps:\n      - uses: a/b\n        with: {path: other}\n      - run: cat other/one"
    run_workflow(f'{head}{steps} | tee -a "$GITHUB_STEP_SUMMARY"\n', tmp_path)
    assert (tmp_path / "summary.md").read_text() == "of the repository"
    with pytest.raises(AssertionError, match="false"):
        run_workflow(f"{head}    steps:\n      - run: false | tee said\n", tmp_path)


def test_a_block_that_fails_and_a_line_that_is_not_printed_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nfalse\n```\n")
    with pytest.raises(AssertionError, match="false"):
        run(page, tmp_path)
    page.write_text("```sh\necho two of 2\n```\n\n```text\ntwo of 31\nthree of 2\n```\n")
    with pytest.raises(AssertionError, match=r"not printed: \['three of 2'\]"):
        run(page, tmp_path)


def test_a_block_is_run_as_no_process_of_the_test_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setenv("TLEDGE_TESTS_MADE", "/nowhere")
    page = tmp_path / "page.md"
    page.write_text('```sh\ntest -z "${PYTEST_XDIST_WORKER:-}${TLEDGE_TESTS_MADE:-}"\n```\n')
    run(page, tmp_path)


def test_lines_are_added_to_the_dict_that_a_block_names(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("ONE = {\n    1: 1,\n}\n\n\ndef two():\n    return {\n        1: 1,\n    }\n")
    page = tmp_path / "page.md"
    page.write_text(
        '```python title="a.py, in ONE"\n    2: 2,\n```\n\n```python title="a.py, in two()"\n        3: 3,\n```\n\n'
        "```python\nimport a\nassert a.ONE == {1: 1, 2: 2} and a.two() == {1: 1, 3: 3}\n```\n"
    )
    run(page, tmp_path)
