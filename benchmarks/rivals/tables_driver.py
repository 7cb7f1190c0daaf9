"""Rivals on tables of several inputs and outputs: scikit-learn's Gaussian process and perceptron, smt's kriging, jenn.

It runs in the environment of the rival, and answers one line of JSON on standard input by one on standard output:

    {"way": "gp", "rows": "rows.npz", "seed": 0}    x (rows, n), y (rows, m), dydx (rows, m, n) or none, at (points, n)
    {"predictions": [[...], ...], "seconds": 1.2}   y at the points

Inputs and outputs are scaled to mean 0 and spread 1 for each of them. Settings are the rivals' own, but for these: the
Gaussian process has a length for every input and a noise that it estimates; the perceptron has two layers of 20, as
ours, L-BFGS with 5,000 steps, and its own ridge (alpha 1e-4); kriging estimates its noise, from two starts; jenn has
two layers of 20, a ridge of 1e-4, and 5,000 steps.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before it is loaded: on small matrices its threads wait for one another

import numpy as np

Array = np.ndarray
WIDTHS = (20, 20)
STEPS = 5_000
RIDGE = 1e-4


def gp(x: Array, y: Array, _: Array | None, seed: int) -> Callable[[Array], Array]:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    models = []
    for column in y.T:
        kernel = ConstantKernel() * RBF(np.ones(x.shape[1])) + WhiteKernel(1e-2, (1e-10, 1e1))
        models.append(GaussianProcessRegressor(kernel, random_state=seed).fit(x, column))
    return lambda at: np.stack([model.predict(at) for model in models], axis=1)


def mlp(x: Array, y: Array, _: Array | None, seed: int) -> Callable[[Array], Array]:
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(
        hidden_layer_sizes=WIDTHS,
        activation="tanh",
        solver="lbfgs",
        alpha=RIDGE,
        max_iter=STEPS,
        max_fun=2 * STEPS,
        random_state=seed,
    ).fit(x, y if y.shape[1] > 1 else y.ravel())
    return lambda at: model.predict(at).reshape(len(at), -1)


def kriging(x: Array, y: Array, _: Array | None, seed: int) -> Callable[[Array], Array]:
    from smt.surrogate_models import KRG

    model = KRG(eval_noise=True, n_start=2, print_global=False, seed=seed)
    model.set_training_values(x, y)
    model.train()
    return model.predict_values


def jenn(x: Array, y: Array, dydx: Array | None, seed: int) -> Callable[[Array], Array]:
    from jenn import NeuralNet

    model = NeuralNet([x.shape[1], *WIDTHS, y.shape[1]])
    slopes = None if dydx is None else dydx.transpose(1, 2, 0)
    model.fit(x.T, y.T, slopes, lambd=RIDGE, max_iter=STEPS, random_state=seed)
    return lambda at: model.predict(at.T).T


WAYS = {"gp": gp, "mlp": mlp, "kriging": kriging, "jenn": jenn}


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    with np.load(request["rows"]) as rows:
        x, y, at = rows["x"], rows["y"], rows["at"]
        dydx = rows.get("dydx")
    (x_mean, x_spread), (y_mean, y_spread) = ((part.mean(axis=0), part.std(axis=0)) for part in (x, y))
    slopes = None if dydx is None else dydx * x_spread / y_spread[:, None]
    began = time.perf_counter()
    predict = WAYS[request["way"]]((x - x_mean) / x_spread, (y - y_mean) / y_spread, slopes, request["seed"])
    seconds = time.perf_counter() - began
    predictions = y_mean + y_spread * predict((at - x_mean) / x_spread)
    return {"predictions": predictions.tolist(), "seconds": seconds}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to standard error: standard output is for answers
    sys.stdout = sys.stderr
    warnings.simplefilter("ignore")
    print("{}", file=answers)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
