"""A model as a PyTensor function, and so in PyMC's models: gradients, Hessians and R-operators that are exact.

    density = gradwire.pytensor.wrap(gradwire.connect("localhost:8500", "density"))
    with pymc.Model():
        x = pymc.Flat("x", shape=2)
        pymc.Potential("log_density", density(x))
        pymc.sample()

Value and derivative come from one call of one Op, and the gradient of the value is arithmetic on the derivative, which
has a gradient of its own: second derivatives. A third derivative is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradwire._bridges import (
    Bridge,
    Form,
    FrameworkFunction,
    framework_function,
    listed,
    open_points,
    parameter_derivative,
    third_derivative,
)
from gradwire._extras import import_extra
from gradwire._model import Model

__all__ = ["wrap"]


def wrap(model: Model) -> FrameworkFunction:
    """Make a model a PyTensor function of its inputs.

    One point or many, by the rule of the caller's arrays (docs/client.md), are one call, which includes the derivative
    whether a gradient needs it or not. Sizes may be unknown until it runs, ranks may not. It needs no C compiler, and
    runs as Python inside of compiled functions. It is pickled, and copied, as the model.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.

    Returns:
        A function of the inputs, by position or by name, that returns a float64 variable, or ``{output: variable}``
        where there are several outputs. Names and shapes that do not fit raise InputError where they are known; what
        goes wrong in a call comes as PyTensor raises it, with the node beside it. Differentiated twice, it raises
        SignatureNotFound where the package has neither `hvp` nor `hessian`; three times, or with respect to an input
        that the model has no derivative for, PyTensor's NullTypeGradError with the reason.

    Raises:
        MissingExtra: PyTensor is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
    """
    pt = import_extra("pytensor.tensor", "pytensor")
    bridge = Bridge(model)
    wrt = {tensor.name for tensor in bridge.wrt}
    value_and_jacobian = _ops().ValueAndJacobian(bridge)

    def convert(array: Any, name: str) -> Any:
        variable = pt.as_tensor_variable(array)
        return variable.astype("float64") if name in wrt else variable

    def function(x: Any, *parameters: Any) -> Any:
        return value_and_jacobian(x, *parameters)[0]

    return framework_function(
        bridge,
        SimpleNamespace(reshape=pt.reshape, broadcast_to=pt.broadcast_to, concat=pt.concatenate),
        function,
        wrap=wrap,
        convert=convert,
        form=lambda arrays: _form(pt, bridge, arrays),
    )


def _form(pt: Any, bridge: Bridge, arrays: Mapping[str, Any]) -> Form:
    """The form of the points, and their batch shape: integers, or scalar variables where a size is unknown."""
    shapes = {name: array.type.shape for name, array in arrays.items()}
    if not any(None in shape for shape in shapes.values()):
        points = bridge.points(shapes)
        return points, points.batch
    points, n_leading = open_points(bridge, shapes)
    batches = [array.shape[: n_leading[name]] for name, array in arrays.items() if array.ndim or not points.batch]
    require = import_extra("pytensor.raise_op", "pytensor").Assert(
        "the inputs have different batch shapes, expected the same"
    )
    sizes = [batches[0][axis] for axis in range(len(points.batch))]
    for other in batches[1:]:
        sizes = [require(size, pt.eq(size, other[axis])) for axis, size in enumerate(sizes)]
    return points, sizes


def _ops() -> Any:
    return _make_ops(import_extra("pytensor", "pytensor"))


@cache
def _make_ops(pytensor: Any) -> Any:  # noqa: C901 - classes inside, for PyTensor is imported here alone; few branches
    """The Ops on rows: one class each in a process, as PyTensor compares Ops by their classes."""
    pt, gradient = pytensor.tensor, pytensor.gradient

    def is_connected(variable: Any) -> bool:
        return not isinstance(variable.type, gradient.DisconnectedType)

    class Served(pytensor.graph.op.Op):
        """A method of the bridge, float64 in and out; equal to another of the same model."""

        __props__ = ("bridge",)

        def __init__(self, bridge: Bridge) -> None:
            self.bridge = bridge

        def __str__(self) -> str:
            return f"{type(self).__name__}({self.bridge.model!r})"

        def __reduce__(self) -> tuple[object, ...]:
            return _restore, (type(self).__name__, self.bridge)

        def row_shapes(self) -> list[tuple[int, ...]]:
            """The shape of a row of each result."""
            raise NotImplementedError

        def method(self) -> Callable[..., Any]:
            """What is called."""
            raise NotImplementedError

        def make_node(self, *inputs: Any) -> Any:
            """Describe one application."""
            variables = [pt.as_tensor_variable(variable) for variable in inputs]
            rows = variables[0].type.shape[0]
            outputs = [pt.tensor(dtype="float64", shape=(rows, *shape)) for shape in self.row_shapes()]
            return pytensor.graph.basic.Apply(self, variables, outputs)

        def infer_shape(self, _fgraph: Any, _node: Any, input_shapes: Any) -> Any:
            """Return the shapes of the results."""
            return [(input_shapes[0][0], *shape) for shape in self.row_shapes()]

        def perform(self, _node: Any, inputs: Any, output_storage: Any) -> None:
            """Make the call."""
            for storage, array in zip(output_storage, listed(self.method()(*inputs)), strict=True):
                storage[0] = np.asarray(array, np.float64)

        def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> Any:
            """Return the cotangents of the inputs."""
            raise NotImplementedError

        def tangents(self, inputs: Any, eval_points: Any) -> Any:
            """Return the tangents of the results; None stands for one that is not connected, there and here."""
            raise NotImplementedError

        def pushforward(self, inputs: Any, _outputs: Any, dots: Any) -> Any:
            """Return the tangents of the results, as PyTensor 3 has them."""
            results = self.tangents(inputs, [dot if is_connected(dot) else None for dot in dots])
            return [gradient.DisconnectedType()() if dot is None else dot for dot in results]

        def L_op(self, inputs: Any, outputs: Any, output_gradients: Any) -> Any:  # noqa: N802 - PyTensor 2's name
            return self.pullback(inputs, outputs, output_gradients)

        def R_op(self, inputs: Any, eval_points: Any) -> Any:  # noqa: N802 - PyTensor 2's name
            return self.tangents(inputs, eval_points)

        def refused(self, inputs: Sequence[Any], first: int, error: Exception) -> list[Any]:
            """Gradients that raise, with the error's words, if they are needed."""
            return [
                gradient.grad_undefined(self, place, variable, str(error))
                for place, variable in enumerate(inputs[first:], first)
            ]

    class ValueAndJacobian(Served):
        """f and df/dx; a second derivative arrives as a cotangent of the second."""

        def row_shapes(self) -> list[tuple[int, ...]]:
            return [(self.bridge.m,), (self.bridge.m, self.bridge.n)]

        def method(self) -> Callable[..., Any]:
            return self.bridge.value_and_jacobian

        def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> Any:
            """Return the cotangents of the inputs."""
            (x, *parameters), df, (f_bar, df_bar) = inputs, outputs[1], output_gradients
            x_bar = pt.zeros_like(x)
            if is_connected(f_bar):
                x_bar = x_bar + (f_bar[:, :, None] * df).sum(1)
            if is_connected(df_bar):
                self.bridge.require_second_derivatives()
                x_bar = x_bar + JacobianVjp(self.bridge)(x, df_bar, *parameters)
            return [x_bar, *self.refused(inputs, 1, parameter_derivative(self.bridge))]

        def tangents(self, inputs: Any, eval_points: Any) -> Any:
            """Return the tangents of the results."""
            x_dot, *parameter_dots = eval_points
            if any(dot is not None for dot in parameter_dots):
                raise parameter_derivative(self.bridge)
            if x_dot is None:
                return [None, None]
            _, df = self(*inputs)
            return [(df * x_dot[:, None]).sum(-1), JacobianJvp(self.bridge)(inputs[0], x_dot, *inputs[1:])]

    class Product(Served):
        """A product with the second derivatives, linear in its second input; ``transposed`` has that one's gradient."""

        transposed: Callable[[Bridge], Any]

        def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> Any:
            """Return the cotangent of the second input."""
            del outputs
            x, _, *parameters = inputs
            bar = type(self).transposed(self.bridge)(x, output_gradients[0], *parameters)
            third = self.refused(inputs[:1], 0, third_derivative(self.bridge))
            return [*third, bar, *self.refused(inputs, 2, parameter_derivative(self.bridge))]

        def tangents(self, inputs: Any, eval_points: Any) -> Any:
            """Return the tangent of the product."""
            x, _, *parameters = inputs
            x_dot, dot, *parameter_dots = eval_points
            if x_dot is not None:
                raise third_derivative(self.bridge)
            if any(parameter_dot is not None for parameter_dot in parameter_dots):
                raise parameter_derivative(self.bridge)
            return [None if dot is None else self(x, dot, *parameters)]

    class JacobianVjp(Product):
        """The vector-Jacobian product of x ↦ df/dx."""

        def row_shapes(self) -> list[tuple[int, ...]]:
            return [(self.bridge.n,)]

        def method(self) -> Callable[..., Any]:
            return self.bridge.jacobian_vjp

    class JacobianJvp(Product):
        """The Jacobian-vector product of x ↦ df/dx."""

        def row_shapes(self) -> list[tuple[int, ...]]:
            return [(self.bridge.m, self.bridge.n)]

        def method(self) -> Callable[..., Any]:
            return self.bridge.jacobian_jvp

    JacobianVjp.transposed, JacobianJvp.transposed = JacobianJvp, JacobianVjp
    ops = (ValueAndJacobian, JacobianVjp, JacobianJvp)
    return SimpleNamespace(**{op.__name__: op for op in ops})


def _restore(name: str, bridge: Bridge) -> Any:
    """Make an Op; pickles name this function."""
    return getattr(_ops(), name)(bridge)
