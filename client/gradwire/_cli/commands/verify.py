"""``gradwire verify``: are the derivatives those of the values, and does whatever answers keep what the card says?"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import typer

from gradwire._cli.choices import Report
from gradwire._cli.commands.card import show_errors
from gradwire._cli.console import number, say, table
from gradwire._cli.io import open_model, read_domain
from gradwire._errors import CheckFailed
from gradwire._package import strict_json
from gradwire._verify import DEFAULT_POINTS, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradwire._verify import Check, DerivativeCheck, Verification

NAME: Final = "verify"
SHOWN_STEPS: Final = 6  # enough to see the law by eye
COLUMNS: Final = ("check", "worst, of what is allowed", "", "note")


def command(
    target: Annotated[str, typer.Argument(help="An address, such as localhost:8500; or a package's directory.")],
    name: Annotated[str | None, typer.Argument(help="The model's name at the address.")] = None,
    domain: Annotated[list[str] | None, typer.Option(help="NAME=LOWER:UPPER; the card's by default.")] = None,
    points: Annotated[int, typer.Option(min=1, help="Number of random points.")] = DEFAULT_POINTS,
    seed: Annotated[int, typer.Option(help="Of the points and directions.")] = 0,
    format: Annotated[Report, typer.Option(help="How to print what was found.")] = Report.TABLE,  # noqa: A002 - the option's name
    details: Annotated[bool, typer.Option("--details", help="Show every finding, not the worst alone.")] = False,
    remainders: Annotated[
        bool, typer.Option("--remainders", help="Show how the remainder of each derivative falls.")
    ] = False,
) -> None:
    """Prove that derivatives are those of the values; the exit code is 1 if a check fails.

    Derivatives vs finite differences; jvp, vjp, hvp and hessian vs one another; float64 reference points; each row by
    itself; NaN in, NaN out; kinks. docs/verification.md says how.

    Example: [bold]gradwire verify localhost:8500 log[/bold]   or   [bold]gradwire verify models/log[/bold]
    """
    with open_model(target, name) as model:
        found = verify(model, domain=read_domain(domain or []) or None, points=points, seed=seed)
        card = model.card
    if format is Report.JSON:
        say(strict_json(_plain(found)).rstrip())
    else:
        if remainders:
            for check in found.derivatives:
                _show_remainders(check)
        rows = [row for check in found.checks for row in _rows(check, details)]
        table(f"{card.name}: {points} points, seed {seed}", COLUMNS, rows, text=True)
        show_errors(card)
    if not found.passed:
        raise CheckFailed(
            f"{'; '.join(found.failures)}: not what it should be, by the table above; export the model again, or serve "
            "the package that its card describes (docs/verification.md)"
        )
    if format is Report.TABLE:
        say("all checks passed: the derivatives are those of the values")


def _rows(check: Check, details: bool) -> Iterator[list[str]]:
    """A line for the check, and one for each finding that is asked for or wrong."""
    title = f"{check.number} {check.title}"
    if check.skipped:
        yield [title, "", "skipped", check.skipped]
        return
    yield [
        title,
        number(_worst(check)),
        "ok" if check.passed else "WRONG",
        "" if details else _summary(check),
    ]
    for finding in check.findings:
        if details or not finding.passed:
            verdict = "WRONG" if not finding.passed else "ok" if finding.worst is not None else "-"
            yield [f"  {finding.subject}", number(finding.worst), verdict, finding.note]


def _worst(check: Check) -> float | None:
    return max((finding.worst for finding in check.findings if finding.worst is not None), default=None)


def _summary(check: Check) -> str:
    """The remarks of a check that has them; otherwise what was worst."""
    remarks = [f"{finding.subject}: {finding.note}" for finding in check.findings if finding.worst is None]
    if remarks:
        return "; ".join(remarks)
    worst = max(check.findings, key=lambda finding: finding.worst or 0.0)
    return f"of {len(check.findings)} the worst: {worst.subject}" + (f": {worst.note}" if worst.note else "")


def _plain(found: Verification) -> dict[str, Any]:
    domain = {name: [np.asarray(bound).tolist() for bound in box] for name, box in found.domain.items()}
    about = {"passed": found.passed, "points": found.points, "seed": found.seed, "domain": domain}
    return about | {"checks": found.to_dict()}


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
