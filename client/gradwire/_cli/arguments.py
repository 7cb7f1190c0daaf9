"""Arguments and options that several commands share, and commands that take their options as one object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import typer

from gradwire._cli.choices import COMPUTE, Report

T = TypeVar("T")

DEFAULT_COMPUTE: Final = "grad"

Target = Annotated[str, typer.Argument(help="Server address, such as localhost:8500, or directory of a package.")]
ModelName = Annotated[str | None, typer.Argument(help="Name of the model on the server.")]
DomainOption = Annotated[
    list[str] | None, typer.Option(help="NAME=LOWER:UPPER. Default: the domain on the card.", show_default=False)
]
ReportFormat = Annotated[Report, typer.Option(help="Output format.")]
Seed = Annotated[int, typer.Option(help="Seed of the random points.")]
DecimalMark = Annotated[str, typer.Option("--decimal", help="Decimal mark of text, '.' or ','.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait for a response.")]


def compute_option(help: str) -> Any:  # noqa: A002 - typer's own word
    """Declare ``--compute`` with a help text; its words follow from the contract's signatures."""
    return typer.Option(help=help, metavar=f"<{'|'.join(COMPUTE)}>", parser=_read_compute)


def _read_compute(word: str) -> str:
    if word not in COMPUTE:
        raise typer.BadParameter(f"{word!r} is not one of {', '.join(COMPUTE)}")
    return word


def takes_options(kind: Callable[..., T]) -> Callable[[Callable[[T], None]], Callable[..., None]]:
    """Turn a function of one options object into a function that Typer can make a command of.

    Typer reads a command's options from the parameters of a function; the decorated function has the fields of the
    options class as its parameters, with their annotations and defaults.

    Args:
        kind: a dataclass whose fields are annotated as Typer's parameters.
    """
    parameters = inspect.signature(kind, eval_str=True).replace(return_annotation=None)

    def decorate(run: Callable[[T], None]) -> Callable[..., None]:
        def command(*arguments: Any, **options: Any) -> None:
            run(kind(*arguments, **options))

        command.__doc__ = run.__doc__
        command.__annotations__ = {name: each.annotation for name, each in parameters.parameters.items()}
        command.__signature__ = parameters  # pyright: ignore[reportFunctionMemberAccess] - what inspect looks for
        return command

    return decorate
