"""``gradwire umbridge``: a model served over UM-Bridge's HTTP protocol."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from gradwire._cli.arguments import ModelName, Target, expand_options
from gradwire._cli.console import say
from gradwire._cli.io import Connection, open_model
from gradwire.umbridge import DEFAULT_HOST, DEFAULT_PORT, serve

NAME: Final = "umbridge"


@expand_options
def command(
    target: Target,
    connection: Connection,
    name: ModelName = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 accepts other machines.")] = DEFAULT_HOST,
) -> None:
    """Serve a model over UM-Bridge, for Julia, R, MATLAB, C++ and PyMC; Ctrl-C stops it.

    Example: [bold]gradwire umbridge localhost:8500 log --port 4242[/bold]
    """
    with open_model(target, name, connection=connection) as model:
        say(f"serving {model.card.name} over UM-Bridge on http://{host}:{port}")
        serve(model, port, host=host)
