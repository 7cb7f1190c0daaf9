"""Plots of a fit of any shape: predicted against expected, tensor by tensor, and the errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradwire._pages import DERIVATIVE_COLOR, VALUE_COLOR, Parity, Plot, parity_figure
from gradwire_training._fit import Comparison, TensorComparison

MOST_POINTS: Final = 2_000  # of a panel, so that a page stays light: the worst, and others at random
WORST: Final = 200


def parity_plots(comparison: Comparison) -> list[Plot]:
    """Plot values, and derivatives where there are any."""
    comparison = comparison.by_alias()
    values, derivatives = (
        [tensor for tensor in comparison.tensors if tensor.kind == kind] for kind in ("value", "derivative")
    )
    expected = "the truth" if comparison.is_truth else f"the labels of {comparison.reference}"
    caption = f"{{what}} of the model against {expected}; below, the errors. On the grey line both are equal."
    word = "truth" if comparison.is_truth else "label"
    plots = [Plot("values", caption.format(what="Values"), parity_figure(_panels(values), VALUE_COLOR, word))]
    if derivatives:
        figure = parity_figure(_panels(derivatives), DERIVATIVE_COLOR, word)
        plots.append(Plot("derivatives", caption.format(what="Derivatives"), figure))
    return plots


def _panels(tensors: Sequence[TensorComparison]) -> list[Parity]:
    return [
        Parity(tensor.name, tensor.unit, *_some(tensor), tensor.max, tensor.rmse, tensor.relative) for tensor in tensors
    ]


def _some(tensor: TensorComparison) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return finite points, expected and predicted: all of a few, or the worst and others at random."""
    predicted, expected = tensor.labelled()
    order = np.argsort(-np.abs(predicted - expected))  # NaN comes last
    order = order[np.isfinite(predicted[order])]
    if len(order) > MOST_POINTS:
        others = np.random.default_rng(0).choice(order[WORST:], MOST_POINTS - WORST, replace=False)
        order = np.concatenate([order[:WORST], others])
    return expected[order], predicted[order]
