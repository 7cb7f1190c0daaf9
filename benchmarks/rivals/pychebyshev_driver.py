"""PyChebyshev's tensor train of Black-Scholes in five inputs, with the settings of its own benchmark.

It runs in the environment of the rival, and answers one line of JSON on standard input by one on standard output:

    {"at": [[...], ...]}    points
    {"price": [...], "greeks": [[...], ...], "evaluations": 7419, "seconds": 0.9}    there; seconds of the building

Its derivatives are the differences that it takes itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version

import numpy as np
from _black_scholes import BOUNDS, price
from pychebyshev import ChebyshevTT

NODES = 11  # along every input
RANK = 15
SWEEPS = 10
TOLERANCE = 1e-6
SEED = 42


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to standard error: standard output is for answers
    sys.stdout = sys.stderr
    print(json.dumps({"pychebyshev": version("pychebyshev")}), file=answers)
    size = len(BOUNDS)
    orders = np.concatenate([np.zeros((1, size), int), np.eye(size, dtype=int)]).tolist()
    for line in sys.stdin:
        points = json.loads(line)["at"]
        began = time.perf_counter()
        train = ChebyshevTT(
            lambda x, _: float(price(np.array([x]))[0]),
            size,
            [list(bounds) for bounds in BOUNDS],
            [NODES] * size,
            max_rank=RANK,
            max_sweeps=SWEEPS,
            tolerance=TOLERANCE,
        )
        train.build(verbose=False, seed=SEED)
        seconds = time.perf_counter() - began
        made = np.array([train.eval_multi(point, orders) for point in points])
        answer = {"price": made[:, 0].tolist(), "greeks": made[:, 1:].tolist()}
        print(json.dumps({**answer, "evaluations": train.total_build_evals, "seconds": seconds}), file=answers)


if __name__ == "__main__":
    main()
