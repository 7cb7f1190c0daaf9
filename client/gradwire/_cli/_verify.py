"""``gradwire verify``: are the derivatives those of the values?"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gradwire._cli._arguments import open_model, read_domain
from gradwire._cli._card import show_errors
from gradwire._cli._console import number, say, table
from gradwire._errors import CheckFailed
from gradwire._verify import DEFAULT_POINTS, verify

if TYPE_CHECKING:
    from gradwire._verify import DerivativeCheck

NAME: Final = "verify"
SHOWN_STEPS: Final = 6  # enough to see the law by eye


def command(
    target: Annotated[
        str, typer.Argument(help="An address, such as localhost:8500; or a package's directory.")
    ],
    name: Annotated[str | None, typer.Argument(help="The model's name at the address.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="NAME=LOWER:UPPER; the card's by default.")] = None,
    points: Annotated[int, typer.Option(min=1, help="Number of random points.")] = DEFAULT_POINTS,
    seed: Annotated[int, typer.Option(help="Of the points and directions.")] = 0,
) -> None:
    """Check derivatives by a Taylor test; the exit code is 1 if they are wrong.

    Example: [bold]gradwire verify localhost:8500 log[/bold]   or   [bold]gradwire verify models/log[/bold]
    """
    with open_model(target, name) as model:
        found = verify(model, domain=read_domain(domain or []) or None, points=points, seed=seed)
        card = model.card
    for check in found.checks:
        _show_remainders(check)
    columns = ("wiring", "points", "slope (2 is right)", "df against differences (1 allowed)", "")
    table("", columns, ([*_summary(check), "ok" if check.passed else "WRONG"] for check in found.checks))
    show_errors(card)
    wrong = [check.tensor for check in found.checks if not check.passed]
    if wrong:
        raise CheckFailed(
            f"{', '.join(wrong)}: not the derivative of the values; expected a remainder that falls as h² and agreement "
            "with differences; export the model again, or look for a kink in the domain"
        )
    say("the derivatives are those of the values")


def _show_remainders(check: DerivativeCheck) -> None:
    rows = list(zip(check.steps, check.remainders, strict=True))[:SHOWN_STEPS]
    title = f"|f(x + hv) - f(x) - h {check.tensor} v|, median of {check.points} points"
    ratios = [
        "",
        *(number(before / after) if after else "" for (_, before), (_, after) in itertools.pairwise(rows)),
    ]
    table(
        title,
        ("h", "remainder", "falls by (4 is right)"),
        [(number(h), number(r), q) for (h, r), q in zip(rows, ratios, strict=True)],
    )


def _summary(check: DerivativeCheck) -> list[str]:
    slope = "all rounding" if check.slope is None else f"{check.slope:.2f}"
    return [
        f"{check.tensor} of {check.output} by {check.input}",
        str(check.points),
        slope,
        number(check.disagreement),
    ]
