"""Points outside of the domain that the samples covered, as the card has it: predictions there are guesses."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import ExtrapolationError, ExtrapolationWarning, UsageError
from gradwire._model.info import PackageInfo
from gradwire._model.trust import InputDomain, Trust, shown
from gradwire._package import UNCERTAINTY

Extrapolation: TypeAlias = Literal["ignore", "warn", "raise"]
EXTRAPOLATIONS: Final = ("ignore", "warn", "raise")


@final
class ExtrapolationPolicy:
    """Checks points before they are sent.

    Args:
        package: whose card has the domain; it is fetched only where something is to be done.
        action: what to do about points outside.

    Raises:
        UsageError: something is to be done, and the card has no domain.
        SignatureNotFound: something is to be done, and the package has no card.
    """

    def __init__(self, package: PackageInfo, action: Extrapolation) -> None:
        self._action = action
        self._domains: Mapping[str, InputDomain] = {}
        if action != "ignore":
            self._domains = package.domains
            if not self._domains and UNCERTAINTY not in package.signatures:
                raise UsageError(
                    f"the card of {package.address} has no domain, so on_extrapolation={action!r} has nothing to compare with: "
                    "export it with one, or leave it out"
                )

    @property
    def acts(self) -> bool:
        """Whether something is to be done about points outside, or far from the samples."""
        return self._action != "ignore"

    def check_bars(self, trust: Trust, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Check the error bars at the rows of a call.

        Args:
            trust: up to which bars rows are trusted.
            arrays: the bars of the outputs, ``(rows, *output)``.

        Raises:
            ExtrapolationError: a row is far from the samples, and that is not allowed.
        """
        excess = trust.excess(arrays)
        if (far := excess > 1).any():
            self._tell(
                f"{int(far.sum())} of {len(far)} points are far from the samples: their error bars are up to "
                f"{excess.max():.3g} times the largest that is trusted; the first is point {int(far.argmax())}"
            )

    def check(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Check the rows of a call. NaN lies outside of every domain.

        Args:
            rows: by input name, ``(batch, *row)``.

        Raises:
            ExtrapolationError: a row is outside, and that is not allowed.
        """
        for name, domain in self._domains.items():
            if name in rows and (outside := domain.outside(rows[name])).any():
                first = int(outside.argmax())
                self._tell(
                    f"input {name!r}: {int(outside.sum())} of {len(outside)} points lie outside of the domain that the samples "
                    f"covered, {domain}; the first is point {first}, {shown(rows[name][first])}: the prediction there is a guess"
                )

    def _tell(self, text: str) -> None:
        if self._action == "raise":
            raise ExtrapolationError(text)
        warnings.warn(text, ExtrapolationWarning, stacklevel=_level())


def outside_of(package: PackageInfo, rows: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Return which rows lie outside of the domain on a package's card, ``(rows,)``; none where it is unknown.

    Args:
        package: whose card has the domain.
        rows: the inputs by name, ``(rows, *row)``; those that are not there are inside.
    """
    outside = np.zeros(len(next(iter(rows.values()))), bool)
    for name, domain in package.domains.items():
        if name in rows:
            outside |= domain.outside(rows[name])
    return outside


def trusted(
    package: PackageInfo, rows: Mapping[str, NDArray[Any]], bars: Mapping[str, NDArray[Any]]
) -> NDArray[np.bool_]:
    """Return which rows lie inside of the domain and have error bars as at the samples, ``(rows,)``.

    Atoms without error bars are trusted where their distances are inside of those that the samples covered.

    Args:
        package: whose card says it.
        rows: every input by name, ``(rows, *row)``.
        bars: the error bars of the outputs by tensor, ``(rows, *output)``, and perhaps others.

    Raises:
        PackageError: the card does not say which bars are trusted.
    """
    inside = ~outside_of(package, rows)
    return inside if package.is_trusted_by_distances else inside & (package.trust.excess(bars) <= 1)


def _level() -> int:
    """The stack level, as ``warnings`` counts it from the caller of this, of the first line that is not Gradwire's."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("gradwire."):
        frame, level = frame.f_back, level + 1
    return level
