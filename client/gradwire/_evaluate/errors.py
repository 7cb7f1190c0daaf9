"""Errors summed up a block at a time, so that memory stays flat however many rows there are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from gradwire._package import BAND, COVERAGE

Floats = NDArray[np.float64]

LEAST_ROWS: Final = 10  # of fewer, one model may well be better in every single one by chance
MOST_ENUMERATED: Final = 12  # rows of which all ways to exchange two models are tried; of more, DRAWS at random
MOST_DIFFERENCES: Final = 256  # rows that are exchanged one by one, the others together
DRAWS: Final = 9_999
ROUNDING: Final = 1e-12
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
        undefined: how many predictions of the one are not finite where the other's are.
        swaps: what rows that are exchanged would change.
    """

    rmse: float | None
    baseline: float | None
    ratio: float | None
    undefined: int = 0
    swaps: Swaps | None = field(default=None, repr=False, compare=False)

    def limit(self, chance: float) -> float | None:
        """Return the ratio that two models that err alike exceed by chance alone this often.

        Of two such models either could have been the new one, in every row apart. So the ratio is compared with those
        that all ways to exchange the two in some of the rows give (the paired permutation test, Fisher, The Design of
        Experiments, 1935, section 21), which is exact however few rows there are and however errors are distributed.

        Args:
            chance: a probability, such as 0.05. Below that of being worse in every single row, it is the latter.

        Returns:
            The limit; None of fewer than 10 rows in which the two differ, which tell nothing.
        """
        return None if self.swaps is None else self.swaps.limit(chance)

    @property
    def by_chance(self) -> float | None:
        """The ratio that chance alone exceeds in 2.5 % of cases; as often it is below 1 / this. None as above."""
        return self.limit((1 - COVERAGE) / 2)

    def to_dict(self) -> dict[str, Any]:
        """Return the ratio as plain data."""
        return {name: getattr(self, name) for name in ("rmse", "baseline", "ratio", "undefined", "by_chance")}


@final
@dataclass(frozen=True, slots=True)
class Swaps:
    """The sums of squared errors of two models if they were exchanged in some of the rows.

    Attributes:
        total: of both models.
        differences: of the squared errors of a row, the largest by size; none is 0.
        others: the sum of squares of the other differences, which are many and small: theirs sum up to a normal number.
    """

    total: float
    differences: Floats
    others: float

    def limit(self, chance: float) -> float:
        """Return the ratio that this fraction of all ways exceeds (see ``ErrorRatio``)."""
        count, rng = len(self.differences), np.random.default_rng(0)
        if count <= MOST_ENUMERATED:
            exchanged = np.arange(2**count, dtype=np.int64)[:, None] >> np.arange(count, dtype=np.int64) & 1
            beyond = math.floor(chance * 2**count)
        else:
            exchanged = rng.integers(0, 2, (DRAWS, count))
            # What was observed is one more draw (Phipson and Smyth, 2010).
            beyond = math.floor(chance * (DRAWS + 1)) - 1
        sums: Floats = (1.0 - 2.0 * exchanged) @ self.differences
        sums += math.sqrt(self.others) * rng.standard_normal(sums.size)
        sums = np.sort(sums)[::-1]
        largest = float(sums[max(beyond, 0)])
        every = float(np.abs(self.differences).sum())
        if not self.others and largest >= (1 - ROUNDING) * every:  # worse in every row: never by chance
            largest = float(sums[np.argmax(sums < (1 - ROUNDING) * every)])
        rest = self.total - largest
        return math.sqrt((self.total + largest) / rest) if rest > 0 else math.inf


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
            self._covered = (self._covered or 0) + int((known & (np.abs(error) <= BAND * std)).sum())

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

    Rows are taken to be independent of one another, elements of a row are not.
    """

    def __init__(self, floor: float) -> None:
        """Take the smallest rmse that the dtype can tell from 0, in units of the labels' root mean square."""
        self._floor = floor
        self._labels = self._undefined = self._differing = 0
        self._squares = np.zeros(3)  # of the error, the baseline's, and the labels
        self._largest, self._differences = np.zeros((2, 0)), 0.0

    def add(self, error: Floats, baseline: Floats, label: Floats) -> None:
        """Add rows ``(rows, elements)``; NaN where there is no label."""
        known = ~np.isnan(label)
        finite = known & np.isfinite(error) & np.isfinite(baseline)
        self._undefined += int((known & ~np.isfinite(error) & np.isfinite(baseline)).sum())
        self._labels += int(finite.sum())
        squares = [np.sum(np.where(finite, each, 0.0) ** 2, axis=1) for each in (error, baseline, label)]
        self._squares += [part.sum() for part in squares]
        differences = squares[0] - squares[1]
        differences = differences[differences != 0]
        self._differing += differences.size
        self._differences += float(differences @ differences)
        self._largest = _largest(
            np.concatenate([self._largest, [np.abs(differences), differences]], axis=1), MOST_DIFFERENCES
        )

    def ratio(self) -> ErrorRatio:
        """Return the ratio on the rows so far."""
        if not self._labels:
            return ErrorRatio(None, None, None, self._undefined)
        rmse, baseline, size = np.sqrt(self._squares / self._labels).tolist()
        ratio = 1.0 if max(rmse, baseline) <= self._floor * size else rmse / baseline if baseline else math.inf
        swaps = None
        if self._differing >= LEAST_ROWS:
            largest = self._largest[1]
            others = max(0.0, self._differences - float(largest @ largest)) if self._differing > largest.size else 0.0
            swaps = Swaps(float(self._squares[:2].sum()), largest, others)
        return ErrorRatio(rmse, baseline, ratio, self._undefined, swaps)


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
