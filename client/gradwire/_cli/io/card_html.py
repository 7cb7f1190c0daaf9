"""A card as a page: one HTML file that needs nothing else. What is on a card may come from a stranger."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, final

from gradwire._extras import import_extra
from gradwire._verify import CHECKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradwire._package import Card, CardTensor

TEMPLATE: Final = "card.html.jinja"
_LONGEST: Final = 400  # characters of one entry: a card may be of any size


@final
@dataclass(frozen=True, slots=True)
class CheckLine:
    """One check as the card keeps it.

    Attributes:
        title: in words.
        verdict: ``ok``, ``WRONG`` or ``skipped``.
        worst: the largest of its findings, in units of what is allowed; None where nothing was measured.
        findings: ``(subject, worst, verdict, note)`` each.
    """

    title: str
    verdict: str
    worst: float | None
    findings: tuple[tuple[str, float | None, str, str], ...]

    @property
    def percent(self) -> int:
        """Of what is allowed, at most 100: a bar's length."""
        return 0 if self.worst is None else max(0, min(100, round(100 * min(self.worst, 1.0))))


def card_page(card: Card) -> str:
    """Renders a card.

    Args:
        card: of any origin: every text on it is escaped, and characters that do not print are replaced.

    Returns:
        An HTML document without scripts or outside references, light or dark as the reader's system is.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = import_extra("jinja2", "html")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string(resources.files("gradwire._cli.io").joinpath(TEMPLATE).read_text("utf-8"))
    return template.render(
        card=card,
        inputs=[_input(tensor) for tensor in card.inputs],
        outputs=[_output(card, tensor) for tensor in card.outputs],
        errors=_errors(card),
        against=_short((card.errors or {}).get("against", "the truth")),
        checks=check_lines(card),
        reference=reference_line(card),
        parts=[
            (title, _flat(part)) for title, part in (("Trained", card.trained), ("Versions", card.versions)) if part
        ],
    )


def check_lines(card: Card) -> tuple[CheckLine, ...]:
    """Read the checks of ``verify`` off a card; what is not of their form is left out."""
    lines: list[CheckLine] = []
    checks = _dict(card.checks)
    for kind in CHECKS:
        entry = _dict(checks.get(kind.name))
        if not entry:
            continue
        items = entry.get("findings")
        each: list[Any] = [*items] if isinstance(items, list) else []
        findings = tuple(_finding(_dict(item)) for item in each if isinstance(item, dict))
        worst = max((value for _, value, _, _ in findings if value is not None), default=None)
        verdict = "skipped" if entry.get("skipped") else "ok" if entry.get("passed") is True else "WRONG"
        lines.append(CheckLine(kind.title, verdict, worst, findings))
    return tuple(lines)


def reference_line(card: Card) -> str:
    """Says in a line what a card's reference points are; empty where it has none."""
    found = _dict(card.reference)
    if not found:
        return ""
    line = (
        f"{_short(found.get('points', 'some'))} points, by {_short(found.get('method', 'a way that it does not tell'))}"
    )
    away = [_dict(entry).get("relative") for entry in _dict(found.get("differences")).values()]
    known = [float(value) for value in away if isinstance(value, (int, float))]
    return f"{line}, within {max(known):.2g} of differences of f" if known else line


def _dict(value: Any) -> dict[str, Any]:
    """What is no dict, on a card that may come from anywhere, counts as an empty one."""
    return {**value} if isinstance(value, dict) else {}


def _finding(item: Mapping[str, Any]) -> tuple[str, float | None, str, str]:
    worst = item.get("worst")
    value = float(worst) if isinstance(worst, (int, float)) and not isinstance(worst, bool) else None
    passed = item.get("passed") is True
    if value is None and not passed:
        value = math.inf  # JSON has no infinity: a card keeps null
    verdict = "WRONG" if not passed else "ok" if value is not None else "-"
    return _short(item.get("subject", "")), value, verdict, _short(item.get("note", ""))


def _input(tensor: CardTensor) -> tuple[str, ...]:
    bounds = tensor.domain
    domain = "unknown" if bounds is None else f"{_bound(bounds.lower)} to {_bound(bounds.upper)}"
    return tensor.name, tensor.dtype, _row(tensor), tensor.unit or "-", domain


def _output(card: Card, tensor: CardTensor) -> tuple[str, ...]:
    derivatives = ", ".join(f"{name} by {wrt}" for wrt, name in card.derivatives.get(tensor.name, {}).items())
    return tensor.name, tensor.dtype, _row(tensor), tensor.unit or "-", derivatives


def _row(tensor: CardTensor) -> str:
    return ", ".join(str(size) for size in tensor.shape) or "1"


def _bound(value: Any) -> str:
    flat: list[Any] = [*value] if isinstance(value, list) else [value]
    return _short(flat[0] if len(flat) == 1 else value)


def _errors(card: Card) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The measures, and a row a tensor."""
    entries: dict[str, dict[str, Any]] = {
        name: entry for name, entry in (card.errors or {}).items() if isinstance(entry, dict)
    }
    measures = tuple(dict.fromkeys(measure for entry in entries.values() for measure in entry))
    return measures, [(name, *(_short(entry.get(measure)) for measure in measures)) for name, entry in entries.items()]


def _flat(entries: Any, prefix: str = "") -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for key, value in dict[str, Any](entries).items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{key}.")
        elif value is not None:
            lines.append((f"{prefix}{key}", _short(value)))
    return lines


def _short(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else "-" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _printable(value: Any) -> Any:
    """Replaces what would change the reader's view without being seen: control characters, turns of direction."""
    if not isinstance(value, str):
        return value
    kept = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value)
    return type(value)(kept)  # what is marked as safe stays so
