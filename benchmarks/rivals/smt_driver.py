"""smt's GENN, which wraps jenn: Adam on values and derivatives, in NumPy float64.

Settings: its defaults (normalised data, learning rate 0.05), but for the ridge, which keeps the error of log x above
0.07, and for the learning rate without derivatives, 0.005 (see jenn_driver). It cannot be resumed at another rate.
"""

from __future__ import annotations

import numpy as np
from _driver import WIDTHS, Task, Track, serve
from jenn_driver import ENDLESS, noting
from smt.surrogate_models import GENN


class Smt:
    packages = ("smt", "jenn", "numpy")

    def fit(self, task: Task, track: Track) -> None:
        self.model = GENN(
            hidden_layer_sizes=[*WIDTHS],
            num_iterations=ENDLESS,
            lambd=0.0,
            alpha=0.005 if task.dydx is None else 0.05,
            seed=task.seed,
            print_global=False,
        )
        self.model.load_data(task.x, task.y, task.dydx)
        with noting(track):
            track.start()
            self.model.train()

    def predict(self, weights: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.model.model.parameters.unstack(weights)
        return self.model.predict_values(x), self.model.predict_derivatives(x, 0)


if __name__ == "__main__":
    serve(Smt())
