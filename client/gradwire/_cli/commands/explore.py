"""``gradwire explore``: a model as a page in the browser."""

from __future__ import annotations

import webbrowser
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import typer

from gradwire._cli.arguments import ModelName, Target, expand_options
from gradwire._cli.console import say
from gradwire._cli.explore import DEFAULT_HOST, DEFAULT_PORT, Application, Explorer, PageServer, source_of
from gradwire._cli.io import Connection

NAME: Final = "explore"


@expand_options
def command(
    target: Target,
    connection: Connection,
    name: ModelName = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="File of samples to show beside the curves; its columns have the package's names."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any free one.")] = DEFAULT_PORT,
    host: Annotated[
        str, typer.Option(help="Address of the page; whoever reaches it can call the model.")
    ] = DEFAULT_HOST,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Explore a model in the browser: sliders, curves with tangents, gradients, versions side by side; Ctrl-C stops it.

    Example: [bold]gradwire explore localhost:8500 wing[/bold]   or   [bold]gradwire explore models/wing[/bold]

    Example: [bold]gradwire explore models/wing --samples runs.csv[/bold]
    """
    with closing(source_of(target, name, connection)) as source:
        explorer = Explorer.of(source, target, samples)
        server = PageServer(Application(explorer, host), host, port)
        say(f"exploring {source.name} of {target} on {server.url}, Ctrl-C stops it")
        if browser:
            webbrowser.open(server.url)
        server.run()
