"""The page about a fit: one file with everything in it, for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gradwire._errors import PackageError
from gradwire_training._fit import record
from gradwire_training._report.comparison import Comparison
from gradwire_training._report.figures import pictures_of, save
from gradwire_training._report.summary import Summary, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gradwire_training._fit import Result

PAGE: Final = "report.html"
TEMPLATE: Final = "report.html.jinja"
DASH: Final = "-"  # for what is not known
MOST_BOUNDS: Final = 3  # of one row, in a cell of a table


@final
@dataclass(frozen=True, slots=True)
class Report:
    """What ``report`` wrote.

    Attributes:
        page: ``report.html``.
        pictures: the PNG files beside it.
        summary: the numbers on the page.
    """

    page: Path
    pictures: tuple[Path, ...]
    summary: Summary


def report(result: Result, *, to: str | Path) -> Report:
    """Draws a fit and writes a page about it: errors, the optimiser's story, pictures, and what was fitted.

    The page is one file that needs nothing else: pictures are inside it, it has no script, and it asks no server
    for anything. It is readable on light and dark screens, and escapes every name.

    Args:
        result: of a fit.
        to: the directory; it is made, and a page and pictures in it are overwritten.

    Returns:
        The files, and the numbers.

    Raises:
        PackageError: the directory cannot be written.
    """
    to = Path(to)
    comparison = Comparison.of(result)
    summary = summarize(result, comparison)
    pictures = pictures_of(result, comparison)
    files = save(pictures, to)
    facts = record(result, to.name)
    page = render(
        TEMPLATE,
        {
            "facts": facts,
            "summary": summary,
            "pictures": [(Markup(picture.svg()), picture.caption) for picture in pictures],  # noqa: S704 - drawn here
            "settings": list(_settings(facts["trained"])),
            "directory": str(to),
        },
    )
    try:
        (to / PAGE).write_text(page, encoding="utf-8")
    except OSError as error:
        raise PackageError(f"cannot write {to / PAGE}: {error.strerror}; give another place") from error
    return Report(page=to / PAGE, pictures=tuple(files), summary=summary)


def render(template: str, content: Mapping[str, Any]) -> str:
    """Fills a template of this folder; every text in the content is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["domain"] = _domain
    return environment.get_template(template).render(**content)


def _number(value: Any) -> str:
    """Three significant digits; a dash for what is not known."""
    if value is None:
        return DASH
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _domain(domain: Mapping[str, Any] | None) -> str:
    """The bounds of each number of a row; of many numbers, those of all together."""
    if domain is None:
        return DASH
    lower, upper = (np.ravel(domain[end]) for end in ("lower", "upper"))
    if lower.size > MOST_BOUNDS:
        return f"{lower.min():.6g} to {upper.max():.6g}, {lower.size} numbers"
    return ", ".join(f"{low:.6g} to {high:.6g}" for low, high in zip(lower, upper, strict=True))


def _settings(trained: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Gives the small facts of a record as lines: what was asked for, and of what."""
    for group in ("samples", "loss", "optimizer"):
        yield group, ", ".join(_words(trained[group]))
    for key in ("seed", "dtype", "training_dtype", "steps_asked", "status", "final_loss"):
        yield key.replace("_", " "), _number(trained[key])
    yield "versions", ", ".join(f"{name} {version}" for name, version in trained["versions"].items())


def _words(entries: Mapping[str, Any]) -> Iterator[str]:
    for key, value in entries.items():
        if key == "name":
            yield str(value)
        elif value is not None and key != "file":
            yield f"{key.replace('_', ' ')} {_number(value)}"
