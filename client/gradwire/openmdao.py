"""A model as an OpenMDAO component: values and exact partial derivatives, one call a point.

problem.model.add_subsystem("wing", gradwire.openmdao.Component(gradwire.connect("localhost:8500", "wing")))
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from gradwire._bridges import Bridge, LastCall, unravel
from gradwire._errors import UsageError
from gradwire._extras import import_extra
from gradwire._model import Model
from gradwire._package import CardTensor

__all__ = ["Component"]


def Component(model: Model, *, rows: int | None = None) -> Any:  # noqa: C901, N802 - it stands where a class would, and holds one: OpenMDAO is imported here alone
    """Make a model an OpenMDAO ``ExplicitComponent``.

    Inputs and outputs have the model's names and the card's units, where OpenMDAO knows them; others, and dimensionless
    ones, have none. ``compute`` and ``compute_partials`` at one point share one call. Each place in a problem needs a
    component of its own. ``check_partials`` takes ``method="fd"``: a server has no complex numbers.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.
        rows: None for one point, each variable in the shape of a row; a number for as many points at once, each
            variable ``(rows, *row)``, with the partial derivatives of each row by itself (declared sparse).

    Returns:
        An ``openmdao.api.ExplicitComponent``. Inputs that the model has no derivative with respect to are
        discrete: OpenMDAO refuses to connect a differentiable variable to them, and never assumes a zero derivative.

    Raises:
        MissingExtra: OpenMDAO is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
        UsageError: rows is not positive.
    """
    if rows is not None and rows < 1:
        raise UsageError(f"rows={rows}: expected None for one point, or a positive number of points")
    api = import_extra("openmdao.api", "openmdao")
    valid_units = import_extra("openmdao.utils.units", "openmdao").valid_units
    bridge = Bridge(model)
    last = LastCall()
    count = rows or 1
    lead = () if rows is None else (rows,)

    class ServedComponent(api.ExplicitComponent):
        """One served model."""

        def __reduce__(self) -> tuple[object, ...]:
            return partial(Component, rows=rows), (model,)

        def setup(self) -> None:
            """Declare the variables."""
            for tensor in bridge.wrt:
                self.add_input(tensor.name, _middle(tensor, lead), **_unit(tensor, valid_units))
            for tensor in bridge.parameters:
                self.add_discrete_input(tensor.name, _middle(tensor, lead), desc=_unit(tensor, valid_units)["desc"])
            for tensor in bridge.outputs:
                self.add_output(tensor.name, shape=_shape(tensor, lead), **_unit(tensor, valid_units))

        def setup_partials(self) -> None:
            """Declare the derivatives: dense for one point, a block a row for several."""
            for output in bridge.outputs:
                for wrt in bridge.wrt:
                    self.declare_partials(output.name, wrt.name, **_pattern(output, wrt, rows))

        def compute(self, inputs: Any, outputs: Any, discrete_inputs: Any = None, _: Any = None) -> None:
            """Compute f."""
            f, _ = self._call(inputs, discrete_inputs)
            for tensor, part in zip(bridge.outputs, unravel(f, bridge.outputs), strict=True):
                outputs[tensor.name] = part.reshape(_shape(tensor, lead))

        def compute_partials(self, inputs: Any, partials: Any, discrete_inputs: Any = None) -> None:
            """Compute df/dx."""
            _, df = self._call(inputs, discrete_inputs)
            by_output = unravel(np.moveaxis(df, 1, -1), bridge.outputs)  # (rows, n, m) cut along m
            for output, part in zip(bridge.outputs, by_output, strict=True):
                blocks = unravel(np.moveaxis(part, -1, 1), bridge.wrt)
                for wrt, block in zip(bridge.wrt, blocks, strict=True):
                    partials[output.name, wrt.name] = block[0] if rows is None else block.reshape(-1)

        def _call(self, inputs: Any, discrete_inputs: Any) -> Any:
            def row(tensor: CardTensor, values: Any) -> Any:
                return np.array(values[tensor.name]).reshape(count, math.prod(tensor.shape))

            x = np.concatenate([row(tensor, inputs) for tensor in bridge.wrt], -1)
            parameters = [row(tensor, discrete_inputs) for tensor in bridge.parameters]
            return last(bridge.value_and_jacobian, 2, x, *parameters)

    return ServedComponent()


def _shape(tensor: CardTensor, lead: tuple[int, ...]) -> tuple[int, ...]:
    return lead + tensor.shape or (1,)


def _middle(tensor: CardTensor, lead: tuple[int, ...]) -> Any:
    """Where an input starts: in the middle of its domain, or at 1 where none is known."""
    box = tensor.domain
    middle = 1.0 if box is None else (np.asarray(box.lower, float) + np.asarray(box.upper, float)) / 2
    return np.broadcast_to(np.asarray(middle), _shape(tensor, lead)).astype(tensor.dtype)


def _unit(tensor: CardTensor, valid_units: Any) -> dict[str, Any]:
    """The unit for OpenMDAO's conversions where it knows it, and as a description in any case."""
    unit = tensor.unit
    known = unit is not None and unit != "1" and valid_units(unit)
    return {"units": unit if known else None, "desc": "" if unit is None else f"unit {unit}"}


def _pattern(output: CardTensor, wrt: CardTensor, rows: int | None) -> dict[str, Any]:
    """Which entries of a partial derivative there are: all for one point, a block for each of several."""
    if rows is None:
        return {}
    m, n = math.prod(output.shape), math.prod(wrt.shape)
    r, i, j = np.meshgrid(np.arange(rows), np.arange(m), np.arange(n), indexing="ij")
    return {"rows": (r * m + i).ravel(), "cols": (r * n + j).ravel()}
