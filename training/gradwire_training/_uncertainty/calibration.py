r"""The factors of the Laplace approximation, the noise of labels and the misfit, from rows with known labels.

An error of a label that was not fitted has the variance of the function, that of what the network cannot represent, and
that of the label's noise,

.. math:: s^2 q(x; \lambda) + m^2 + t^2, \qquad q = g (J^T J + \lambda I)^{-1} g^T,

so that the likelihood of all such errors tells :math:`\lambda`, s of each output, and :math:`m^2 + t^2` of each kind
of labels. What part of the latter is misfit, the errors on fitted rows tell (``misfit``). The bar is about the function
alone: :math:`s^2 q + m^2`. Errors of derivatives have a noise of their own and the same s; they count as one label a
row together, for the same row moves them all. Three things are known beforehand. A network that was fitted to labels
repeats a part of their noise, so t is at most a few times the error on the fitted rows. Where nothing else is told, s
is 1, for J is in units of the errors, and the prior variance :math:`s^2 / \lambda` is that of the weights.

Afterwards the bars are widened by Student's quantile for as few rows; and, where more labels lie outside than chance
has it in 5 % of cases, until they hold 95 % of these labels (Vovk et al. 2005). To widen them until then in any case
would make them too large by a tenth to a fifth, for chance alone leaves fewer inside in half of the cases. Derivatives
with labels get a factor of their own; those without have the value's.

Where held-out labels are likelier with a noise that differs from row to row (``noise``), t is that; and q is then that
of a sandwich, in which the labels of one row count together (White, Econometrica 48 (1980) 817-838; Liang and Zeger,
Biometrika 73 (1986) 13-22), for the errors of rows with much noise move the weights the most:

.. math:: q = g A \left(\sum_i s_i s_i^T + \lambda I\right) A g^T, \qquad A = (J^T J + \lambda I)^{-1},

with :math:`s_i` the gradient of half a row's loss. With one noise for all, fits to the payoffs of a simulated basket
had bars five times too large.

Where rows have weights, each counts by its own in all of these sums, in units in which they are as many rows as would
tell as much with one weight, :math:`(\sum w)^2 / \sum w^2` (Kish, Survey Sampling, 1965).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom
from scipy.stats import t as student

from gradwire._package import BAND, COVERAGE
from gradwire_training._data import Derivatives, Table, known_mean
from gradwire_training._uncertainty.laplace import Spectrum
from gradwire_training._uncertainty.misfit import EVIDENCE, Misfit
from gradwire_training._uncertainty.network import Network
from gradwire_training._uncertainty.noise import noise_profile

Array: TypeAlias = "NDArray[np.float64]"

LEAST_LABELS: Final = 8  # of an output, held out: fewer tell no scale
MOST_FITTED: Final = 1_000  # rows: a sample of more gives the same matrix but for its size
MOST_HELD_OUT: Final = 500  # rows: a scale to three percent
MOST_SLOPES: Final = 6  # derivatives of an output whose labels decide together; each has its own factor all the same
ROWS_STREAM: Final = 9  # of random numbers, apart from those behind points, weights and splits
CHANCE: Final = 0.05  # that right bars are widened
ROUNDING: Final = 1e-9  # of a sum of weights
NOISE: Final = 3.0  # times the mean square of a fitted label's error: its noise at most
# Standard deviations of logarithms beforehand: factors of 4, 20 and 1.6.
SCALE_BELIEF: Final = 1.5  # of s^2
PRIOR_BELIEF: Final = 3.0  # of the prior variance
SLOPE_BELIEF: Final = 0.5  # of a derivative's own factor
# What is tried: ridges in units of the prior precision, s^2, and noise in units of the mean square of the errors.
RIDGES: Final = np.logspace(-4, 4, 17)
SCALES: Final = np.logspace(-3, 5, 33)
NOISES: Final = np.concatenate([[0.0], np.logspace(-3, -0.5, 6), np.linspace(0.4, 1.2, 17)])  # fine where noise is all
FACTORS: Final = np.exp(np.linspace(-1.5, 1.5, 31))


@final
@dataclass(frozen=True, slots=True)
class LabelledRows:
    """Points, and what is known of values and derivatives there: NaN where a label is missing."""

    x: Table
    y: Table
    dydx: Derivatives
    weights: Array | None = None  # of the rows; None where every row counts the same

    @property
    def count(self) -> int:
        """The number of rows."""
        return len(next(iter(self.x.values())))

    def take(self, most: int) -> LabelledRows:
        """Return that many rows at most, at random."""
        if self.count <= most:
            return self
        generator = np.random.default_rng(np.random.SeedSequence((0, ROWS_STREAM)))
        rows = np.sort(generator.choice(self.count, most, replace=False))

        def taken(table: Table) -> Table:
            return {name: column[rows] for name, column in table.items()}

        weights = None if self.weights is None else self.weights[rows]
        return LabelledRows(taken(self.x), taken(self.y), {name: taken(by) for name, by in self.dydx.items()}, weights)

    def counts(self) -> Array:
        """Return for how many rows each row counts, ``(rows,)``: their sum is Kish's effective number of rows."""
        if self.weights is None:
            return np.ones(self.count)
        return self.weights * (self.weights.sum() / (self.weights @ self.weights))

    def points(self) -> Table:
        """Return the points by input, ``(rows, elements)``."""
        return {name: column.reshape(self.count, -1) for name, column in self.x.items()}

    def labels(self) -> Array:
        """Return every label, ``(rows, output elements, 1 + input elements)``: the value and then its derivatives."""
        parts: list[Array] = []
        for output, column in self.y.items():
            values = column.reshape(self.count, -1, 1)
            by_input = [
                self.dydx[output][name].reshape(*values.shape[:2], width)
                if name in self.dydx.get(output, {})
                else np.full((*values.shape[:2], width), np.nan)
                for name, width in ((name, points.shape[1]) for name, points in self.points().items())
            ]
            parts.append(np.concatenate([values, *by_input], axis=2))
        return np.concatenate(parts, axis=1)


