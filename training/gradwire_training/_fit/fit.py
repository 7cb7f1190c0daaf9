"""Fitting a Keras model to values and derivatives."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import keras
from numpy.typing import ArrayLike

from gradwire._errors import UsageError
from gradwire_export import right_gradients
from gradwire_training import optimizers
from gradwire_training._data import Samples, Stream
from gradwire_training._fit.evaluation import Comparison, compare
from gradwire_training._fit.request import Request, run_fingerprint
from gradwire_training._fit.result import Result
from gradwire_training._fit.start import Start
from gradwire_training._fit.violations import violations_of
from gradwire_training._models import (
    RANDOM_STATE,
    IoBinding,
    array_of,
    reduction_of,
    replaced_policies,
    require_no_own_training,
    rounding_notes,
    with_dtype,
)
from gradwire_training._objective import Loss, Objective, Sobolev
from gradwire_training._progress import Callback, Checkpoint, Monitor, percent
from gradwire_training.networks import ChosenNetwork
from gradwire_training.optimizers import Auto, Optimizer

DTYPE: Final = "float32"  # of packages: what GPUs are fast in
SOBOLEV: Final = Sobolev()
FAR_OFF: Final = 0.1  # of the spread: a fit that misses by more is not done, whatever its loss
LEAST_SECONDS: Final = 1e-3  # of a fit whose network took all its time to choose: the first step is taken
FINISHED: Final = ("completed", "diverged")  # nothing is gained by resuming; other fits keep their checkpoint


def fit(
    model: keras.Model | Start | ChosenNetwork,
    samples: Samples | Stream,
    *,
    loss: Loss = SOBOLEV,
    optimizer: str | Optimizer = "auto",
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    dtype: str = DTYPE,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    validation: Samples | None = None,
    weights: ArrayLike | None = None,
) -> Result:
    """Fit a model to samples of a function and of its derivatives.

    Steps run in chunks of about a quarter of a second; between chunks, callbacks run and Ctrl-C is heard: it ends the
    fit, which keeps the best weights so far.

    Args:
        model: a Functional or Sequential Keras model with any number of inputs and outputs; it is left as it is. Or
            what ``load`` returns: the fit starts from an earlier one, and the result has the errors of both on the
            same rows. Or what ``networks.choose`` returns.
        samples: rows with a column for each of them; a ``Stream`` of them need not fit into memory, and is fitted by
            ``"adam"``.
        loss: ``Sobolev()`` (values and derivatives), ``Value()`` or ``Derivative(pins)``.
        optimizer: ``"auto"``, ``"lm"``, ``"bayes"``, ``"lbfgs"``, ``"adam"``, ``"sgd"``, or one with settings, such as
            ``optimizers.Sgd(learning_rate=0.05)``.
        steps: at most; the optimiser's own number by default.
        seconds: that the fit may take, the choice of its network included; it ends with the step that passes them. No
            limit by default: how far a limited fit comes depends on the machine, so that it cannot be repeated exactly.
        seed: of layers that draw random numbers, such as dropout, and of the order of mini-batches; the initial weights
            are the model's.
        dtype: of the fitted model, ``"float32"`` or ``"float64"``; auto, lm and lbfgs compute in float64 either way.
        callbacks: each gets a ``Progress``; one that returns True stops the fit.
        checkpoint: a file that is written every few seconds, and removed when the fit is completed; None writes none.
        resume: whether to go on from that file, if it exists: a fit that was killed ends as if it had not been.
        validation: rows with the samples' columns that are not fitted: errors are measured on them. By default on the
            truth, where the samples come from a problem, else on the samples themselves.
        weights: ``(rows,)``: how much each row counts, in place of the samples' own weights; rows with the weight 0 are
            left out. By default the samples' own, else all rows count the same.

    Returns:
        The result: it has a status even when the fit was stopped, interrupted or diverged.

    Raises:
        DataError: the samples do not fit the model, lack labels that the loss needs, or have rows that ``dtype`` cannot
            tell apart.
        UsageError: a model of another kind, or with what the optimiser does not honour; an argument out of range, or a
            checkpoint of another fit.
        PackageError: the checkpoint is damaged, or cannot be written.
    """
    if weights is not None:
        if not isinstance(samples, Samples):
            raise UsageError("weights are of rows in memory: name a column, Stream(weights=...), or give Samples")
        samples = samples.weighted(weights)
    request = Request.of(
        samples, optimizer, loss=loss, steps=steps, seconds=seconds, seed=seed, dtype=dtype, validation=validation
    )
    start = model if isinstance(model, Start) else None
    chosen = model if isinstance(model, ChosenNetwork) else None
    if isinstance(model, Start | ChosenNetwork):
        model = model.model
    if not isinstance(model, keras.Model):
        raise UsageError(f"model is {model!r}, expected a Keras model")
    require_no_own_training(model)
    binding = IoBinding.of(model, request.samples)
    rounded = rounding_notes(request.samples, binding, dtype)
    began = time.perf_counter()
    trained = _seeded(with_dtype(model, request.precision), seed)
    objective = Objective(
        trained, binding, request.samples, loss, dtype=request.precision, seed=seed, stream=request.stream
    )
    optimizers.require_honoured(request.optimizer, objective.features)
    if steps is None:
        request = replace(request, steps=request.optimizer.steps_for(objective))
    spent = 0.0 if chosen is None else chosen.seconds
    monitor = Monitor(
        request.most_steps,
        callbacks,
        seconds=None if seconds is None else max(seconds - spent, LEAST_SECONDS),
        began=began,
        network=None if chosen is None else chosen.settings(),
    )
    file = _checkpoint(checkpoint, request, model, trained, resume=resume)
    if file is not None:
        monitor.use_checkpoint(file, resume=resume)
    try:
        with (
            right_gradients()
        ):  # fits of derivatives follow second ones, wrong in TensorFlow through LayerNormalization
            request.optimizer.minimize(objective, monitor, steps=request.most_steps)
    except KeyboardInterrupt:
        monitor.status = "interrupted"
    taken = spent + monitor.seconds
    final_loss = _settle(objective, monitor)
    if file is not None and monitor.status in FINISHED:
        file.remove()
    fitted = trained if request.precision == dtype else with_dtype(trained, dtype)
    comparison = compare(fitted, binding, request)
    violations = violations_of(fitted, binding, request)
    reduction = reduction_of(model, request.samples, [tensor.name for tensor in binding.inputs])
    return Result(
        status=monitor.status,
        message=_message(monitor, request, final_loss) + _caveat(monitor, comparison),
        steps=monitor.step,
        seconds=taken,
        loss=final_loss,
        history=monitor.history(),
        comparison=comparison,
        model=fitted,
        request=request,
        binding=binding,
        start=[array_of(weight) for weight in model.weights],
        origin=None if start is None else start.origin,
        before=None if start is None else compare(model, binding, request),
        xla=monitor.xla,
        selection_reason="; ".join(
            reason for reason in ("" if chosen is None else chosen.reason, monitor.selection_reason) if reason
        ),
        chosen_network=None if chosen is None else chosen.settings(),
        notes=(
            *rounded,
            *replaced_policies(model, dtype),
            *objective.notes,
            *([] if reduction is None else [str(reduction)]),
            *map(str, violations),
            *comparison.warnings(remedies=_remedies(request)),
        ),
        reduction=reduction,
        violations=violations,
    )


def _seeded(model: keras.Model, seed: int) -> keras.Model:
    generators = [variable for variable in model.variables if variable.name == RANDOM_STATE]
    for index, generator in enumerate(generators):
        generator.assign([seed, index])
    return model


def _checkpoint(
    path: str | Path | None, request: Request, model: keras.Model, trained: keras.Model, *, resume: bool
) -> Checkpoint | None:
    if path is not None:
        return Checkpoint(path, run_fingerprint(request, model), trained.variables)
    if resume:
        raise UsageError("resume needs checkpoint, the file to go on from: give it")
    return None


def _settle(objective: Objective, monitor: Monitor) -> float:
    """Leave the objective with the weights of the result, and return their loss, as they are exported."""
    loss = _choose_weights(objective, monitor)
    objective.settle()
    if not objective.has_two_forms:
        return loss
    loss = float(objective.loss_and_mae()[0])
    if not math.isfinite(loss):
        monitor.status = "diverged"
    return loss


def _choose_weights(objective: Objective, monitor: Monitor) -> float:
    weights = objective.snapshot()
    loss = float(objective.loss_and_mae()[0])
    objective.restore(weights)  # the evaluation moved the averages of batch normalisation
    if not math.isfinite(loss):
        monitor.status = "diverged"
    if monitor.status == "completed":
        return loss
    monitor.offer(loss, weights)
    if monitor.best is None:
        return loss
    loss, weights = monitor.best
    objective.restore(weights)
    return loss


def _message(monitor: Monitor, request: Request, loss: float) -> str:
    done = f"after {monitor.step:,} of {request.most_steps:,} steps"
    best = f"kept the best weights seen, loss {loss:.3g}"
    match monitor.status:
        case "completed" if monitor.step < request.most_steps:
            why = "the time was up" if monitor.time_was_up else "nothing left to gain"
            return f"completed: {why} {done}"
        case "completed":
            return f"completed {monitor.step:,} steps"
        case "stopped":
            return f"stopped by a callback {done}; {best}"
        case "interrupted":
            return f"interrupted {done}; {best}"
        case "diverged" if math.isfinite(loss):
            return f"diverged {done}: the loss is not finite any more; {best}; try a smaller learning rate"
        case "diverged":
            return f"diverged {done}: not even the initial weights give a finite loss; look at the samples' scale"


def _caveat(monitor: Monitor, comparison: Comparison) -> str:
    """Return what a completed fit must not hide: that it is far off where it was not fitted."""
    if monitor.status != "completed" or comparison.largest_relative < FAR_OFF:
        return ""
    verb = "is" if comparison.is_truth else "are"
    return f"; {comparison.where} {verb} missed by up to {percent(comparison.largest_relative)} of the spread"


def _remedies(request: Request) -> str:
    """Return what would help against overfitting."""
    ways = ["more rows", "a smaller network"]
    if not request.samples.derivative_labels:
        ways.insert(1, "slopes beside the values")
    if request.optimizer.name != Auto.name:
        ways.append("the optimizer auto, which chooses by rows held out")
    return f"what helps: {', '.join(ways[:-1])}, or {ways[-1]}"
