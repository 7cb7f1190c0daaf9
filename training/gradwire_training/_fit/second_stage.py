r"""A second stage: a network fitted to what the first one leaves, added to it.

With the first network f_1 and the residuals r = y - f_1(x), r' = y' - f_1'(x), of spread eps, a second network g is
fitted to r / eps and r' / eps, and the model becomes

.. math:: f(x) = f_1(x) + \epsilon \, g(x), \qquad f' = f_1' + \epsilon \, g',

whose errors are eps times those of a fit that begins again at one (Wang and Lai, arXiv 2307.08934: multi-stage neural
networks). That holds for residuals that are a function of x: those of noise are not, nor those that rounding leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import keras
import numpy as np

from gradwire._errors import DataError, UsageError
from gradwire_training import optimizers
from gradwire_training._data import Samples, hold_out
from gradwire_training._fit.evaluation import compare, evaluate
from gradwire_training._fit.fit import fit
from gradwire_training._fit.record import STAGES
from gradwire_training._fit.result import Result
from gradwire_training._models import BoundTensor, IoBinding, mlp, with_dtype
from gradwire_training._objective import Loss, Objective, losses
from gradwire_training._progress import Callback

WIDTHS: Final = (20, 20)  # of the second network: two of 32 gained no more in the same time, one of 60 less
STEPS: Final = 1_000  # of Levenberg-Marquardt: a second for 60 samples of the logarithm with derivatives
TRIAL: Final = 300  # of them, of the trial on some of the rows
SECOND_STAGE: Final = "lm on the residuals"  # the optimiser's name in the history
GAIN: Final = 0.5  # of the error on rows held out: a stage that leaves more has learned noise or nothing
MOST_LABELS: Final = 3_000  # a step then takes some hundredths of a second


def refine(result: Result, *, callbacks: Sequence[Callback] = ()) -> Result:
    """Fit a second network to the residuals of a fit, and add it to the first.

    It is for labels without noise and packages in float64: of the logarithm from 60 samples it lowers the errors a
    hundredfold. Whether it helps is tried on a fifth of the rows, which a trial of the second network is not fitted to:
    where their error does not fall by half, the result stays as it is, with a note of why.

    Args:
        result: of a completed fit in float64.
        callbacks: as in ``fit``.

    Returns:
        A result whose model is the sum, with the steps, seconds and history of both fits; or the given one with a note.

    Raises:
        UsageError: a fit in float32, whose rounding is above what a second stage gains; a fit of a stream, one that has
            two stages already, or one with an integer input.
        DataError: the samples have derivatives along directions, or too many labels for Levenberg-Marquardt.
    """
    _check(result)
    request = result.request
    if result.status != "completed":
        return _left_out(result, f"the first fit is {result.status}")
    seed = request.seed + 1  # of the second network's initial weights
    samples = _residuals(result, request.samples)
    pins = None if request.loss.pins is None else _residuals(result, request.loss.pins)
    # Of residuals, none is an outlier, and no error is relative to them.
    loss = losses.from_settings(request.loss.settings() | dict.fromkeys(losses.PENALTIES), pins)
    fitted, others = hold_out(samples, seed=seed, least=2)
    if others is None:
        return _left_out(result, "a single point tells nothing of the points between")
    trial = _fit_network(fitted, loss, seed, steps=TRIAL, validation=others)
    left = _error_left(trial, others, loss)
    if not left < GAIN:
        return _left_out(result, f"it would leave {left:.0%} of the error on rows that it is not fitted to")
    second = _fit_network(samples, loss, seed, steps=STEPS, callbacks=callbacks)
    model = _sum(result, second)
    binding = IoBinding.of(model, request.samples)
    comparison = compare(model, binding, request)
    changes = [
        (before.name, before.rmse, after.rmse)
        for before, after in zip(result.comparison.tensors, comparison.tensors, strict=True)
        if before.labels == "fitted" and before.rmse and after.rmse is not None
    ]
    # Between its samples a function may differ from the first network by much more than at them.
    if not any(after < GAIN * before for _, before, after in changes):
        return _left_out(result, f"it leaves the errors on {comparison.against} as they are")
    texts = [f"{name} {before:.2g} to {after:.2g}" for name, before, after in changes]
    note = f"a second network, fitted to what the first one leaves, lowers the rmse: {', '.join(texts)}"
    later = second.history | {
        "step": second.history["step"] + result.steps,
        "optimizer": np.full(second.steps, SECOND_STAGE),
    }
    objective = Objective(model, binding, request.samples, request.loss, dtype=request.dtype)
    return replace(
        result,
        model=model,
        binding=binding,
        comparison=comparison,
        steps=result.steps + second.steps,
        seconds=result.seconds + trial.seconds + second.seconds,
        message=f"{result.message}; second stage: {second.message}",
        loss=float(objective.loss_and_mae()[0]),
        history={name: np.concatenate([column, later[name]]) for name, column in result.history.items()},
        notes=(*result.notes, note),
        stages=2,
    )


def _check(result: Result) -> None:
    request = result.request
    if request.dtype != "float64":
        raise UsageError(
            f"a second stage needs a fit in float64, this one is {request.dtype}, whose rounding is above what it "
            "gains: give dtype='float64' (--dtype float64)"
        )
    if request.loss.signs:
        raise UsageError(
            "a second stage keeps no signs: the slopes of a sum are not those of its parts; leave it out, or monotone and "
            "bounds"
        )
    if request.stream is not None:
        raise UsageError("a second stage needs all rows in memory, and these are a stream: leave it out")
    if result.stages > 1:
        raise UsageError(f"the fit has {result.stages} stages already: refine a fit of one")
    if integers := [tensor.name for tensor in result.binding.inputs if not tensor.is_floating]:
        raise UsageError(f"a second stage needs inputs that are no integers, {integers[0]!r} is one: leave it out")
    if request.samples.x_dot:
        raise DataError(
            "a second stage fits values and partial derivatives, and these are along directions: leave it out"
        )
    labels = request.samples.value_labels + request.samples.derivative_labels
    if labels > MOST_LABELS:
        raise DataError(
            f"a second stage takes Levenberg-Marquardt, for which {labels:,} labels are too many: leave it out"
        )


def _left_out(result: Result, why: str) -> Result:
    return replace(result, notes=(*result.notes, f"the second stage was left out: {why}"))


def _residuals(result: Result, samples: Samples) -> Samples:
    """Return the same rows with what the model leaves of their labels."""
    values, derivatives = evaluate(result.model, result.binding, samples.x, samples.dydx)
    columns = samples.columns()
    for key, column in columns.items():
        if key.role in ("y", "dydx"):
            predicted = values[key.output] if key.role == "y" else derivatives[key.output][key.input]
            columns[key] = column - predicted.reshape(column.shape)
    return Samples.from_columns(columns)


def _fit_network(samples: Samples, loss: Loss, seed: int, **settings: Any) -> Result:
    """Fit a network to residuals; its last layer multiplies by their spread."""
    shapes = ({name: column.shape[1:] for name, column in table.items()} for table in (samples.x, samples.y))
    inputs, outputs = shapes
    model = mlp(inputs=inputs, outputs=outputs, widths=WIDTHS, activation="tanh", seed=seed, scale=samples)
    return fit(model, samples, loss=loss, optimizer=optimizers.Lm(), seed=seed, dtype="float64", **settings)


def _error_left(result: Result, rows: Samples, loss: Loss) -> float:
    """Return how much of the residuals of some rows a network leaves, of the labels that the loss fits at most."""
    values, derivatives = evaluate(result.model, result.binding, rows.x, rows.dydx)
    left: list[float] = []
    for key, column in rows.columns().items():
        if (key.role == "y" and loss.pins is None) or (key.role == "dydx" and loss.derivative_weight):
            predicted = values[key.output] if key.role == "y" else derivatives[key.output][key.input]
            before, after = (float(np.nansum(each**2)) for each in (column, column - predicted.reshape(column.shape)))
            left.append(np.sqrt(after / before) if before else 0.0)
    return max(left, default=1.0)


def _sum(first: Result, second: Result) -> keras.Model:
    """Return the model of the sum of both, with inputs and outputs by the samples' names."""
    inputs = {
        tensor.name: keras.Input(tensor.shape, name=tensor.name, dtype="float64") for tensor in first.binding.inputs
    }
    parts: list[dict[str, Any]] = []
    for name, result in zip(STAGES, (first, second), strict=True):
        result.model.name = name  # both may have one name, which a model of models cannot have
        seen = {tensor.name: _shaped(inputs[tensor.name], tensor) for tensor in result.binding.inputs}
        values = result.binding.call(result.model, seen, training=False)
        parts.append({tensor.name: _shaped(values[tensor.name], tensor) for tensor in first.binding.outputs})
    outputs = {name: keras.layers.Add(name=name, dtype="float64")([part[name] for part in parts]) for name in parts[0]}
    return with_dtype(keras.Model(inputs, outputs), "float64")


def _shaped(tensor: Any, bound: BoundTensor) -> Any:
    """Return a tensor with the rows of one that is bound: (batch,) and (batch, 1) are told apart."""
    if tuple(tensor.shape[1:]) == bound.shape:
        return tensor
    return keras.layers.Reshape(bound.shape, dtype="float64")(tensor)
