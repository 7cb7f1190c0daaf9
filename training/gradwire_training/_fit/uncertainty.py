"""The error bars of a fit, calibrated on the rows that it is measured on."""

from __future__ import annotations

import keras
from threadpoolctl import threadpool_limits

from gradwire_training._fit.evaluation import EvaluationSet
from gradwire_training._fit.request import Request
from gradwire_training._models import IoBinding
from gradwire_training._objective import FittedRows
from gradwire_training._uncertainty import LabelledRows, NoUncertainty, Uncertainty, estimate


def uncertainty_of(model: keras.Model, binding: IoBinding, request: Request) -> Uncertainty | NoUncertainty:
    """Estimate how sure a fitted model is: on held-out rows, or on the truth of a built-in problem."""
    measured = EvaluationSet.of(request.samples, request.validation)
    fitted = EvaluationSet.fitted(FittedRows.of(request.samples, request.loss), {})
    with threadpool_limits(limits=1, user_api="blas"):  # many small products: threads would wait for one another
        return estimate(
            model,
            binding,
            request.samples,
            fitted=_labelled(fitted),
            held_out=None if measured.reference == "fitted rows" else _labelled(measured),
            against=measured.against,
            dtype=request.dtype,
        )


def _labelled(rows: EvaluationSet) -> LabelledRows:
    return LabelledRows(rows.x, rows.y, rows.dydx)
