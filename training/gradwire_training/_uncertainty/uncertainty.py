"""Error bars of a fit: from the network and its rows to a model of standard deviations, and what the card says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from gradwire._package import std_name
from gradwire_training._data import Samples
from gradwire_training._models import IoBinding, with_dtype
from gradwire_training._uncertainty.calibration import (
    LEAST_LABELS,
    Calibration,
    LabelledRows,
    calibrate,
    elements_without_labels,
    most_rows,
)
from gradwire_training._uncertainty.laplace import Spectrum
from gradwire_training._uncertainty.network import NOT_TRACED, Network, network_of
from gradwire_training._uncertainty.std_network import KINDS, POINTS, StdNetwork, columns_of, split_points

Array: TypeAlias = "NDArray[np.float64]"

METHOD: Final = "Laplace approximation (Gauss-Newton), calibrated on rows that were not fitted"
MOST_ELEMENTS: Final = 128  # values and derivatives of a row
# Of the fitted rows: a point with a larger bar than theirs is far from the samples. On 350 runs of a wing that tells
# 89 % of a corner without runs, 7 % of the rest of the box, and no held-out row.
NEAR: Final = 0.99
MOST_SECONDS: Final = 30.0  # for Jacobians: where those of all rows and points take longer, a part of them is taken
LEAST_PART: Final = 0.2  # of up to 1,000 fitted rows, 500 held-out ones, and 2,000 points


@final
@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Error bars.

    Attributes:
        model: of the inputs; its outputs are the standard deviations, ``f_std`` and ``df_dx_std``.
        record: what the card says of them.
    """

    model: keras.Model
    record: dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class NoUncertainty:
    """Why a fit has no error bars, as the end of a sentence that begins with "no error bars, because"."""

    reason: str

    @property
    def record(self) -> dict[str, Any]:
        """What the card says."""
        return {"reason": self.reason}


def estimate(
    model: keras.Model,
    binding: IoBinding,
    samples: Samples,
    *,
    fitted: LabelledRows,
    held_out: LabelledRows | None,
    against: str,
    rounding: Array,
) -> Uncertainty | NoUncertainty:
    """Estimate how sure a fitted model is.

    Args:
        model: the fitted model, in the dtype of the package.
        binding: how names of samples and model match.
        samples: whose means and spreads scale the inputs.
        fitted: rows and the labels that were fitted.
        held_out: rows with labels that were not fitted; None where there are none.
        against: what those are, for the card: ``"60 held-out rows"``.
        rounding: of the package's values and derivatives, ``(output elements, 1 + input elements)``: an error of its
            own, which is larger than that of the function where labels are exact.

    Returns:
        The bars, or the reason why there are none.
    """
    if held_out is None:
        return NoUncertainty("no rows were held out to calibrate them on: train with --holdout 0.2")
    fitted, held_out = _ordered(fitted, binding), _ordered(held_out, binding)
    if reason := _refusal(binding, held_out):
        return NoUncertainty(reason)
    wide = with_dtype(model, "float64")
    try:
        network = network_of(wide, binding)
    except (*NOT_TRACED, tf.errors.OpError) as error:
        why = str(error).strip().splitlines()[0]
        return NoUncertainty(f"TensorFlow cannot differentiate its derivatives with respect to the weights: {why}")
    rows_at = most_rows(fitted, held_out) + KINDS * POINTS
    part = MOST_SECONDS / max(MOST_SECONDS, rows_at * network.row_seconds)
    if part < LEAST_PART:
        return NoUncertainty(
            f"their Jacobian takes {network.row_seconds:.2g} s a row, {MOST_SECONDS / part:,.0f} s for {rows_at:,} rows, "
            f"and {MOST_SECONDS / LEAST_PART:.0f} s are the most"
        )
    try:
        spectrum, calibration = calibrate(network, fitted, held_out, part=part)
    except FloatingPointError as error:
        return NoUncertainty(str(error))
    like = fitted.points()
    rows = np.concatenate(list(like.values()), axis=1)

    def exact(points: Array) -> Array:
        return np.hypot(_stds(network, spectrum, calibration, split_points(points, like)), rounding.ravel())

    stds = StdNetwork.fit(exact, rows, samples, part=part)
    return Uncertainty(
        stds.model(binding, samples, str(model.variable_dtype)), _record(binding, calibration, stds(rows), against)
    )


def _refusal(binding: IoBinding, held_out: LabelledRows) -> str:
    """Return why a model of these inputs and outputs has no error bars; empty where it has."""
    if integers := [tensor.name for tensor in binding.inputs if not tensor.is_floating]:
        return f"the input {integers[0]!r} is an integer"
    inputs, outputs = ([int(np.prod(tensor.shape)) for tensor in side] for side in (binding.inputs, binding.outputs))
    if (elements := sum(outputs) * (1 + sum(inputs))) > MOST_ELEMENTS:
        return f"a row has {elements:,} values and derivatives, more than {MOST_ELEMENTS}"
    if missing := elements_without_labels(held_out):
        names = _names(binding, missing)
        return f"fewer than {LEAST_LABELS} labels of {names} were held out to calibrate them on: hold out more rows"
    return ""


def _stds(network: Network, spectrum: Spectrum, calibration: Calibration, x: dict[str, Array]) -> Array:
    """Return the exact standard deviations, ``(rows, output elements * (1 + input elements))``."""
    variances = [
        spectrum.variances(spectrum.components(jacobian), calibration.ridge) * calibration.variance + calibration.misfit
        for _, _, jacobian in network.gradients(x)
    ]
    whole = np.concatenate(variances)
    return np.sqrt(whole.reshape(len(whole), -1))


def _record(binding: IoBinding, calibration: Calibration, at_rows: Array, against: str) -> dict[str, Any]:
    """Return what the card says, by tensor of the signature."""
    counts = calibration.counts.ravel()
    values = {tensor.name for tensor in binding.outputs}
    bars: dict[str, Any] = {}
    for name, columns, _ in columns_of(binding):
        own, labels = at_rows[:, columns], int(counts[columns].min())
        bars[std_name(name)] = {
            "typical": float(np.median(own)),
            "trusted_up_to": np.quantile(own, NEAR, axis=0).tolist() if name in values else None,
            "calibrated_on": f"{labels:,} labels" if labels >= LEAST_LABELS else "the value's factor",
        }
    return {"method": METHOD, "about": "the function, not a further label", "against": against, "bars": bars}


def _names(binding: IoBinding, elements: Sequence[int]) -> str:
    ends = np.cumsum([int(np.prod(tensor.shape)) for tensor in binding.outputs])
    return ", ".join(
        sorted({binding.outputs[int(np.searchsorted(ends, element, "right"))].name for element in elements})
    )


def _ordered(rows: LabelledRows, binding: IoBinding) -> LabelledRows:
    """Return the same in the model's order."""
    return LabelledRows(
        {tensor.name: rows.x[tensor.name] for tensor in binding.inputs},
        {tensor.name: rows.y[tensor.name] for tensor in binding.outputs},
        {
            tensor.name: {wrt.name: by[wrt.name] for wrt in binding.inputs if wrt.name in by}
            for tensor in binding.outputs
            for by in [rows.dydx.get(tensor.name, {})]
        },
        rows.weights,
    )