@final
@dataclass(frozen=True, slots=True)
class Calibration:
    """The factors; output elements and input elements of all outputs and inputs, one behind the other."""

    ridge: float
    variance: Array  # (output elements, 1 + input elements): what q is multiplied by
    misfit: Array  # (output elements, 1 + input elements): what is added to it, as a variance
    counts: NDArray[np.intp]  # (output elements, 1 + input elements): of labels behind each factor


def calibrate(
    network: Network, fitted: LabelledRows, held_out: LabelledRows, *, part: float = 1.0
) -> tuple[Spectrum, Calibration]:
    """Decompose J^T J of the fitted labels, and find the factors; every output element has held-out labels.

    Of as many rows as are taken at most, ``part`` is taken. Raises FloatingPointError where the network is not finite.
    """
    others, sample = held_out.take(round(part * MOST_HELD_OUT)), fitted.take(round(part * MOST_FITTED))
    errors, predicted, gradients = _errors(network, others)
    scale = _mean_squares(errors, others.counts())
    fit = _Fitted.of(network, sample, scale)
    size = fitted.count / sample.count
    spectrum = Spectrum.of(fit.matrix * size)
    prior = spectrum.prior(network.weights)
    fitted_squares = _mean_squares(fit.errors, sample.counts())
    most = np.where(fitted_squares > 0, NOISE * fitted_squares, np.inf)
    labels = _Labels(errors, others.counts(), scale, most, np.ones_like(errors))
    uneven = replace(labels, profile=noise_profile(fit.values, fit.errors, predicted))
    misfit = Misfit.of(np.concatenate(list(sample.points().values()), axis=1), fit.errors)
    by_ridge = _variances(spectrum, gradients, prior)
    best, other = (_Scaled.best_of(each, by_ridge, prior) for each in (labels, uneven))
    # Misfit is larger in places, too, and no noise.
    if other.likelihood > best.likelihood + EVIDENCE and not misfit.fraction.any():
        spectrum = spectrum.with_scores(fit.scores(network, sample, scale) * size)
        by_ridge = _variances(spectrum, gradients, prior)
        labels, best = uneven, _Scaled.best_of(uneven, by_ridge, prior)
    factors, noise = labels.factors(best.scales[:, None] * by_ridge[best.ridge], best.noise)
    counts = np.isfinite(errors).sum(axis=0)
    known = misfit.fraction * noise
    unknown = np.concatenate([known[:, :1], known[:, :1] * misfit.roughness], axis=1)
    added = factors * np.where(counts >= LEAST_LABELS, known, unknown)
    return spectrum, Calibration(best.ridge, best.scales[:, None] * factors, added, counts)


def most_rows(fitted: LabelledRows, held_out: LabelledRows) -> int:
    """Return of how many rows ``calibrate`` needs the Jacobian at most: of the fitted ones twice."""
    return 2 * min(fitted.count, MOST_FITTED) + min(held_out.count, MOST_HELD_OUT)


