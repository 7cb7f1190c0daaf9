"""The page about a fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from markupsafe import Markup

from gradwire._pages import number_text, write_page
from gradwire_training._fit import Result, record_of
from gradwire_training._report.figures import plots_of, save
from gradwire_training._report.summary import Summary, summarize

PAGE: Final = "report.html"
TEMPLATE: Final = Path(__file__).with_name("report.html.jinja")


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
    """Plot a fit and write a page about it: errors, the optimisers at work, plots, and what was fitted.

    The page is one file that needs nothing else: plots are inside it, it has no script, and it requests nothing from a
    server. It is readable on light and dark screens, and escapes every name.

    Args:
        result: of a fit.
        to: the directory; it is made, and a page and plots in it are overwritten.

    Returns:
        The files, and the numbers.

    Raises:
        PackageError: the directory cannot be written.
    """
    to = Path(to)
    summary, plots = summarize(result), plots_of(result)
    files = save(plots, to)
    facts = record_of(result, to.name)
    content = {
        "facts": facts,
        "summary": summary,
        "plots": [(Markup(plot.svg()), plot.caption) for plot in plots],  # noqa: S704 - drawn here
        "settings": list(_settings(facts["trained"])),
        "directory": str(to),
    }
    return Report(page=write_page(to / PAGE, TEMPLATE, content), pictures=tuple(files), summary=summary)


def _settings(trained: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield how the fit was set up, and with which software, as lines of a list."""
    for group in ("samples", "loss", "optimizer"):
        yield group, ", ".join(_words(trained[group]))
    for key in ("seed", "dtype", "training_dtype", "steps_asked", "status", "final_loss"):
        yield key.replace("_", " "), number_text(trained[key])
    yield "versions", ", ".join(f"{name} {version}" for name, version in trained["versions"].items())


def _words(entries: Mapping[str, Any]) -> Iterator[str]:
    for key, value in entries.items():
        if key == "name":
            yield str(value)
        elif value is not None and key != "file":
            yield f"{key.replace('_', ' ')} {number_text(value)}"
