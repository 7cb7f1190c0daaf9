"""All pictures of a fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gradwire._errors import PackageError
from gradwire_training._report import Comparison
from gradwire_training._report.figures.curve import curve_pictures, is_curve
from gradwire_training._report.figures.learning import learning_picture
from gradwire_training._report.figures.parity import parity_pictures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gradwire_training._fit import Result
    from gradwire_training._report.figures.figure import Picture


def draw(result: Result, *, to: str | Path) -> list[Path]:
    """Draws a fit.

    A fit of one number by one number gets ``value.png`` (fit against truth), ``derivative.png`` (the same of the
    derivative) and ``error.png`` (the error of both, logarithmic); any other ``values.png`` and
    ``derivatives.png`` (what the model gives against the truth, tensor by tensor, and the errors). Both get
    ``history.png`` (loss and mean absolute error by step). The truth is the problem's, the rows that were held
    out, or the samples, as in ``Result.errors``.

    Args:
        result: of a fit.
        to: the directory; it is made, and pictures in it are overwritten.

    Returns:
        The pictures.

    Raises:
        PackageError: the directory cannot be written.
    """
    return save(pictures_of(result, Comparison.of(result)), to)


def pictures_of(result: Result, comparison: Comparison) -> list[Picture]:
    """Draws a fit, without writing anything (see ``draw``)."""
    answers = curve_pictures(result) if is_curve(result) else parity_pictures(comparison)
    return [*answers, learning_picture(result)]


def save(pictures: Sequence[Picture], to: str | Path) -> list[Path]:
    """Writes pictures into a directory.

    Raises:
        PackageError: the directory cannot be written.
    """
    to = Path(to)
    try:
        to.mkdir(parents=True, exist_ok=True)
        return [picture.save(to) for picture in pictures]
    except OSError as error:
        raise PackageError(f"cannot write pictures to {to}: {error.strerror}; give another place") from error