def _variances(spectrum: Spectrum, gradients: Array, prior: float) -> dict[float, Array]:
    """Return q of Jacobian rows by ridge."""
    components = spectrum.components(gradients)
    return {ridge: spectrum.variances(components, ridge) for ridge in (prior * RIDGES).tolist()}


@final
@dataclass(frozen=True, slots=True)
class _Labels:
    """The errors of labels that were not fitted, ``(rows, output elements, 1 + input elements)``; NaN for none."""

    errors: Array
    counts: Array  # (rows,): for how many rows each counts
    squares: Array  # their means, (output elements, 1 + input elements)
    most: Array  # noise, as a variance, at most; the same shape
    profile: Array  # of the noise: its variance over its mean, as the errors

    def known(self, element: int, kind: int) -> NDArray[np.bool_]:
        """Return which rows have a label of this kind."""
        return np.isfinite(self.errors[:, element, kind])

    def best_scale(self, q: Array, element: int, ridge: float) -> tuple[float, float, float]:
        """Return the best likelihood at a ridge, in units of the prior's, with s^2 and the noise of the values."""
        kinds = [kind for kind in range(q.shape[2]) if self.known(element, kind).any()]
        slopes = [kind for kind in kinds if kind]
        chosen = slopes[:: max(1, math.ceil(len(slopes) / MOST_SLOPES))]
        total, noise = np.zeros(len(SCALES)), np.zeros(len(SCALES))
        for kind in [kind for kind in kinds if kind == 0] + chosen:
            likelihood, noises = self._likelihood(q, element, kind, SCALES)
            total += likelihood.max(axis=1) / (len(chosen) if kind else 1)
            if not kind:
                noise = noises[likelihood.argmax(axis=1)]
        total -= (np.log(SCALES) / SCALE_BELIEF) ** 2 / 2 + (np.log(SCALES / ridge) / PRIOR_BELIEF) ** 2 / 2
        best = int(total.argmax())
        return float(total[best]), float(SCALES[best]), float(noise[best])

    def factors(self, variances: Array, noise: Array) -> tuple[Array, Array]:
        """Return what variances are to be multiplied by, and the noise, ``(output elements, 1 + input elements)``."""
        factors, noises = np.ones(variances.shape[1:]), np.zeros(variances.shape[1:])
        noises[:, 0] = noise
        for element in range(variances.shape[1]):
            known = self.known(element, 0)
            if known.any():
                spread = np.sqrt(variances[known, element, 0] + noise[element] * self.profile[known, element, 0])
                ratios = np.abs(self.errors[known, element, 0]) / np.maximum(spread, np.finfo(float).tiny)
                factors[element] = _widening(ratios, self.counts[known]) ** 2
            for kind in range(1, variances.shape[2]):
                if self.known(element, kind).sum() >= LEAST_LABELS:
                    likelihood, tried = self._likelihood(variances * factors[element], element, kind, FACTORS**2)
                    likelihood -= (np.log(FACTORS) ** 2 / (2 * SLOPE_BELIEF**2))[:, None]
                    factor, level = np.unravel_index(likelihood.argmax(), likelihood.shape)
                    factors[element, kind] *= FACTORS[factor] ** 2
                    noises[element, kind] = tried[level]
        counts = np.tensordot(self.counts, np.isfinite(self.errors), 1).max(axis=1, keepdims=True)
        return factors * (student.ppf((1 + COVERAGE) / 2, counts) / BAND) ** 2, noises

    def _likelihood(self, q: Array, element: int, kind: int, scales: Array) -> tuple[Array, Array]:
        """Return the logarithms of likelihoods of every scale and noise, ``(scales, noises)``, and the noises."""
        known = self.known(element, kind)
        squares = self.errors[known, element, kind] ** 2
        noises = np.minimum(NOISES * self.squares[element, kind], self.most[element, kind])
        variances = (
            scales[:, None, None] * q[known, element, kind] + noises[:, None] * self.profile[known, element, kind]
        )
        variances = np.maximum(variances, np.finfo(float).tiny)
        return -0.5 * (np.log(variances) + squares / variances) @ self.counts[known], noises


