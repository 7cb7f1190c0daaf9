"""What derivatives are worth: the basket, Lennard-Jones atoms, and the logarithm with half the samples."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks._report import Measured, Report
from gradwire_training import Sobolev, Value, fit, problems
from gradwire_training.problems._basket import MARKET

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradwire_training import Loss, Samples
    from gradwire_training.problems._problem import Problem

SEEDS = range(3)  # of samples, simulated labels and initial weights
BASKET_SAMPLES = (1_024, 4_096, 16_384)
ATOMS_SAMPLES = (50, 100)
LOG_SAMPLES = (5, 10, 19)
BASKET = problems.get("basket")
ATOMS = problems.get("lennard-jones")
LOG = problems.get("log")

Errors = dict[str, tuple[float, ...]]  # by tensor, a number a seed


def main(*, write: bool) -> None:
    _basket(write=write)
    _atoms(write=write)
    _log(write=write)


def _basket(*, write: bool) -> None:
    antithetic = replace(BASKET, simulate=partial(MARKET.simulate, antithetic=True))
    labels: dict[str, Callable[[int, int], Samples]] = {
        "one path": lambda count, seed: BASKET.samples(count, seed=seed),
        "two antithetic paths": lambda count, seed: antithetic.samples(count, seed=seed),
        "the closed form": lambda count, seed: BASKET.samples(count, seed=seed, exact=True),
    }
    rows: list[list[str | Measured]] = []
    for name, make in labels.items():
        for count in BASKET_SAMPLES:
            alone, both = (_fitted(BASKET, count, loss, make, scale=100) for loss in (Value(), Sobolev()))
            cells = [(alone[tensor], both[tensor], _gain(alone, both, tensor)) for tensor in alone]
            rows.append([name, f"{count:,}", *(_cell(values) for three in cells for values in three)])
    Report(
        name="problems_basket",
        title="Seven-asset Bachelier basket: values alone against values and derivatives",
        method=(
            f"100 rmse against the closed form on 1,000 points of the samples' distribution; seeds {SEEDS.start} to "
            f"{SEEDS[-1]}, median (range). Both losses: adam, 0.03 falling to 0, {BASKET.steps:,} steps of a sixteenth of the samples, at least 256, "
            "float32, 7-20-20-20-20-1 softplus. The labels are payoffs and their derivatives along one simulated path "
            "(the problem's own), along two antithetic paths, or price and deltas in closed form."
        ),
        columns=[
            "labels",
            "samples",
            "price, values",
            "price, both",
            "gain",
            "deltas, values",
            "deltas, both",
            "gain",
        ],
        rows=rows,
    ).show(write=write)


def _atoms(*, write: bool) -> None:
    rows: list[list[str | Measured]] = []
    for count in ATOMS_SAMPLES:
        alone, both = (_fitted(ATOMS, count, loss) for loss in (Value(), Sobolev()))
        for name, errors in (("energies", alone), ("energies and forces", both)):
            rows.append([f"{count:,}", name, *(_cell(values) for values in errors.values())])
    truth = ATOMS.truth
    force = truth.df(truth.test_points(1_000))["energy"]["positions"]
    Report(
        name="problems_lennard_jones",
        title="Five Lennard-Jones atoms: energies alone against energies and forces",
        method=(
            f"rmse against the truth on 1,000 other clusters, whose forces have a root mean square of "
            f"{(force**2).mean() ** 0.5:.0f}; seeds {SEEDS.start} to {SEEDS[-1]}, median (range). Both losses: "
            f"lbfgs, {ATOMS.steps:,} steps, the same network of {ATOMS.network().count_params()} weights."
        ),
        columns=["samples", "labels", "energy (epsilon)", "force (epsilon/sigma)"],
        rows=rows,
    ).show(write=write)


def _log(*, write: bool) -> None:
    rows: list[list[str | Measured]] = []
    for count in LOG_SAMPLES:
        for samples, loss in ((count, Sobolev()), (2 * count, Value())):
            errors = _fitted(LOG, samples, loss, size="max")
            rows.append([str(samples), loss.name, *(_cell(values) for values in errors.values())])
    Report(
        name="problems_log",
        title="log x: n samples with derivatives against 2n without",
        method=(
            f"Largest errors on 1,000 points of [0.1, 1.9]; evenly spaced samples, the default fit; seeds "
            f"{SEEDS.start} to {SEEDS[-1]}, median (range)."
        ),
        columns=["samples", "loss", "max abs(f - log x)", "max abs(df/dx - 1/x)"],
        rows=rows,
    ).show(write=write)


def _fitted(
    problem: Problem,
    count: int,
    loss: Loss,
    make: Callable[[int, int], Samples] | None = None,
    *,
    size: str = "rmse",
    scale: float = 1.0,
) -> Errors:
    """Fit with the problem's own optimiser, seed after seed."""
    errors: dict[str, list[float]] = {}
    for seed in SEEDS:
        samples = problem.samples(count, seed=seed) if make is None else make(count, seed)
        result = fit(
            problem.network(seed=seed, samples=samples),
            samples,
            loss=loss,
            optimizer=problem.optimizer(samples.count),
            steps=problem.steps,
            seed=seed,
        )
        for tensor, entry in result.errors.items():
            if isinstance(entry, dict):
                errors.setdefault(tensor, []).append(scale * entry[size])
    return {tensor: tuple(values) for tensor, values in errors.items()}


def _gain(alone: Errors, both: Errors, tensor: str) -> tuple[float, ...]:
    return tuple(first / second for first, second in zip(alone[tensor], both[tensor], strict=True))


def _cell(values: tuple[float, ...]) -> Measured:
    return Measured(values)
