"""Errors summed up a block at a time, so that memory stays flat however many rows there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COVERAGE: Final = 0.95  # nominal: the fraction of labels that bars of 1.96 standard deviations should hold
BAR: Final = NormalDist().inv_cdf(0.5 + COVERAGE / 2)
LEAST_ROWS: Final = 10  # of fewer, the spread of the errors is hardly known, and so is the uncertainty of a ratio
WORST_POINTS: Final = 200  # of a picture: the worst, and others at random, so that a page stays light
OTHER_POINTS: Final = 1_800


@final
@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of one tensor on some rows: prediction minus label.

    Attributes:
        labels: how many elements have a label.
        rmse: the root mean square error; None where there is no label, or a prediction is not finite.
        max: the largest absolute error; None as above.
        bias: the mean error; None as above.
        row: the row of the largest error, counted from 0; None as above.
        undefined: how many labels have a prediction that is not finite.
        covered: the fraction of labels within 1.96 standard deviations of the prediction, where the package has
            error bars; 0.95 is nominal. None where it has none.
    """

    labels: int
    rmse: float | None = None
    max: float | None = None
    bias: float | None = None
    row: int | None = None
    undefined: int = 0
    covered: float | None = None


@final
@dataclass(frozen=True, slots=True)
class ErrorRatio:
    """The rmse of one model over that of another on the same rows, and how well the rows determine it.

    Attributes:
        rmse: of the one, on the labels where both predictions are finite; None where there are none.
        baseline: of the other.
        ratio: the first over the second; infinite where the second alone is 0.
        uncertainty: standard error of the ratio's logarithm over samples of as many rows; None of fewer than 10 rows.
        undefined: how many predictions of the one are not finite where the other's are.
    """

    rmse: float | None
    baseline: float | None
    ratio: float | None
    uncertainty: float | None
    undefined: int = 0

    def limit(self, chance: float) -> float:
        """Return the ratio that two equally good models exceed by chance alone this often; 1 where that is not known.

        Args:
            chance: a probability, such as 0.05.
        """
        return 1.0 if self.uncertainty is None else math.exp(NormalDist().inv_cdf(1 - chance) * self.uncertainty)


@final
class ErrorSums:
    """The sums behind ``Errors``."""

    def __init__(self) -> None:
        self._labels = self._undefined = 0
        self._squares = self._sum = 0.0
        self._max, self._row = -1.0, 0
        self._covered: int | None = None

    def add(self, error: Floats, first_row: NDArray[np.int64], std: Floats | None) -> None:
        """Add rows.

        Args:
            error: ``(rows, elements)``; NaN where there is no label.
            first_row: the number of each of the rows.
            std: the standard deviation of each prediction, if known.
        """
        known = ~np.isnan(error)
        self._labels += int(known.sum())
        if not known.any():
            return
        self._undefined += int((known & ~np.isfinite(error)).sum())
        sizes = np.where(known & np.isfinite(error), error, 0.0)
        self._squares += float(np.sum(sizes**2))
        self._sum += float(sizes.sum())
        by_row = np.abs(sizes).max(axis=1)
        worst = int(by_row.argmax())
        if by_row[worst] > self._max:
            self._max, self._row = float(by_row[worst]), int(first_row[worst])
        if std is not None:
            self._covered = (self._covered or 0) + int((known & (np.abs(error) <= BAR * std)).sum())

    def errors(self) -> Errors:
        """Return the errors of the rows so far."""
        covered = None if self._covered is None or not self._labels else self._covered / self._labels
        if not self._labels or self._undefined:
            return Errors(self._labels, undefined=self._undefined, covered=covered)
        rmse = math.sqrt(self._squares / self._labels)
        return Errors(self._labels, rmse, self._max, self._sum / self._labels, self._row, 0, covered)