@final
@dataclass(frozen=True, slots=True)
class _Scaled:
    """The best scales and noises at a ridge."""

    likelihood: float  # its logarithm, of all labels
    ridge: float
    scales: Array  # s^2, (output elements,)
    noise: Array  # of the values' labels, as variances

    @classmethod
    def best_of(cls, labels: _Labels, by_ridge: Mapping[float, Array], prior: float) -> _Scaled:
        """Choose the likeliest ridge, of those whose variances are given."""
        return max((cls.of(labels, q, ridge, prior) for ridge, q in by_ridge.items()), key=lambda each: each.likelihood)

    @classmethod
    def of(cls, labels: _Labels, q: Array, ridge: float, prior: float) -> _Scaled:
        best = [labels.best_scale(q, element, ridge / prior) for element in range(q.shape[1])]
        likelihoods, scales, noise = (np.array(column) for column in zip(*best, strict=True))
        return cls(float(likelihoods.sum()), ridge, scales, noise)


def _widening(ratios: Array, counts: Array) -> float:
    """Return by how much bars are widened, from |error| over its standard deviation: 1 unless labels refute them."""
    rows, outside = (int(np.rint(total)) for total in (counts.sum(), counts[ratios > BAND].sum()))
    if binom.sf(outside - 1, rows, 1 - COVERAGE) > CHANCE:
        return 1.0
    order = np.argsort(ratios)
    below = np.cumsum(counts[order])
    rank = min(math.ceil(COVERAGE * (rows + 1)), below[-1])
    return float(ratios[order][np.searchsorted(below, rank * (1 - ROUNDING)).clip(max=len(ratios) - 1)]) / BAND


def _errors(network: Network, rows: LabelledRows) -> tuple[Array, Array, Array]:
    """Return the errors of all labels, the values that are predicted, and the Jacobian of what they are errors of."""
    labels = rows.labels()
    errors, gradients = np.empty_like(labels), np.empty((*labels.shape, len(network.weights)))
    values = np.empty(labels.shape[:2])
    for part, predicted, jacobian in network.gradients(rows.points()):
        errors[part], gradients[part] = predicted - labels[part], _finite(jacobian)
        values[part] = predicted[:, :, 0]
    return errors, values, gradients


@final
@dataclass(frozen=True, slots=True)
class _Fitted:
    """The fitted rows."""

    matrix: Array  # J^T J of their labels in units of the held-out errors
    errors: Array  # (rows, output elements, 1 + input elements)
    values: Array  # that are predicted, (rows, output elements)

    @classmethod
    def of(cls, network: Network, rows: LabelledRows, scale: Array) -> _Fitted:
        labels, counts = rows.labels(), rows.counts()
        matrix = np.zeros((len(network.weights), len(network.weights)))
        errors, values = np.empty_like(labels), np.empty(labels.shape[:2])
        known = np.isfinite(labels)
        for part, predicted, jacobian in network.gradients(rows.points()):
            errors[part] = predicted - labels[part]
            values[part] = predicted[:, :, 0]
            factor = np.sqrt(counts[part])[:, None, None] / _units(scale, errors[part], counts[part])
            row = _finite((jacobian * factor[..., None])[known[part]])
            matrix += row.T @ row
        return cls(matrix, errors, values)

    def scores(self, network: Network, rows: LabelledRows, scale: Array) -> Array:
        """Return the sum over rows of g g^T, with g the gradient of half a row's loss.

        Its mean is J^T J where the labels' errors are independent and of one size.
        """
        counts = rows.counts()
        matrix = np.zeros_like(self.matrix)
        for part, _, jacobian in network.gradients(rows.points()):
            units = _units(scale, self.errors[part], counts[part])
            pull = np.nan_to_num(self.errors[part]) * counts[part, None, None] / units**2
            gradients = np.einsum("rokw,rok->rw", jacobian, pull)
            matrix += gradients.T @ gradients
        return matrix


def _units(scale: Array, errors: Array, counts: Array) -> Array:
    """Return the size of each kind of errors; of one that was fitted and is not held out its own."""
    own = np.sqrt(_mean_squares(errors, counts))
    return np.where(scale > 0, np.sqrt(scale), np.where(own > 0, own, 1.0))


def _finite(jacobian: Array) -> Array:
    if not np.isfinite(jacobian).all():
        raise FloatingPointError("the network or its derivatives are not finite on the rows")
    return jacobian


def _mean_squares(errors: Array, counts: Array) -> Array:
    """Return the mean squares over the rows of what is known; 0 where nothing is."""
    return known_mean(errors**2, counts)


def elements_without_labels(rows: LabelledRows) -> Sequence[int]:
    """Return the output elements with fewer than ``LEAST_LABELS`` values and derivatives held out."""
    counts = np.isfinite(rows.labels()).sum(axis=0).max(axis=1)
    return np.flatnonzero(counts < LEAST_LABELS).tolist()
