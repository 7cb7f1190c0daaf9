"""Pages: one HTML file each, with everything in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from gradwire._errors import PackageError
from gradwire._extras import import_extra

EXTRA: Final = "html"
DASH: Final = "-"  # for what is not known
MOST_BOUNDS: Final = 3  # of one row, in a cell of a table


def write_page(path: Path, template: Path, content: Mapping[str, Any]) -> Path:
    """Fill a template, which may extend ``page.html.jinja`` of this folder, and write it; every text is escaped.

    Raises:
        MissingExtra: jinja2 is not installed.
        PackageError: the page cannot be written.
    """
    jinja2 = import_extra("jinja2", EXTRA)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number_text, "domain": _domain_text}
    page = environment.get_template(template.name).render(**content)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise PackageError(f"cannot write {path}: {error.strerror}; give another place") from error
    return path


def number_text(value: Any) -> str:
    """Return three significant digits; a dash for what is not known."""
    if value is None:
        return DASH
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _domain_text(domain: Mapping[str, Any] | None) -> str:
    """Return the bounds of each element of a row; of many elements, those of all together."""
    if domain is None:
        return DASH
    lower, upper = (np.ravel(domain[end]) for end in ("lower", "upper"))
    if lower.size > MOST_BOUNDS:
        return f"{lower.min():.6g} to {upper.max():.6g}, {lower.size} elements"
    return ", ".join(f"{low:.6g} to {high:.6g}" for low, high in zip(lower, upper, strict=True))
