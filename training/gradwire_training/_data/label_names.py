"""Names that columns of derivatives have where people do not use the contract's: delta, forces, df/dx."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

SPOT: Final = ("s", "s0", "spot", "underlying", "price0")
VOL: Final = ("vol", "sigma", "iv", "volatility")
TIME: Final = ("t", "tau", "ttm", "maturity", "expiry", "time")
RATE: Final = ("r", "rate")
POSITIONS: Final = ("positions", "position", "coords", "coordinates", "xyz", "r", "x")
# The word in a column's name -> a sign, and names of the input that it is a derivative with respect to.
WORDS: Final = {
    "delta": ("", SPOT),
    "vega": ("", VOL),
    "theta": ("-", TIME),
    "rho": ("", RATE),
    "force": ("-", POSITIONS),
    "forces": ("-", POSITIONS),
    **dict.fromkeys(("gradient", "grad", "jacobian", "jac", "sensitivity", "sens", "slope", "derivative"), ("", ())),
}
SECOND: Final = ("gamma", "vanna", "volga", "vomma", "hessian", "hess")  # second derivatives, which no fit takes
DIFFERENTIALS: Final = re.compile(r"d_[a-z0-9]+_d_[a-z0-9]+|d[a-z0-9_ ]+/ *d[a-z0-9_]+|d[a-z]d[a-z][0-9]?")


def label_guess(column: str, inputs: Sequence[str], outputs: Sequence[str]) -> str | None:
    """Guess which derivative a column may hold by its name, such as ``"px:S0"`` or ``"-energy:positions"``.

    What the name does not tell stands as OUTPUT or INPUT. None where the name is not that of a derivative.
    """
    name = column.strip().lower()
    output = outputs[0] if len(outputs) == 1 else "OUTPUT"
    only = inputs[0] if len(inputs) == 1 else "INPUT"
    for each in outputs:
        for wrt in inputs:
            if _letters(name) in _spellings(_letters(each), _letters(wrt)):
                return f"{each}:{wrt}"
    words = [word for word in re.split(r"[^a-z]+", name) if word in WORDS]
    if words:
        sign, candidates = WORDS[words[0]]
        told = re.split(r"[^a-z0-9]+", name)
        near = [wrt for wrt in inputs if wrt.lower() in candidates or wrt.lower() in told]
        return f"{sign}{output}:{near[0] if len(near) == 1 else only}"
    return f"{output}:{only}" if DIFFERENTIALS.fullmatch(name) else None


def is_second(column: str) -> bool:
    """Whether a column has the name of a second derivative."""
    return any(word in SECOND for word in re.split(r"[^a-z]+", column.lower()))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _spellings(output: str, wrt: str) -> set[str]:
    pairs = (f"d{output}d{wrt}", f"d{output}{wrt}", f"partial{output}partial{wrt}", f"{output}wrt{wrt}")
    return {*pairs, f"grad{output}{wrt}", f"grad{wrt}", f"gradient{wrt}", f"{output}grad{wrt}", f"d{output}by{wrt}"}
