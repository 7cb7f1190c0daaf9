"""An evaluation as one self-contained HTML file: its tables and a parity plot of every tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gradwire._cli.console import printable
from gradwire._cli.evaluate.tables import parts_of
from gradwire._evaluate import Evaluation, TensorErrors
from gradwire._extras import import_extra
from gradwire._package import COVERAGE
from gradwire._pages import DERIVATIVE_COLOR, VALUE_COLOR, Parity, Plot, parity_figure, write_page

TEMPLATE: Final = Path(__file__).with_name("evaluation.html.jinja")


def evaluation_page(path: Path, evaluation: Evaluation, *, target: str, baseline: str = "") -> None:
    """Write the page.

    Args:
        path: of the file.
        evaluation: the errors.
        target: the package or the server.
        baseline: the other package, if any.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
        PackageError: the file cannot be written.
    """
    markup = import_extra("markupsafe", "html").Markup
    content = {
        "evaluation": evaluation,
        "target": printable(target),
        "baseline": printable(baseline),
        "parts": parts_of(evaluation),
        "coverage": COVERAGE,
        "plots": [(markup(plot.svg()), plot.caption) for plot in _plots(evaluation.tensors)],
    }
    write_page(path, TEMPLATE, content)


def _plots(tensors: Sequence[TensorErrors]) -> list[Plot]:
    groups: list[tuple[str, list[TensorErrors], str]] = [
        ("values", [each for each in tensors if not each.input], VALUE_COLOR),
        ("derivatives", [each for each in tensors if each.input], DERIVATIVE_COLOR),
    ]
    caption = "{} of the model against the labels; below, the errors. On the grey line both are equal."
    return [
        Plot(name, caption.format(name.capitalize()), parity_figure(list(map(_parity, group)), color, "label"))
        for name, group, color in groups
        if group
    ]


def _parity(each: TensorErrors) -> Parity:
    errors: Any = each.all
    return Parity(
        printable(each.name), each.unit, each.points[0], each.points[1], errors.max, errors.rmse, each.relative(errors)
    )
