"""``gradwire umbridge``: a model behind UM-Bridge's HTTP protocol."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from gradwire._cli.console import say
from gradwire._cli.io import open_model
from gradwire.umbridge import DEFAULT_HOST, DEFAULT_PORT, serve

NAME: Final = "umbridge"


def command(
    target: Annotated[str, typer.Argument(help="An address, such as localhost:8500; or a package's directory.")],
    name: Annotated[str | None, typer.Argument(help="The model's name at the address.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="To listen on.")] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines in.")] = DEFAULT_HOST,
) -> None:
    """Serve a model by UM-Bridge's protocol, for Julia, R, MATLAB, C++ and PyMC; Ctrl-C stops.

    Example: [bold]gradwire umbridge localhost:8500 log --port 4242[/bold]
    """
    with open_model(target, name) as model:
        say(f"serving {model.card.name} by UM-Bridge on http://{host}:{port}")
        serve(model, port, host=host)
