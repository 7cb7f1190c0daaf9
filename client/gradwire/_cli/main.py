"""The entry point: runs a command, and turns any error into one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated, Final

import typer

import gradwire
from gradwire._cli.commands import (
    batch,
    bench,
    card,
    convert,
    diff,
    evaluate,
    explore,
    export,
    plot,
    promote,
    query,
    serve,
    study,
    train,
    umbridge,
    verify,
)  # fmt: skip
from gradwire._cli.console import error_line
from gradwire._errors import FAULT, GradwireError

DEBUG_FLAG: Final = "--debug"
INTERRUPTED: Final = 130  # what a shell reports for a command stopped by Ctrl-C
EXIT_CODES: Final = (
    "Exit codes: 0 done; 1 a check failed, or something is faulty; 2 misuse; 3 a server was not reached, or refused; "
    "130 Ctrl-C."
)

app = typer.Typer(
    name="gradwire",
    help="Train, export, serve and query surrogate models together with their derivatives.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"gradwire {gradwire.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG_FLAG, help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    pass


for _module in (
    train, study, export, convert, serve, promote, query, explore, plot, bench, card, verify, evaluate, diff, batch,
    umbridge,
):  # fmt: skip
    app.command(_module.NAME, epilog=EXIT_CODES)(_module.command)


def main() -> None:
    """Run the command line; exit as ``EXIT_CODES`` says."""
    debug = DEBUG_FLAG in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG_FLAG]
    if arguments[:1] == [serve.NAME]:
        arguments = serve.with_hyphens(arguments)
    try:
        app(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the outermost frame: a user gets one line, not a traceback
        if debug:
            traceback.print_exc()
        error_line(_message(error, debug=debug))
        sys.exit(error.exit_code if isinstance(error, GradwireError) else FAULT)


def _message(error: Exception, *, debug: bool) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, GradwireError):
        return text
    hint = "" if debug else f"; this was not expected, and {DEBUG_FLAG} shows where it comes from"
    return f"{type(error).__name__}: {text}{hint}"
