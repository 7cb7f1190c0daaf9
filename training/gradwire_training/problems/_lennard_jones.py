"""Energy and forces of five atoms that attract and repel each other, after Lennard-Jones.

The package returns the energy and its derivative with respect to the positions; the forces on the atoms are the
negative of that derivative, so that forces and energy are always consistent.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gradwire_training._data import Derivatives, Quantity, Samples, SamplingDistribution, Table, Truth
from gradwire_training._models import atoms
from gradwire_training.optimizers._lbfgs import Lbfgs
from gradwire_training.problems._problem import Problem

ATOMS: Final = 5
# The minimum, -9.103852415707557, is a trigonal bipyramid: three atoms on a circle of this radius, two above and
# below its centre at this height. Both solve dE = 0 to rounding.
RADIUS: Final = 0.6489957274981957
HEIGHT: Final = 0.9129385501583537
SHAKE: Final = 0.12  # sigma; a tenth of the distance of neighbours, as in a cluster about to melt
BOUND: Final = 0.0  # epsilon: what has more energy flies apart, and r^-12 would drown all other labels
SHRINKING: Final = 0.8  # of a displacement whose energy is above the bound, as often as it takes
ROWS: Final = 100
STEPS: Final = 2_000
REACH: Final = (-1.5, 1.5)  # sigma; where positions lie


def _minimum() -> NDArray[np.float64]:
    angles = np.arange(3) * 2 * np.pi / 3
    ring = np.stack([RADIUS * np.cos(angles), RADIUS * np.sin(angles), np.zeros(3)], axis=1)
    return np.concatenate([ring, [[0, 0, HEIGHT], [0, 0, -HEIGHT]]])


MINIMUM: Final = _minimum()
FIRST, SECOND = np.triu_indices(ATOMS, 1)  # the atoms of every pair


def _values(x: Table) -> Table:
    return {"energy": _energy(x["positions"])[:, None]}


def _energy(positions: NDArray[Any]) -> NDArray[Any]:
    squares = ((positions[:, FIRST] - positions[:, SECOND]) ** 2).sum(axis=-1)
    return (4 * (squares**-6 - squares**-3)).sum(axis=-1)


def _derivatives(x: Table) -> Derivatives:
    between = x["positions"][:, FIRST] - x["positions"][:, SECOND]
    squares = (between**2).sum(axis=-1, keepdims=True)
    by_pair = (
        24 * squares**-4 - 48 * squares**-7
    ) * between  # gradient of the energy of a pair with respect to its first atom
    gradient = np.zeros_like(x["positions"])
    for pair, (first, second) in enumerate(zip(FIRST, SECOND, strict=True)):
        gradient[:, first] += by_pair[:, pair]
        gradient[:, second] -= by_pair[:, pair]
    return {"energy": {"positions": gradient}}


def _place(uniform: NDArray[np.float64]) -> Table:
    """Displace every coordinate of the minimum by a Gaussian; shrink what would fly apart."""
    moves = SHAKE * ndtri(uniform).reshape(-1, ATOMS, 3)
    while (loose := _energy(MINIMUM + moves) > BOUND).any():
        moves[loose] *= SHRINKING
    return {"positions": MINIMUM + moves}


_REST: Final = {"positions": MINIMUM[None]}


def _optimizer(_: int) -> Lbfgs:
    """Return L-BFGS: the network is no chain of layers, and lm would take its Jacobian by a tape, seconds a step."""
    return Lbfgs()


LENNARD_JONES: Final = Problem(
    truth=Truth(
        name="lennard-jones",
        inputs=(Quantity("positions", "sigma", (ATOMS, 3)),),
        outputs=(Quantity("energy", "epsilon"),),
        domain={"positions": REACH},
        f=_values,
        df=_derivatives,
        formula="the Lennard-Jones energy of five atoms",
        derivative_formula="minus the forces",
        source="Lennard-Jones, Proc. Physical Society 43, 1931; minimum -9.103852: Hoare and Pal, Advances in "
        "Physics 20, 1971",
        distribution=SamplingDistribution(place=_place, text="clusters shaken about the lowest, energy at most 0"),
    ),
    count=ROWS,
    spacing="random",
    pins=Samples(_REST, _values(_REST)),
    build=lambda seed, samples: atoms(samples, seed=seed),
    optimizer=_optimizer,
    steps=STEPS,
)
