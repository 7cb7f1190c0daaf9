"""``gradwire export``: a training result becomes a package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gradwire._cli.choices import Compiler
from gradwire._cli.console import note, say
from gradwire._cli.io import read_domain, read_names, read_pairs, read_units
from gradwire._cli.lazy_imports import heavy

NAME: Final = "export"


def command(
    source: Annotated[Path, typer.Argument(help="What `gradwire train` wrote, a .keras file, or a SavedModel.")],
    to: Annotated[Path, typer.Option("--to", help="The model's directory; the package becomes its next version.")],
    wrt: Annotated[
        str | None,
        typer.Option(help="NAME,…: differentiate by these inputs; by all, otherwise. Others are parameters."),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="NAME,…: keep these outputs. New names for all, where the model has none."),
    ] = None,
    signatures: Annotated[
        str | None,
        typer.Option(
            help="jvp,vjp,hvp,hessian or some of them, beside serving_default, value and card. By default all; "
            "hessian only up to 16 input numbers."
        ),
    ] = None,
    zeros: Annotated[
        str | None,
        typer.Option(help="OUTPUT:INPUT,…: pairs that are not connected, whose derivative is truly zero."),
    ] = None,
    domain: Annotated[list[str] | None, typer.Option(help="NAME=LOWER:UPPER, where the source has none.")] = None,
    units: Annotated[list[str] | None, typer.Option(help="NAME=UNIT, where the source has none.")] = None,
    signature: Annotated[
        str | None, typer.Option(help="Of a SavedModel, which one to export; serving_default otherwise.")
    ] = None,
    compiler: Annotated[
        Compiler | None,
        typer.Option("--compile", help="Compile the signatures: quicker on large calls, slower to load."),
    ] = None,
    unsafe_lambda: Annotated[
        bool, typer.Option("--unsafe-lambda", help="Run the Python code in a .keras file that you trust.")
    ] = False,
) -> None:
    """Write a package that returns values and derivatives, and check it as Serving will load it.

    Example: [bold]gradwire export build/log --to models/log[/bold]
    """
    gradwire_export = heavy("gradwire_export")
    with warnings.catch_warnings():  # they are on the card, and printed below
        warnings.simplefilter("ignore", gradwire_export.DerivativeWarning)
        exported = gradwire_export.export(
            source,
            to=to,
            wrt=read_names("wrt", wrt),
            outputs=read_names("outputs", outputs),
            signatures=read_names("signatures", signatures),
            zeros=read_pairs("zeros", zeros),
            domain=read_domain(domain or []),
            units=read_units(units or []),
            signature=signature,
            compile=compiler and compiler.value,
            unsafe_lambda=unsafe_lambda,
        )
    _show_checks(exported.card.checks)
    say(str(exported.path))
    note(f"next: gradwire serve {to.parent}")


def _show_checks(checks: dict[str, Any]) -> None:
    for text in checks["warnings"]:
        note(f"warning: {text}")
    model = checks["trained_model"]
    worst = max(eps for tensors in model["worst_eps"].values() for eps in tensors.values())
    note(
        f"checked in a fresh process: {len(model['worst_eps'])} signatures at {model['rows']} rows within {worst:.3g} eps "
        f"of the trained model ({model['allowed_eps']:g} allowed); rows independent; the checks of verify "
        f"{'passed' if checks['proof']['passed'] else 'did NOT all pass: see gradwire verify'}"
    )
