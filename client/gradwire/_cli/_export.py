"""``gradwire export``: a training result becomes a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from gradwire._cli._arguments import read_domain, read_units
from gradwire._cli._console import note, say
from gradwire._cli._heavy import heavy

NAME: Final = "export"


def command(
    source: Annotated[Path, typer.Argument(help="What `gradwire train` wrote, or a .keras file.")],
    to: Annotated[
        Path, typer.Option("--to", help="The model's directory; the package becomes its next version.")
    ],
    domain: Annotated[
        list[str] | None, typer.Option(help="NAME=LOWER:UPPER, where the source has none.")
    ] = None,
    units: Annotated[list[str] | None, typer.Option(help="NAME=UNIT, where the source has none.")] = None,
) -> None:
    """Write a package that returns values and derivatives, and check it as Serving will load it.

    Example: [bold]gradwire export build/log --to models/log[/bold]
    """
    exported = heavy("gradwire_export").export(
        source, to=to, domain=read_domain(domain or []), units=read_units(units or [])
    )
    checks = exported.card.checks
    model = checks["trained_model"]
    worst = max(model["worst_eps"].values())
    note(
        f"checked in a fresh process: {model['rows']} rows within {worst:.3g} eps of the trained model "
        f"({model['allowed_eps']:g} allowed); rows independent; Taylor test "
        f"{'passed' if checks['taylor']['passed'] else 'FAILED: see gradwire verify'}"
    )
    say(str(exported.path))
    note(f"next: gradwire serve {to.parent}")
