"""Fitting a Keras model to values and derivatives."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import keras
import numpy as np

from gradwire._errors import UsageError
from gradwire_training import optimizers
from gradwire_training._data import Stream
from gradwire_training._fit.errors import errors_of
from gradwire_training._fit.result import Request, Result
from gradwire_training._models import IoBinding, with_dtype
from gradwire_training._objective import Loss, Objective, Sobolev
from gradwire_training._progress import Callback, Checkpoint, Monitor, asked_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gradwire_training._data import Samples

DTYPE: Final = "float32"  # of packages: what GPUs are fast in
SOBOLEV: Final = Sobolev()
FINISHED: Final = ("completed", "diverged")  # nothing is gained by going on; other fits keep their checkpoint
RANDOM_STATE: Final = "seed_generator_state"  # Keras's name of the variable behind a layer's random numbers


def fit(
    model: keras.Model,
    samples: Samples | Stream,
    *,
    loss: Loss = SOBOLEV,
    optimizer: str | optimizers.Optimizer = "auto",
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    dtype: str = DTYPE,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | Path | None = None,
    resume: bool = False,
    validation: Samples | None = None,
) -> Result:
    """Fits a model to samples of a function and of its derivatives.

    Steps run inside one compiled TensorFlow function, in chunks of about a quarter of a second; between
    chunks, callbacks run and Ctrl-C is heard: it ends the fit and keeps the best weights so far.

    Args:
        model: a Functional or Sequential Keras model with any number of inputs and outputs; it is left as it
            is.
        samples: rows with a column for each of them; a ``Stream`` of them need not fit into memory, and is
            fitted by ``"adam"``.
        loss: ``Sobolev()`` (values and derivatives), ``Value()`` or ``Derivative(pins)``.
        optimizer: ``"auto"``, ``"lm"``, ``"lbfgs"``, ``"adam"``, ``"sgd"``, or one with settings, such as
            ``optimizers.Sgd(learning_rate=0.05)``.
        steps: at most; the optimiser's own number by default.
        seconds: that the fit may take; it ends with the step that passes them. No limit by default: how far a
            limited fit comes depends on the machine, so that it cannot be repeated exactly.
        seed: of layers that draw random numbers, such as dropout, and of the order of mini-batches; the initial
            weights are the model's.
        dtype: of the fitted model, ``"float32"`` or ``"float64"``; auto, lm and lbfgs compute in float64
            either way.
        callbacks: each gets a ``Progress``; one that returns True stops the fit.
        checkpoint: a file that is written every few seconds, and removed when the fit is completed; None
            writes none.
        resume: whether to go on from that file, where it is there: a fit that was killed ends as if it had
            not been.
        validation: rows with the samples' columns that are not fitted: errors are measured on them. By
            default on the truth, where the samples come from a problem, else on the samples themselves.

    Returns:
        The result: it has a status even when the fit was stopped, interrupted or diverged.

    Raises:
        DataError: the samples do not fit the model, or lack labels that the loss needs.
        UsageError: a model of another kind, an argument out of range, or a checkpoint of another fit.
        PackageError: the checkpoint is damaged, or cannot be written.
    """
    chosen, stream = _chosen(optimizer), None
    if isinstance(samples, Stream):
        chosen, stream = _streaming(chosen), samples
        samples, validation = stream.samples, stream.validation if validation is None else validation
    request = Request(
        samples=samples,
        stream=stream,
        loss=loss,
        optimizer=chosen,
        steps=steps,
        seconds=seconds,
        seed=seed,
        dtype=dtype,
        validation=validation,
    )
    if not isinstance(model, keras.Model):
        raise UsageError(f"model is {model!r}, expected a Keras model")
    ports = IoBinding.of(model, samples)
    began = time.perf_counter()
    twin = _seeded(with_dtype(model, request.precision), seed)
    objective = Objective(twin, ports, samples, loss, dtype=request.precision, seed=seed, stream=stream)
    if steps is None:
        request = replace(request, steps=chosen.steps_for(objective))
    monitor = Monitor(request.most_steps, callbacks, seconds=seconds, began=began)
    kept = _keep(checkpoint, request, model, twin, monitor, resume=resume)
    _minimize(request, objective, monitor)
    taken = monitor.seconds
    final = _settle(objective, monitor)
    if kept is not None and monitor.status in FINISHED:
        kept.remove()
    fitted = twin if request.precision == dtype else with_dtype(twin, dtype)
    return Result(
        status=monitor.status,
        message=_message(monitor, request, final),
        steps=monitor.step,
        seconds=taken,
        loss=final,
        history=monitor.history(),
        errors=errors_of(fitted, ports, samples, validation),
        model=fitted,
        request=request,
        ports=ports,
        start=[np.array(weight) for weight in model.weights],
        xla=monitor.xla,
        story=monitor.story,
    )


def _chosen(optimizer: str | optimizers.Optimizer) -> optimizers.Optimizer:
    if isinstance(optimizer, optimizers.Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        return optimizers.get(optimizer)
    raise UsageError(f"optimizer is {optimizer!r}, expected a name or an instance of optimizers.Optimizer")


def _streaming(optimizer: optimizers.Optimizer) -> optimizers.Optimizer:
    match optimizer:
        case optimizers.Auto():
            return optimizers.Adam()
        case optimizers.Adam():
            return optimizer
        case _:
            raise UsageError(f"optimizer {optimizer.name!r} needs all rows in memory: a stream is fitted by 'adam'")


def _seeded(model: keras.Model, seed: int) -> keras.Model:
    generators = [variable for variable in model.variables if variable.name == RANDOM_STATE]
    for index, generator in enumerate(generators):
        generator.assign([seed, index])
    return model


def _keep(
    path: str | Path | None,
    request: Request,
    model: keras.Model,
    twin: keras.Model,
    monitor: Monitor,
    *,
    resume: bool,
) -> Checkpoint | None:
    if path is None:
        if resume:
            raise UsageError("resume needs checkpoint, the file to go on from: give it")
        return None
    checkpoint = Checkpoint(path, asked_of(request, model), twin.variables)
    monitor.keep(checkpoint, resume=resume)
    return checkpoint


def _minimize(request: Request, objective: Objective, monitor: Monitor) -> None:
    try:
        request.optimizer.minimize(objective, monitor, steps=request.most_steps)
    except KeyboardInterrupt:
        monitor.status = "interrupted"


def _settle(objective: Objective, monitor: Monitor) -> float:
    """Leaves the objective with the weights that the result is to have, and gives their loss."""
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
    kept = f"kept the best weights seen, loss {loss:.3g}"
    match monitor.status:
        case "completed" if monitor.step < request.most_steps:
            why = "the time was up" if monitor.time_was_up else "nothing left to gain"
            return f"completed: {why} {done}"
        case "completed":
            return f"completed {monitor.step:,} steps"
        case "stopped":
            return f"stopped by a callback {done}; {kept}"
        case "interrupted":
            return f"interrupted {done}; {kept}"
        case "diverged" if math.isfinite(loss):
            return f"diverged {done}: the loss is not finite any more; {kept}; try a smaller learning rate"
        case "diverged":
            return f"diverged {done}: not even the initial weights give a finite loss; look at the samples' scale"
