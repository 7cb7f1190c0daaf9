"""What approximation theory reaches on the logarithm, beside ours: in one clean dimension it wins."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import AAA, CubicHermiteSpline, KroghInterpolator
from scipy.linalg import cho_factor, cho_solve

from benchmarks._report import Measured, Report
from gradwire_training import Samples, fit, problems, refine

Array = NDArray[np.float64]
Curve = Callable[[Array], tuple[Array, Array]]  # points -> values and derivatives
# max abs(f - log x), max abs(df/dx - 1/x), seconds by the clock, and of processors
Errors = tuple[float, float, float, float]

LOG = problems.get("log")
POINTS = 1_000
SEEDS = range(3)
DESIGNS: Mapping[str, tuple[int, str]] = {"19 evenly spaced": (19, "linear"), "60 log-spaced": (60, "log")}
RTOL = 1e-15  # of AAA, whose default ends at 2e-12 of the values
COMPLEX_STEP = 1e-20
LENGTHS = np.geomspace(0.1, 3.0, 60)  # of the Gaussian process, of which the likeliest is taken
JITTER = 1e-12  # of its kernel's diagonal; without it the matrix is not positive definite


def main(*, write: bool) -> None:
    rows: list[list[str | Measured]] = []
    for design, (count, spacing) in DESIGNS.items():
        samples = LOG.samples(count, spacing=spacing)
        ways: dict[str, Callable[[int], Errors]] = {
            "cubic Hermite spline": lambda _, s=samples: _measured(_spline, s),
            "Hermite polynomial": lambda _, s=samples: _measured(_polynomial, s),
            "AAA rational, values alone": lambda _, s=samples: _measured(_rational, s),
            "gradient-enhanced GP": lambda _, s=samples: _measured(_gaussian_process, s),
            "gradwire": lambda seed, s=samples: _ours(s, seed),
            "gradwire, --stages 2": lambda seed, s=samples: _ours(s, seed, stages=2),
        }
        for way, run in ways.items():
            seeds = SEEDS if way.startswith("gradwire") else range(1)
            value, slope, *times = zip(*map(run, seeds), strict=True)
            seconds = (Measured(each, "s") for each in times)
            rows.append([design, way, Measured(value), Measured(slope), *seconds])
    Report(
        name="floor",
        title="log x and 1/x: what approximation theory reaches, and ours",
        method=(
            f"Largest errors on {POINTS:,} points of [0.1, 1.9], all in float64; ours seeds {SEEDS.start} to {SEEDS[-1]}, "
            "median (range). Spline, polynomial and AAA are SciPy's; AAA's derivative is a complex step; the polynomial "
            "of degree 119 is beyond its arithmetic. The Gaussian process has a Gaussian kernel of the likeliest "
            "length. Processor time is that of all threads, which others on the machine leave as it is. In one clean dimension take one of these; in many, with noise, or with derivatives to fit and "
            "serve, a network."
        ),
        columns=["samples", "way", "max abs(f - log x)", "max abs(df/dx - 1/x)", "time", "processor time"],
        rows=rows,
    ).show(write=write)


def _ours(samples: Samples, seed: int, *, stages: int = 1) -> Errors:
    network, clock = LOG.network(seed=seed, samples=samples), _Clock()
    result = fit(network, samples, seed=seed, dtype="float64")
    if stages > 1:
        result = refine(result)
    return result.errors["f"]["max"], result.errors["df_dx"]["max"], *clock.taken


def _measured(build: Callable[[Array, Array, Array], Curve], samples: Samples) -> Errors:
    labels = [column.ravel() for column in (samples.x["x"], samples.y["f"], samples.dydx["f"]["x"])]
    x = np.linspace(0.1, 1.9, POINTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy's, of the degree of the polynomial: the errors tell
        clock = _Clock()
        curve = build(labels[0], labels[1], labels[2])
        taken = clock.taken
        value, slope = curve(x)
    return float(np.abs(value - np.log(x)).max()), float(np.abs(slope - 1 / x).max()), *taken


class _Clock:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    @property
    def taken(self) -> tuple[float, float]:
        """Seconds by the clock, and of processors."""
        return time.perf_counter() - self._began[0], time.process_time() - self._began[1]


def _spline(x: Array, y: Array, dydx: Array) -> Curve:
    spline = CubicHermiteSpline(x, y, dydx)
    return lambda at: (spline(at), spline(at, 1))


def _polynomial(x: Array, y: Array, dydx: Array) -> Curve:
    polynomial = KroghInterpolator(np.repeat(x, 2), np.stack([y, dydx], axis=1).ravel())
    return lambda at: (polynomial(at), polynomial.derivative(at))


def _rational(x: Array, y: Array, _: Array) -> Curve:
    rational = AAA(x, y, rtol=RTOL)
    return lambda at: (rational(at).real, rational(at + 1j * COMPLEX_STEP).imag / COMPLEX_STEP)


def _gaussian_process(x: Array, y: Array, dydx: Array) -> Curve:
    """Condition a Gaussian process on values and derivatives (Rasmussen and Williams, section 9.4)."""
    centre = y.mean()
    labels = np.concatenate([y - centre, dydx])

    def likelihood(length: float) -> float:
        factor = cho_factor(_kernel(x, x, length) + JITTER * np.diag(_kernel(x, x, length)) * np.eye(len(labels)))
        variance = labels @ cho_solve(factor, labels) / len(labels)
        return -len(labels) * float(np.log(variance)) - 2 * float(np.log(np.diag(factor[0])).sum())

    length = max(LENGTHS, key=likelihood)
    matrix = _kernel(x, x, length)
    weights = np.linalg.solve(matrix + JITTER * np.diag(np.diag(matrix)), labels)
    return lambda at: tuple(np.split(_kernel(at, x, length) @ weights + np.repeat([centre, 0.0], len(at)), 2))


def _kernel(a: Array, b: Array, length: float) -> Array:
    """Return the covariances of values and derivatives at a with those at b, for exp(-(a - b)^2 / (2 length^2))."""
    move = (a[:, None] - b) / length
    k = np.exp(-(move**2) / 2)
    return np.block([[k, move * k / length], [-move * k / length, (1 - move**2) * k / length**2]])
