"""``gradwire card``: a package's description of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from gradwire._cli.arguments import ModelName, Target, expand_options
from gradwire._cli.console import number, say, table
from gradwire._cli.io import CardView, Connection, TextTable, card_page, open_model, verdict, worst
from gradwire._errors import UsageError
from gradwire._package import Card

NAME: Final = "card"
CHECK_COLUMNS: Final = ("check", "worst / allowed", "")


@expand_options
def command(
    target: Target,
    connection: Connection,
    name: ModelName = None,
    json: Annotated[bool, typer.Option("--json", help="Print the card as stored.")] = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write the card to a self-contained HTML file.")] = None,
) -> None:
    """Show a model's card: inputs, domain, units, errors, checks.

    Example: [bold]gradwire card localhost:8500 log[/bold]   or   [bold]gradwire card models/log[/bold]
    """
    with open_model(target, name, connection=connection) as model:
        card = model.card
    if html is not None:
        _write_page(html, card)
    elif json:
        say(card.to_json().rstrip())
    else:
        show_card(CardView.of(card))


def _write_page(path: Path, card: Card) -> None:
    page = card_page(card)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another file") from error
    say(str(path))


def show_card(card: CardView) -> None:
    """Print a card as tables."""
    table(card.name, card.inputs.columns, card.inputs.rows, text=True)
    table("", card.outputs.columns, card.outputs.rows, text=True)
    show_errors(card.errors)
    if card.checks:
        rows = ([f"{check.number} {check.title}", number(worst(check)), verdict(check)] for check in card.checks)
        table("", CHECK_COLUMNS, rows, text=True)
    if card.gate:
        show_gate(card.gate)
    for part in card.details:
        table("", part.columns, part.rows, text=True)
    if card.reference:
        say(f"reference: {card.reference}")
    say(f"signatures: {card.signatures}")
    say(f"created {card.created}, {card.digest}")


def show_gate(gate: TextTable) -> None:
    """Print what the gate said when the package was exported."""
    table(gate.title, gate.columns, gate.rows)
    if gate.note:
        say(gate.note)


def show_errors(errors: TextTable | None) -> None:
    """Print the errors of the trained function, if the card has them."""
    if errors is None:
        say("errors of the trained function: unknown")
    else:
        table(errors.title, errors.columns, errors.rows)
        if errors.note:
            say(errors.note)
