"""The error bars of a fit, calibrated on the rows that it is measured on."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from gradwire_training._data import Table
from gradwire_training._fit.evaluation import EvaluationSet, evaluate
from gradwire_training._fit.invariance import feels_distances_alone
from gradwire_training._fit.request import Request
from gradwire_training._models import BoundTensor, IoBinding, with_dtype
from gradwire_training._objective import FittedRows
from gradwire_training._uncertainty import LabelledRows, NoUncertainty, Uncertainty, estimate


def uncertainty_of(model: keras.Model, binding: IoBinding, request: Request) -> Uncertainty | NoUncertainty:
    """Estimate how sure a fitted model is: on held-out rows, or on the truth of a built-in problem."""
    measured = EvaluationSet.of(request.samples, request.validation)
    if any(_feels_no_turn(model, binding, request.samples.x, tensor) for tensor in binding.inputs):
        return NoUncertainty(
            "the network is one of atoms: the bar of a force turns with the cluster, which no small network returns"
        )
    fitted = EvaluationSet.fitted(FittedRows.of(request.samples, request.loss), {})
    with threadpool_limits(limits=1, user_api="blas"):  # many small products: threads would wait for one another
        return estimate(
            model,
            binding,
            request.samples,
            fitted=_labelled(fitted),
            held_out=None if measured.reference == "fitted rows" else _labelled(measured),
            against=measured.against,
            rounding=_rounding(model, binding, measured),
        )


def _feels_no_turn(model: keras.Model, binding: IoBinding, x: Table, tensor: BoundTensor) -> bool:
    """Return whether the outputs stay the same where atoms are turned, however they may be numbered."""
    each_its_own = [str(atom) for atom in range(next(iter(tensor.shape), 0))]
    return feels_distances_alone(model, binding, x, tensor, each_its_own)


def _rounding(model: keras.Model, binding: IoBinding, rows: EvaluationSet) -> NDArray[np.float64]:
    """Return how far the model is from itself in float64, ``(output elements, 1 + input elements)``: its rounding."""
    x = {tensor.name: rows.x[tensor.name] for tensor in binding.inputs}
    pairs = {output.name: list(x) for output in binding.outputs}

    def predictions(model: keras.Model) -> NDArray[np.float64]:
        values, derivatives = evaluate(model, binding, x, pairs)
        return LabelledRows(x, values, derivatives).labels().astype(np.float64)

    return np.sqrt(np.mean((predictions(model) - predictions(with_dtype(model, "float64"))) ** 2, axis=0))


def _labelled(rows: EvaluationSet) -> LabelledRows:
    """Return the labels; those of rows that weigh nothing are unknown."""
    if rows.weights is None:
        return LabelledRows(rows.x, rows.y, rows.dydx)
    left_out = rows.weights == 0

    def known(table: Table) -> Table:
        return {
            name: np.where(left_out.reshape(-1, *[1] * (column.ndim - 1)), np.nan, column)
            for name, column in table.items()
        }

    dydx = {output: known(by) for output, by in rows.dydx.items()}
    return LabelledRows(rows.x, known(rows.y), dydx, rows.weights)
