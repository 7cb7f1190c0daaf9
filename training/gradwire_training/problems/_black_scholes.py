"""The price of a European call with its sensitivities, after Black, Scholes and Merton."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from gradwire_training._data import Derivatives, Quantity, Samples, Table, Truth
from gradwire_training.problems._problem import Problem

STRIKE: Final = 100.0  # USD; price and spot scale with it, so that one strike is enough
ROWS: Final = 256
# Three months at 10 % is as sharp a kink as the domain holds; at maturity 0 vega and theta have no value.
DOMAIN: Final = {"spot": (50.0, 150.0), "volatility": (0.1, 0.5), "maturity": (0.25, 2.0), "rate": (0.0, 0.1)}
AT_THE_MONEY: Final = {"spot": [STRIKE], "volatility": [0.2], "maturity": [1.0], "rate": [0.05]}


def _parts(x: Table) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return d1, d2 and the discounted strike, each ``(rows, 1)``."""
    deviation = x["volatility"] * np.sqrt(x["maturity"])
    drift = np.log(x["spot"] / STRIKE) + x["rate"] * x["maturity"]
    upper = drift / deviation + deviation / 2
    return upper, upper - deviation, STRIKE * np.exp(-x["rate"] * x["maturity"])


def _values(x: Table) -> Table:
    upper, lower, strike = _parts(x)
    return {"price": x["spot"] * ndtr(upper) - strike * ndtr(lower)}


def _derivatives(x: Table) -> Derivatives:
    upper, lower, strike = _parts(x)
    density = np.exp(-(upper**2) / 2) / np.sqrt(2 * np.pi)
    vega = x["spot"] * density * np.sqrt(x["maturity"])
    carry = strike * ndtr(lower)
    return {
        "price": {
            "spot": ndtr(upper),
            "volatility": vega,
            "maturity": vega * x["volatility"] / (2 * x["maturity"]) + x["rate"] * carry,
            "rate": x["maturity"] * carry,
        }
    }


_POINT: Final = {name: np.array([value]) for name, value in AT_THE_MONEY.items()}

BLACK_SCHOLES: Final = Problem(
    truth=Truth(
        name="black-scholes",
        inputs=(
            Quantity("spot", "USD"),
            Quantity("volatility", "1/year^0.5"),
            Quantity("maturity", "year"),
            Quantity("rate", "1/year"),
        ),
        outputs=(Quantity("price", "USD"),),
        domain=DOMAIN,
        f=_values,
        df=_derivatives,
        formula="the Black-Scholes call struck at 100",
        derivative_formula="delta, vega, -theta and rho",
        source="Black and Scholes, J. Political Economy 81, 1973, equation 13",
    ),
    count=ROWS,
    spacing="sobol",
    pins=Samples(_POINT, _values(_POINT)),
    activation="softplus",
)
