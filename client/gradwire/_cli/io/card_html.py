"""A card as one self-contained HTML file. The card may come from a stranger: everything on it is escaped."""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

from gradwire._cli.io.card_view import CardView, verdict, worst
from gradwire._errors import printable
from gradwire._extras import import_extra
from gradwire._package import Card
from gradwire._verify import Check

TEMPLATE: Final = "card.html.jinja"


def card_page(card: Card) -> str:
    """Render a card as an HTML document without scripts or external references, in the reader's light or dark scheme.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = import_extra("jinja2", "html")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_printable, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(resources.files("gradwire._cli.io").joinpath(TEMPLATE).read_text("utf-8"))
    return template.render(card=CardView.of(card), verdict=verdict, worst=worst, percent=_percent)


def _percent(check: Check) -> int:
    """The worst finding in percent of what is allowed, at most 100: the length of a bar."""
    return max(0, min(100, round(100 * min(worst(check) or 0.0, 1.0))))


def _printable(value: Any) -> Any:
    """Replace characters that act on the page unseen, such as changes of direction; markup stays marked as such."""
    return type(value)(printable(value)) if isinstance(value, str) else value
