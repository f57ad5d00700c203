"""The command ``tledge`` is put together here from its subcommands, which run where errors become exit codes."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from tledge._version import __version__
from tledge.cli import (
    build,
    compare,
    doctor,
    embed,
    evaluate,
    export,
    import_model,
    predict,
    report,
    runs,
    targets,
    tune,
    verify,
)
from tledge.cli.console import run_guarded
from tledge.cli.recipe_options import RecipeCommand
from tledge.printable import one_line
from tledge.search_paths import protect_this_process
from tledge.signals import heed_signals


class _Commands(TyperGroup):
    """These are the subcommands. Their errors of usage are made printable, as a shell may put file names into them."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _printable_message():
            return super().make_context(*arguments, **options)

    def invoke(self, context: Any) -> Any:
        with _printable_message():
            return super().invoke(context)


@contextlib.contextmanager
def _printable_message() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(message := vars(error).get("message"), str):  # Typer's errors of usage have one, that can be set
            error.message = one_line(message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=_Commands,
    name="tledge",
    help="From labelled photos to a verified image classifier for small devices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=RecipeCommand)(build.build)
app.command("import")(import_model.import_model)
app.command(cls=export.FormatsCommand)(export.export)
app.command()(verify.verify)
app.command()(predict.predict)
app.command()(evaluate.evaluate)
app.command()(embed.embed)
app.command()(tune.tune)
app.command()(report.report)
app.command()(compare.compare)
app.command()(runs.runs)
app.command()(targets.targets)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tledge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version of tledge and exit."
    ),
) -> None:
    """From labelled photos to a verified image classifier for small devices."""


def main() -> None:
    """Run the command line, and end the process with its exit code. This is the entry point of the console script."""
    protect_this_process()
    heed_signals()
    code = run_guarded(app)
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # It may be closed by whoever started us.
                stream.flush()
    except OSError:  # The reader of our output is gone.
        code = code or 1
    # TensorFlow takes half a second to shut down, so that is skipped. The exit functions of libraries still run.
    atexit._run_exitfuncs()
    os._exit(code)


if __name__ == "__main__":
    main()
