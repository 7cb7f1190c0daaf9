"""Arguments and options that several commands share, and commands that take groups of options as one object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Final

import typer

from gradwire._cli.choices import Report
from gradwire._package import COMPUTE_WORDS

DEFAULT_COMPUTE: Final = "grad"

Target = Annotated[
    str, typer.Argument(help="Server address, such as localhost:8500, directory of a package, or .onnx file.")
]
ModelName = Annotated[str | None, typer.Argument(help="Name of the model on the server.")]
DomainOption = Annotated[
    list[str] | None, typer.Option(help="NAME=LOWER:UPPER. Default: the domain on the card.", show_default=False)
]
ReportFormat = Annotated[Report, typer.Option(help="Output format.")]
Seed = Annotated[int, typer.Option(help="Seed of the random points.")]
DecimalMark = Annotated[str, typer.Option("--decimal", help="Decimal mark of text, '.' or ','.")]


def compute_option(help: str) -> Any:  # noqa: A002 - typer's own word
    """Declare ``--compute`` with a help text; its words follow from the contract's signatures."""
    return typer.Option(help=help, metavar=f"<{'|'.join(COMPUTE_WORDS)}>", parser=_read_compute)


def _read_compute(word: str) -> str:
    if word not in COMPUTE_WORDS:
        raise typer.BadParameter(f"{word!r} is not one of {', '.join(COMPUTE_WORDS)}")
    return word


def expand_options(run: Callable[..., None]) -> Callable[..., None]:
    """Turn a function with parameters that are objects of options into one that Typer can make a command of.

    Typer reads a command's options from the parameters of a function. A parameter whose annotation is a dataclass
    stands for all of its fields here, with their annotations and defaults, so that options are declared once and every
    command that takes them has them.
    """
    own = inspect.signature(run, eval_str=True).parameters
    groups: dict[str, Any] = {name: each.annotation for name, each in own.items() if is_dataclass(each.annotation)}
    shown: list[inspect.Parameter] = []
    for name, each in own.items():
        shown += inspect.signature(groups[name], eval_str=True).parameters.values() if name in groups else [each]

    def command(**options: Any) -> None:
        for name, kind in groups.items():
            options[name] = kind(**{each.name: options.pop(each.name) for each in fields(kind) if each.name in options})
        run(**options)

    command.__doc__ = run.__doc__
    command.__annotations__ = {each.name: each.annotation for each in shown}
    command.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess] - what inspect looks for
        [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in shown]
    )
    return command
