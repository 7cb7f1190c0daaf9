"""How far a fitted model is from the truth, or from its own samples where no truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf

from gradwire._errors import ConversionError
from gradwire._package import derivative_name, tangent_name
from gradwire_export import row_derivatives

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from gradwire_training._data import Derivatives, Samples, Table, Truth
    from gradwire_training._models import IoBinding

POINTS: Final = 1_000  # of the domain: the targets are stated on as many


def errors_of(
    model: keras.Model, ports: IoBinding, samples: Samples, validation: Samples | None = None
) -> dict[str, Any]:
    """Measures a model's values and derivatives.

    Args:
        model: in the precision of the package.
        ports: how its names and the samples' match.
        samples: made by a problem, which then gives the truth all over its domain; else they are the truth.
        validation: rows that were not fitted: then they are the truth.

    Returns:
        ``{tensor: {"max": …, "rmse": …}, "points": …, "against": …}``, tensors named as in a package; None
        where the model's answer is not finite, or where it has no such derivative.
    """
    x, y, dydx, against = yardstick(samples, validation)
    values, derivatives = evaluate_what_there_is(model, ports, x, dydx)
    tensors = {name: _sizes(values[name], y[name]) for name in values}
    for output, by in dydx.items():
        for wrt, truth in by.items():
            derivative = derivatives.get(output, {}).get(wrt, np.full_like(truth, np.nan))
            tensors[derivative_name(output, wrt)] = _sizes(derivative, truth)
    tensors |= _along_directions(model, ports, samples if validation is None else validation)
    return {**tensors, "points": len(next(iter(x.values()))), "against": against}


def _along_directions(model: keras.Model, ports: IoBinding, samples: Samples) -> dict[str, Any]:
    """Measures the derivatives along the samples' own directions, ``f_dot``."""
    wanted = dict.fromkeys(samples.y_dot, samples.x_dot)
    _, derivatives = evaluate_what_there_is(model, ports, samples.x, wanted)
    tensors: dict[str, Any] = {}
    for output, truth in samples.y_dot.items():
        moved = np.zeros((samples.count, truth[0].size))
        for wrt, direction in samples.x_dot.items():
            flat = np.nan_to_num(direction.reshape(samples.count, -1))
            unknown = np.full((*moved.shape, flat.shape[1]), np.nan)
            by_numbers = derivatives.get(output, {}).get(wrt, unknown).reshape(unknown.shape)
            moved += np.einsum("bof,bf->bo", by_numbers, flat)
        tensors[tangent_name(output)] = _sizes(moved, truth)
    return tensors


def yardstick(samples: Samples, validation: Samples | None) -> tuple[Table, Table, Derivatives, str]:
    """Gives what a fit is measured on: points, values, derivatives, and what they are, in words."""
    if validation is not None:
        against = f"{validation.count:,} rows that were held out of the fit"
        return validation.x, validation.y, validation.dydx, against
    if samples.provenance is None:
        against = f"the {samples.count} samples that it was fitted to (no other truth is known)"
        return samples.x, samples.y, samples.dydx, against
    known = samples.provenance.truth
    x = known.test_points(POINTS)
    return x, known.f(x), known.df(x), _domain_text(known)


def evaluate(model: keras.Model, ports: IoBinding, x: Table, wanted: Derivatives) -> tuple[Table, Derivatives]:
    """Computes a model's values and derivatives as arrays.

    Args:
        model: in any precision.
        ports: how its names and the caller's match.
        x: name -> ``(rows, *row shape)``.
        wanted: output -> input -> anything: the pairs to differentiate.

    Returns:
        Values by output, and derivatives by output and input.
    """
    floats = model.variable_dtype
    inputs = {
        port.name: tf.constant(x[port.name].reshape(-1, *port.shape), floats if port.is_floating else port.dtype)
        for port in ports.inputs
    }
    values, derivatives = row_derivatives(
        lambda columns: ports.call(model, columns, training=False),
        inputs,
        {output: list(by) for output, by in wanted.items() if by},
        {port.name: port.shape for port in ports.outputs},
    )
    return (
        {name: np.asarray(value) for name, value in values.items()},
        {output: {wrt: np.asarray(value) for wrt, value in by.items()} for output, by in derivatives.items()},
    )


def evaluate_what_there_is(
    model: keras.Model, ports: IoBinding, x: Table, wanted: Derivatives
) -> tuple[Table, Derivatives]:
    """Leaves derivatives out where the model has none: a fit of values alone may end all the same."""
    floating = {port.name for port in ports.inputs if port.is_floating}
    possible = {output: {w: c for w, c in by.items() if w in floating} for output, by in wanted.items()}
    try:
        return evaluate(model, ports, x, possible)
    except ConversionError:
        return evaluate(model, ports, x, {})


def _sizes(given: NDArray[Any], truth: NDArray[np.float64]) -> dict[str, float | None]:
    errors = given.reshape(truth.shape) - truth
    errors = errors[~np.isnan(truth)]  # missing labels
    if not errors.size or not np.isfinite(errors).all():
        return {"max": None, "rmse": None}
    return {"max": float(np.abs(errors).max()), "rmse": float(np.sqrt(np.mean(errors**2)))}


def _domain_text(known: Truth) -> str:
    return f"{known.formula} on {POINTS} points of {known.where}"
