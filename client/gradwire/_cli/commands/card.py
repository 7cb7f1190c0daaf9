"""``gradwire card``: what a package says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gradwire._cli.console import number, say, table
from gradwire._cli.io import card_page, check_lines, open_model, reference_line
from gradwire._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gradwire._package import Card, CardTensor

NAME: Final = "card"


def command(
    target: Annotated[str, typer.Argument(help="An address, such as localhost:8500; or a package's directory.")],
    name: Annotated[str | None, typer.Argument(help="The model's name at the address.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the card as it is stored.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the card as a page that needs nothing else.")
    ] = None,
) -> None:
    """Show a model's card: inputs, domain, units, errors, checks.

    Example: [bold]gradwire card localhost:8500 log[/bold]   or   [bold]gradwire card models/log[/bold]
    """
    with open_model(target, name) as model:
        card = model.card
    if html is not None:
        _write_page(html, card)
    elif json:
        say(card.to_json().rstrip())
    else:
        show_card(card)


def _write_page(path: Path, card: Card) -> None:
    page = card_page(card)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; choose another file") from error
    say(str(path))


def show_card(card: Card) -> None:
    """Prints a card as tables."""
    of_inputs = ("input", "dtype", "a row", "unit", "domain")
    of_outputs = ("output", "dtype", "a row", "unit", "derivatives")
    table(card.name, of_inputs, (_input_row(tensor) for tensor in card.inputs), text=True)
    table("", of_outputs, (_output_row(card, tensor) for tensor in card.outputs), text=True)
    show_errors(card)
    if checks := check_lines(card):
        columns = ("check", "worst, of what is allowed", "")
        table("", columns, ([line.title, number(line.worst), line.verdict] for line in checks), text=True)
    for title, entries in (("trained", card.trained), ("versions", card.versions)):
        if entries:
            table("", (title, ""), _flat(entries), text=True)
    if about := reference_line(card):
        say(f"reference: {about}")
    say(f"signatures: {', '.join(card.signatures)}")
    say(f"created {card.created}, {card.digest}")


def show_errors(card: Card) -> None:
    """Prints the errors of the trained function against the truth, if the card has them."""
    if not card.errors:
        say("errors against the truth: not known")
        return
    tensors: dict[str, dict[str, Any]] = {name: entry for name, entry in card.errors.items() if isinstance(entry, dict)}
    measures = list(dict.fromkeys(measure for entry in tensors.values() for measure in entry))
    rows = ([name, *(_measure(entry.get(measure)) for measure in measures)] for name, entry in tensors.items())
    table(f"trained function against {card.errors.get('against', 'the truth')}", ("error of", *measures), rows)


def _measure(value: Any) -> str:
    return number(value) if isinstance(value, (int, float)) else "-"


def _input_row(tensor: CardTensor) -> list[str]:
    domain = "unknown" if tensor.domain is None else f"{tensor.domain.lower} to {tensor.domain.upper}"
    return [tensor.name, tensor.dtype, str(list(tensor.shape)), tensor.unit or "-", domain]


def _output_row(card: Card, tensor: CardTensor) -> list[str]:
    derivatives = ", ".join(card.derivatives.get(tensor.name, {}).values())
    return [tensor.name, tensor.dtype, str(list(tensor.shape)), tensor.unit or "-", derivatives]


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType] - JSON is untyped
        elif value is not None and not _is_list_of_records(value):
            yield f"{prefix}{key}", number(value) if isinstance(value, float) else str(value)


def _is_list_of_records(value: Any) -> bool:
    """Whether it is too deep for a table of keys and values; --json shows it."""
    entries: list[Any] = [*value] if isinstance(value, list) else []
    return any(isinstance(entry, dict) for entry in entries)