@final
class RatioSums:
    """The sums behind ``ErrorRatio``.

    With a_i and b_i the squared errors of row i, summed over its elements, the logarithm of sum a / sum b has the
    variance of sum (a_i / mean a - b_i / mean b) / n to first order (the delta method for a ratio of paired means;
    Cochran, Sampling Techniques, 1977, section 2.11). Rows are taken to be independent of one another, elements of a
    row are not; what both models err on alike, such as the noise of the labels, cancels in the difference.
    """

    def __init__(self, floor: float) -> None:
        """Take the smallest rmse that the dtype can tell from 0, in units of the labels' root mean square."""
        self._floor = floor
        self._rows = self._labels = self._undefined = 0
        self._sums = np.zeros(5)  # of a, b, a a, a b, b b
        self._label_squares = 0.0

    def add(self, error: Floats, baseline: Floats, label: Floats) -> None:
        """Add rows ``(rows, elements)``; NaN where there is no label."""
        known = ~np.isnan(label)
        finite = known & np.isfinite(error) & np.isfinite(baseline)
        self._undefined += int((known & ~np.isfinite(error) & np.isfinite(baseline)).sum())
        self._labels += int(finite.sum())
        self._label_squares += float(np.sum(np.where(finite, label, 0.0) ** 2))
        rows = finite.any(axis=1)
        a, b = (np.sum(np.where(finite, each, 0.0) ** 2, axis=1)[rows] for each in (error, baseline))
        self._rows += int(rows.sum())
        self._sums += [np.sum(a), np.sum(b), a @ a, a @ b, b @ b]

    def ratio(self) -> ErrorRatio:
        """Return the ratio on the rows so far."""
        if not self._labels:
            return ErrorRatio(None, None, None, None, self._undefined)
        a, b, aa, ab, bb = self._sums.tolist()
        rmse, baseline = math.sqrt(a / self._labels), math.sqrt(b / self._labels)
        floor = self._floor * math.sqrt(self._label_squares / self._labels)
        ratio = 1.0 if max(rmse, baseline) <= floor else rmse / baseline if baseline else math.inf
        return ErrorRatio(rmse, baseline, ratio, self._uncertainty(a, b, aa, ab, bb), self._undefined)

    def _uncertainty(self, a: float, b: float, aa: float, ab: float, bb: float) -> float | None:
        n = self._rows
        if n < LEAST_ROWS or not a or not b:
            return None
        # The mean over rows of (a_i / mean a - b_i / mean b)^2; the root's logarithm is half that of the ratio.
        variance = max(0.0, n * (aa / a**2 - 2 * ab / (a * b) + bb / b**2))
        return 0.5 * math.sqrt(variance / (n - 1))


@final
class LabelSpread:
    """The standard deviation of labels (Chan, Golub and LeVeque, 1979)."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, labels: Floats) -> None:
        """Add labels, flat."""
        if not labels.size:
            return
        mean, count = float(labels.mean()), self._count + labels.size
        away = mean - self._mean
        self._squares += float(np.sum((labels - mean) ** 2)) + away**2 * self._count * labels.size / count
        self._mean += away * labels.size / count
        self._count = count

    def value(self) -> float:
        """Return it; 0 of no labels."""
        return math.sqrt(self._squares / self._count) if self._count else 0.0


@final
class PointSample:
    """Some of the pairs of label and prediction, for a picture: the worst, and others at random."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._worst, self._others = np.zeros((3, 0)), np.zeros((3, 0))

    def add(self, label: Floats, predicted: Floats) -> None:
        """Add pairs, flat and finite."""
        pairs = np.stack([np.abs(predicted - label), label, predicted])
        self._worst = _largest(np.concatenate([self._worst, pairs], axis=1), WORST_POINTS)
        pairs[0] = self._rng.random(label.size)
        self._others = _largest(np.concatenate([self._others, pairs], axis=1), OTHER_POINTS)

    def points(self) -> NDArray[Any]:
        """Return labels and predictions, ``(2, points)``."""
        return np.unique(np.concatenate([self._worst[1:], self._others[1:]], axis=1), axis=1)


def _largest(columns: NDArray[Any], most: int) -> NDArray[Any]:
    """Return the columns with the largest first entries."""
    if columns.shape[1] <= most:
        return columns
    return columns[:, np.argpartition(-columns[0], most)[:most]]
