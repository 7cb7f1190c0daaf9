"""``gradwire plot``: a model and its derivatives over their domain, as a picture or in the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gradwire._cli.console import out, say
from gradwire._cli.io import open_model, read_domain, read_names, read_points
from gradwire._cli.plot import coordinates, slices
from gradwire._errors import InputNameError, ShapeError, UsageError
from gradwire._model import default_signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gradwire._model import Model

NAME: Final = "plot"
POINTS: Final = 400  # more than a picture has pixels to tell apart
FIRST: Final = 4  # slices that are drawn where nobody says which
SUFFIXES: Final = (".png", ".svg", ".pdf")


def command(
    target: Annotated[str, typer.Argument(help="An address, such as localhost:8500; or a package's directory.")],
    name: Annotated[str | None, typer.Argument(help="The model's name at the address.")] = None,
    along: Annotated[
        str | None,
        typer.Option(help=f"What moves: x, spot[0], with commas between several; the first {FIRST} by default."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBERS: where an input stays; the middle of its domain by default."),
    ] = None,
    domain: Annotated[list[str] | None, typer.Option(help="NAME=LOWER:UPPER; the card's by default.")] = None,
    points: Annotated[int, typer.Option(min=2, help="Points of a curve.")] = POINTS,
    to: Annotated[Path | None, typer.Option(help="Picture to write: .png, .svg or .pdf; else the terminal.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait for the answer.")] = None,
) -> None:
    """Draw a model and its derivatives over the domain on its card.

    Several inputs give slices: one number moves, the others stay in the middle of the domain.

    Example: [bold]gradwire plot localhost:8500 log --to log.png[/bold]
    Example: [bold]gradwire plot localhost:8500 price --along spot --at vol=0.2[/bold]
    """
    if to is not None and to.suffix not in SUFFIXES:
        raise UsageError(f"--to {to}: expected a name that ends in {', '.join(SUFFIXES)}")
    if to is not None and not to.parent.is_dir():
        raise UsageError(f"--to {to}: there is no directory {to.parent}; make it first")
    with open_model(target, name, timeout=timeout) as model:
        chosen = read_names("along", along) or list(coordinates(model.card))[:FIRST]
        made = slices(model, chosen, points=points, domain=read_domain(domain or []), at=_places(model, at or []))
        title = model.card.name
    if to is None:
        from gradwire._cli.plot import draw

        for each in made:
            out.print(draw(each, out.width), soft_wrap=True)
    else:
        from gradwire._cli.plot import save

        save(title, made, to)
        say(str(to))


def _places(model: Model, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Reads ``--at``."""
    if not texts:
        return {}
    signature = default_signature(model)
    names = {text.partition("=")[0].strip() for text in texts}
    if names - signature.inputs.keys():
        raise InputNameError(f"--at names {sorted(names)}, expected some of {sorted(signature.inputs)}")
    specs = {name: spec for name, spec in signature.inputs.items() if name in names}
    found = read_points(texts, replace(signature, inputs=specs))
    if any(len(rows) > 1 for rows in found.values()):
        raise ShapeError(f"--at {texts}: expected one point for each input")
    return dict(found)
