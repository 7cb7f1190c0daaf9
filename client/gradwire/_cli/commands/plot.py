"""``gradwire plot``: a model and its derivatives over their domain, as an image or in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from numpy.typing import NDArray

from gradwire._cli.arguments import DomainOption, ModelName, Target, expand_options
from gradwire._cli.console import out, say
from gradwire._cli.io import Connection, open_model, read_domain, read_names, read_points
from gradwire._cli.plot import coordinates, draw, save, slices
from gradwire._errors import ShapeError, UsageError
from gradwire._model import Model, package_of
from gradwire._package import SERVING_DEFAULT

NAME: Final = "plot"
POINTS: Final = 400  # more than an image has pixels to tell apart
FIRST: Final = 4  # slices that are drawn without --along
SUFFIXES: Final = (".png", ".svg", ".pdf")


@expand_options
def command(
    target: Target,
    connection: Connection,
    name: ModelName = None,
    along: Annotated[
        str | None,
        typer.Option(
            help=f"Elements to vary, such as x or spot[0], separated by commas. Default: the first {FIRST}.",
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBERS: value of an input that is held fixed. Default: the middle of its domain."),
    ] = None,
    domain: DomainOption = None,
    points: Annotated[int, typer.Option(min=2, help="Points of each line.")] = POINTS,
    to: Annotated[
        Path | None, typer.Option(help="Image to write: .png, .svg or .pdf. Default: draw in the terminal.")
    ] = None,
) -> None:
    """Plot a model and its derivatives over the domain on its card.

    Each slice varies one element of an input; the others are held fixed in the middle of the domain.

    Example: [bold]gradwire plot localhost:8500 log --to log.png[/bold]
    Example: [bold]gradwire plot localhost:8500 price --along spot --at vol=0.2[/bold]
    """
    if to is not None and to.suffix not in SUFFIXES:
        raise UsageError(f"--to {to}: expected a name that ends in {', '.join(SUFFIXES)}")
    if to is not None and not to.parent.is_dir():
        raise UsageError(f"--to {to}: there is no directory {to.parent}; make it first")
    with open_model(target, name, connection=connection, pinned=True) as model:
        labels = read_names("along", along) or list(coordinates(model.card))[:FIRST]
        computed = slices(model, labels, points=points, domain=read_domain(domain), at=_fixed_points(model, at or []))
        title = model.card.name
    if to is None:
        for each in computed:
            out.print(draw(each, out.width), soft_wrap=True)
    else:
        save(title, computed, to)
        say(str(to))


def _fixed_points(model: Model, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read ``--at``."""
    points = read_points(texts, package_of(model).signature(SERVING_DEFAULT).inputs, "--at") if texts else {}
    if any(len(rows) > 1 for rows in points.values()):
        raise ShapeError(f"--at {texts}: expected one point for each input")
    return dict(points)
