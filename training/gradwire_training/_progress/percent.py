"""Fractions as people read them."""

from __future__ import annotations


def percent(fraction: float) -> str:
    """Format a fraction to two digits: ``1.2 %``, ``160 %``."""
    number = float(f"{100 * fraction:.2g}")
    return f"{number:.0f} %" if number >= 10 else f"{number:g} %"  # noqa: PLR2004 - two digits
