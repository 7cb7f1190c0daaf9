"""``gradwire export``: a package from a training result or another model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gradwire._cli.choices import Compiler
from gradwire._cli.commands.card import show_gate
from gradwire._cli.console import note, say
from gradwire._cli.io import (
    gate_table,
    read_columns,
    read_derivatives,
    read_domain,
    read_names,
    read_pairs,
    read_shapes,
    read_tolerance,
    read_units,
)
from gradwire._cli.lazy_imports import import_heavy
from gradwire._errors import CheckFailed, UsageError
from gradwire._package import HESSIAN, HVP, SIGNATURES, SOLVE_FORM, UNCERTAINTY

NAME: Final = "export"
GATE: Final = "The gate"


def command(
    source: Annotated[Path, typer.Argument(help="Result of `gradwire train`, a .keras or .h5 file, or a SavedModel.")],
    to: Annotated[Path, typer.Option("--to", help="Directory of the model; the package becomes its next version.")],
    wrt: Annotated[
        str | None,
        typer.Option(help="NAME,…: inputs to differentiate with respect to; the others are parameters. Default: all."),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(help="NAME,… or NAME=OWN,…: the order of the inputs, and new names for the model's own."),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(
            help="NAME,… or NAME=OWN,…: outputs to keep, in this order; or names for all outputs of a model that has none."
        ),
    ] = None,
    signatures: Annotated[
        str | None,
        typer.Option(
            help="Optional signatures, separated by commas: jvp, vjp, hvp, hessian. Default: all, but hessian only up to "
            "16 input elements."
        ),
    ] = None,
    derivatives: Annotated[
        str | None,
        typer.Option(help="NAME=OUTPUT:INPUT,…: names for derivatives on the card, such as forces=-energy:positions."),
    ] = None,
    serve_aliases: Annotated[
        bool, typer.Option("--serve-aliases", help="Serve derivatives by those names too, beside the contract's.")
    ] = False,
    solve: Annotated[
        str | None,
        typer.Option(
            help="INPUT:OUTPUT,…: add signatures that solve for an input at a target of an output, such as vol:price."
        ),
    ] = None,
    zeros: Annotated[
        str | None,
        typer.Option(help="OUTPUT:INPUT,…: pairs without a connection, whose derivative is exactly zero."),
    ] = None,
    domain: Annotated[list[str] | None, typer.Option(help="NAME=LOWER:UPPER, if the source has no domain.")] = None,
    units: Annotated[list[str] | None, typer.Option(help="NAME=UNIT, if the source has no units.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZE,…: row shape of an input that leaves sizes open, such as x=12,3."),
    ] = None,
    signature: Annotated[
        str | None, typer.Option(help="Signature of a SavedModel to export. Default: serving_default.")
    ] = None,
    tags: Annotated[
        str | None, typer.Option(help="TAG,…: of a SavedModel with several graphs, the one to export. Default: serve.")
    ] = None,
    compiler: Annotated[
        Compiler | None,
        typer.Option("--compile", help="Compile the signatures: faster on large calls, slower to load."),
    ] = None,
    keep_unproven: Annotated[
        bool,
        typer.Option(
            "--keep-unproven", help="Keep signatures whose derivatives are, on purpose, not those of the values."
        ),
    ] = False,
    nan_guard: Annotated[
        bool, typer.Option("--nan-guard", help="Return NaN for rows with NaN in an input, which a ReLU takes for 0.")
    ] = False,
    unsafe_lambda: Annotated[
        bool, typer.Option("--unsafe-lambda", help="Run Python code in a .keras file that you trust.")
    ] = False,
    gate: Annotated[
        Path | None,
        typer.Option(
            help="Rows of inputs and labels, such as holdout.parquet: publish only if no output or derivative is worse "
            "there than in the version that serves.",
            rich_help_panel=GATE,
        ),
    ] = None,
    gate_tolerance: Annotated[
        str | None,
        typer.Option(
            help="Largest ratio new / old of the rmse: 1.05, or cl=1.1,dcl_dmach=1.5. Default: what the rows can tell.",
            rich_help_panel=GATE,
        ),
    ] = None,
    gate_against: Annotated[
        str | None,
        typer.Option(
            help="Compare with another version than the model's latest: its number, a directory, or HOST:PORT or "
            "HOST:PORT/LABEL of the server that has it.",
            rich_help_panel=GATE,
        ),
    ] = None,
    gate_columns: Annotated[
        str | None,
        typer.Option(help="NAME=COLUMN,…: inputs and outputs whose columns have other names.", rich_help_panel=GATE),
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Publish although the package is worse; the reason is kept on the card.",
            rich_help_panel=GATE,
        ),
    ] = None,
    replace_contract: Annotated[
        bool,
        typer.Option(
            "--replace-contract",
            help="Allow other inputs, outputs, shapes, dtypes or derivatives than the latest version has.",
        ),
    ] = False,
) -> None:
    """Export a package that returns values and derivatives, and check it as a server will load it.

    Example: [bold]gradwire export build/log --to models/log[/bold]
    """
    gradwire_export = import_heavy("gradwire_export")
    rows = _gate(gradwire_export.Gate, gate, gate_tolerance, gate_against, gate_columns, force)
    with _shown_refusal(gradwire_export.GateRefused), warnings.catch_warnings():  # they are on the card, and below
        warnings.simplefilter("ignore", gradwire_export.DerivativeWarning)
        exported = gradwire_export.export(
            source,
            to=to,
            wrt=read_names("wrt", wrt),
            inputs=_names("inputs", inputs),
            outputs=_names("outputs", outputs),
            signatures=read_names("signatures", signatures),
            solve=read_pairs("solve", solve, SOLVE_FORM),
            zeros=read_pairs("zeros", zeros),
            derivatives=read_derivatives("derivatives", derivatives),
            serve_aliases=serve_aliases,
            domain=read_domain(domain),
            units=read_units(units),
            signature=signature,
            tags=read_names("tags", tags),
            shapes=read_shapes(shape),
            compile=compiler and compiler.value,
            unsafe_lambda=unsafe_lambda,
            replace_contract=replace_contract,
            keep_unproven=keep_unproven,
            nan_guard=nan_guard,
            gate=rows,
        )
    _show_checks(exported.card.checks)
    if exported.verdict is not None:
        _show_verdict(exported.verdict)
        if force is not None and exported.verdict.passed:
            note("--force was not needed: the gate passed, and the reason is not on the card")
    names = exported.card.signatures
    if signatures is None and HVP in names and HESSIAN not in (*names, *exported.left_out):
        optional = ",".join(kind.name for kind in SIGNATURES.values() if kind.optional and kind.name in names)
        note(f"hessian is left out: there are more than 16 input elements; --signatures {optional},hessian adds it")
    if exported.card.trained and UNCERTAINTY not in names:
        note(f"no error bars, because {exported.card.no_uncertainty}")
    say(str(exported.path))
    if exported.left_out:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in exported.left_out.items())
        raise CheckFailed(
            f"the package was written without {', '.join(exported.left_out)}, whose proof failed ({reasons}): leave them "
            "out of --signatures and --solve, or keep them with --keep-unproven"
        )
    note(f"next: gradwire serve {to.parent}")


def _gate(
    kind: Callable[..., Any],
    rows: Path | None,
    tolerance: str | None,
    against: str | None,
    columns: str | None,
    force: str | None,
) -> Any:
    if rows is None:
        options = {
            "--gate-tolerance": tolerance,
            "--gate-against": against,
            "--gate-columns": columns,
            "--force": force,
        }
        if foreign := [option for option, text in options.items() if text is not None]:
            raise UsageError(f"{foreign[0]} is for --gate, the rows to compare on: give both, or leave it out")
        return None
    named = read_columns("gate-columns", columns) or {}
    limits = read_tolerance("gate-tolerance", tolerance)
    return kind(rows=rows, tolerance=limits, against=against, columns=named, force=force)


@contextmanager
def _shown_refusal(refusal: type[Exception]) -> Generator[None]:
    try:
        yield
    except refusal as error:
        _show_verdict(error.verdict)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - a GateRefused
        raise


def _show_verdict(verdict: Any) -> None:
    shown = gate_table(verdict.to_dict())
    if shown is not None:
        show_gate(shown)


def _names(option: str, text: str | None) -> dict[str, str] | list[str] | None:
    """Read names, as a mapping where some are new: a list may also name what has no names of its own."""
    columns = read_columns(option, text)
    return list(columns) if columns and all(name == own for name, own in columns.items()) else columns


def _show_checks(checks: dict[str, Any]) -> None:
    for text in checks["warnings"]:
        note(f"warning: {text}")
    model = checks["trained_model"]
    worst, noise = (
        max(eps for tensors in model[key].values() for eps in tensors.values()) for key in ("worst_eps", "noise_eps")
    )
    for name, trip in checks.get("round_trips", {}).items():
        note(
            f"{name}: {trip['solved']} of {trip['targets']} values of the model solved, residuals up to "
            f"{trip['worst_residual']:.3g}" + ("; the others flagged" if trip["solved"] < trip["targets"] else "")
        )
    for name, reason in checks["proof"]["unproven"].items():
        note(f"warning: kept {name}, which is not proved: {reason}")
    note(
        f"checked in a fresh process: {len(model['worst_eps'])} signatures agree with the trained model within "
        f"{worst:.3g} eps at {model['rows']} rows ({noise:.3g} eps of rounding measured there); rows are independent; "
        f"the derivative checks {'passed' if checks['proof']['passed'] else 'did NOT all pass: see gradwire verify'}"
    )
