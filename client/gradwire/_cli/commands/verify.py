"""``gradwire verify``: are the derivatives those of the values, and does the model match its card?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Final

import numpy as np
import typer
from numpy.typing import NDArray

from gradwire._cli.arguments import DecimalMark, DomainOption, ModelName, ReportFormat, Target, expand_options
from gradwire._cli.choices import Report
from gradwire._cli.commands.card import CHECK_COLUMNS, show_errors
from gradwire._cli.console import number, say, table
from gradwire._cli.io import BLOCK, Connection, error_table, open_model, read_blocks, read_domain, verdict, worst
from gradwire._errors import CheckFailed, DataError
from gradwire._model import Model, package_of
from gradwire._package import SERVING_DEFAULT, strict_json
from gradwire._verify import DEFAULT_POINTS, Check, DerivativeCheck, Verification, verify

NAME: Final = "verify"
SHOWN_STEPS: Final = 6  # enough to see the order by eye


@expand_options
def command(
    target: Target,
    connection: Connection,
    name: ModelName = None,
    domain: DomainOption = None,
    points: Annotated[int, typer.Option(min=1, help="Number of points.")] = DEFAULT_POINTS,
    rows: Annotated[
        str | None,
        typer.Option(
            help="File whose rows are checked instead of random points; --points of them if there are more.",
            show_default=False,
        ),
    ] = None,
    decimal: DecimalMark = ".",
    seed: Annotated[int, typer.Option(help="Seed of the random points and directions.")] = 0,
    format: ReportFormat = Report.TABLE,  # noqa: A002 - the option's name
    details: Annotated[bool, typer.Option("--details", help="Show every finding, not only the worst.")] = False,
    remainders: Annotated[
        bool, typer.Option("--remainders", help="Show how the Taylor remainder of each derivative falls.")
    ] = False,
) -> None:
    """Check that the derivatives are right; the exit code is 1 if a check fails.

    The checks compare derivatives with finite differences, signatures with one another, and served values with float64
    reference points; each row must be independent of the others, and NaN must propagate. Kinks are reported only.

    Example: [bold]gradwire verify localhost:8500 log[/bold]   or   [bold]gradwire verify models/log[/bold]

    Example: [bold]gradwire verify models/price --rows book.parquet --points 256[/bold]
    """
    with open_model(target, name, connection=connection, pinned=True) as model:
        card = model.card
        columns = None if rows is None else _read_rows(rows, model, decimal)
        verification = verify(model, domain=read_domain(domain) or None, points=points, seed=seed, rows=columns)
    if format is Report.JSON:
        say(strict_json(_json(verification, model)).rstrip())
    else:
        if remainders:
            for check in verification.derivatives:
                _show_remainders(check)
        say(f"{package_of(model).address}, {card.digest or 'without a digest'}")
        lines = [line for check in verification.checks for line in _lines(check, details)]
        table(f"{card.name}: {verification.points} points, seed {seed}", (*CHECK_COLUMNS, "note"), lines, text=True)
        show_errors(error_table(card))
    if not verification.passed:
        raise CheckFailed(
            f"{'; '.join(verification.failures)}: not as it should be, see the table above; export the model again, or "
            "serve the package that its card describes (docs/verification.md)"
        )
    if format is Report.TABLE:
        say("all checks passed: the derivatives are those of the values")


def _read_rows(file: str, model: Model, decimal: str) -> dict[str, NDArray[Any]]:
    specs = model.signatures[SERVING_DEFAULT].inputs
    blocks = list(read_blocks(f"@{file}", specs, specs, BLOCK, decimal=decimal))
    if not blocks:
        raise DataError(f"{file} has no rows: give some, or leave --rows out")
    return {name: np.concatenate([block[name] for block in blocks]) for name in specs}


def _lines(check: Check, details: bool) -> Iterator[list[str]]:
    """Yield a line for the check, and one for each finding that is wrong or asked for."""
    note = "" if details and not check.skipped else _summary(check)
    yield [f"{check.number} {check.title}", number(worst(check)), verdict(check), note]
    for finding in check.findings:
        if details or not finding.passed:
            yield [f"  {finding.subject}", number(finding.worst), verdict(finding), finding.note]


def _summary(check: Check) -> str:
    """Why the check was skipped, its remarks, or its worst finding."""
    remarks = [f"{finding.subject}: {finding.note}" for finding in check.findings if finding.worst is None]
    if check.skipped or remarks or not check.findings:
        return check.skipped or "; ".join(remarks)
    finding = max(check.findings, key=lambda finding: finding.worst or 0.0)
    return f"worst of {len(check.findings)}: {finding.subject}" + (f": {finding.note}" if finding.note else "")


def _json(verification: Verification, model: Model) -> dict[str, Any]:
    domain = {name: [np.asarray(bound).tolist() for bound in box] for name, box in verification.domain.items()}
    which = {"model": model.card.name, "version": model.version, "digest": model.card.digest}
    about = {"passed": verification.passed, "points": verification.points, "seed": verification.seed, "domain": domain}
    return which | about | {"checks": verification.to_dict()}


def _show_remainders(check: DerivativeCheck) -> None:
    rows = list(zip(check.steps, check.remainders, strict=True))[:SHOWN_STEPS]
    ratios = ["", *(number(before / after) if after else "" for (_, before), (_, after) in itertools.pairwise(rows))]
    table(
        f"|f(x + hv) - f(x) - h {check.tensor} v|, median of {check.points} points",
        ("h", "remainder", "ratio (expected: 4)"),
        [(number(h), number(remainder), ratio) for (h, remainder), ratio in zip(rows, ratios, strict=True)],
    )
