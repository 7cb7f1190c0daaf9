"""A model as a PyTorch function: autograd with double backward, torch.func's grad, jacrev, jacfwd, hessian and vmap.

    log = gradwire.torch.wrap(gradwire.connect("localhost:8500", "log"))
    x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    log(x).sum().backward()

Where a gradient may be requested, value and derivative come in one call, and the derivative is an output of its own:
what runs backward is arithmetic on it, and running backward through that arithmetic requests second derivatives. A
third derivative is refused.

Inside ``torch.compile`` a call is one operator of the graph, which PyTorch does not look into; it has one derivative.

Each autograd function is made by a function of its own, as PyTorch is imported in ``wrap`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from gradwire._bridges import (
    Bridge,
    FrameworkFunction,
    framework_function,
    listed,
    parameter_derivative,
    sizes,
    third_derivative,
    unravel,
)
from gradwire._errors import UsageError
from gradwire._extras import import_extra
from gradwire._model import Model, Points, bind

__all__ = ["wrap"]


def wrap(model: Model) -> FrameworkFunction:
    """Make a model a PyTorch function of its inputs.

    One point or many, by the rule of the caller's arrays (docs/client.md), and under ``torch.func.vmap`` the whole
    batch, are one call. What comes back has the server's dtype and is on the device of the first input. Inside
    ``torch.compile``, ``fullgraph=True`` included, it is one operator, with a first derivative and no transforms of
    ``torch.func``. It is pickled, and copied, as the model.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.

    Returns:
        A function of the inputs, by position or by name, that returns a tensor, or ``{output: tensor}`` where there are
        several outputs. It raises what the methods of ``Model`` raise. Differentiated twice, it raises
        SignatureNotFound where the package has neither `hvp` nor `hessian`; three times, or with respect to an input
        that the model has no derivative for, UsageError.

    Raises:
        MissingExtra: PyTorch is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
    """
    torch = import_extra("torch", "torch")
    context = _Context(Bridge(model), torch, _batched_function(torch))
    hessian = _hessian(context)
    value_and_jacobian = _value_and_jacobian(context, _jacobian_vjp(context, hessian), hessian)
    value = _value(context, value_and_jacobian)

    def convert(array: Any, _: str) -> Any:
        return array if isinstance(array, torch.Tensor) else torch.as_tensor(np.asarray(array))

    def function(x: Any, *parameters: Any) -> Any:
        if torch.is_grad_enabled() and any(array.requires_grad for array in (x, *parameters)):
            return value_and_jacobian.apply(x, *parameters)[0]
        return value.apply(x, *parameters)

    def compiled(eager: Callable[..., Any]) -> Callable[..., Any]:
        return _compilable(context, eager)

    return framework_function(context.bridge, torch, function, wrap=wrap, convert=convert, decorate=compiled)


class _Context(NamedTuple):
    """What every autograd function needs: the model, PyTorch, and the base class, which the operator does without."""

    bridge: Bridge
    torch: Any
    base: Any = None

    def call(self, function: Callable[..., Any], *tensors: Any) -> list[Any]:
        """Call a function of NumPy arrays: tensors in, tensors out."""
        arrays = listed(function(*[self._array(tensor) for tensor in tensors]))
        device = tensors[0].device
        return [self.torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays]

    def _array(self, tensor: Any) -> Any:
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.dtype is self.torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16

    def along(self, derivative: Any, x_dot: Any) -> Any:
        """Return the derivative along a tangent: its last axis summed."""
        return self.torch.einsum("b...n,bn->b...", derivative, x_dot.to(derivative.dtype))

    def refuse_parameters(self, requested: Sequence[bool]) -> None:
        """Raise if a derivative with respect to a parameter is requested."""
        pairs = zip(self.bridge.parameters, requested, strict=True)
        if names := [tensor.name for tensor, is_requested in pairs if is_requested]:
            raise parameter_derivative(self.bridge, names)


# torch.compile: the operator, and the bridges that it calls by number, for an operator's arguments are plain data.
_NUMBERS: Final = count()
_BRIDGES: Final[WeakValueDictionary[int, Bridge]] = WeakValueDictionary()


def _compilable(context: _Context, eager: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is ``eager``, and an operator while PyTorch traces it for a compiler.

    A transform of ``torch.func`` inside of the compiled function has no rule for the operator: there the graph breaks.
    """
    torch, bridge = context.torch, context.bridge
    untraced = torch.compiler.disable(eager)
    level = torch._C._functorch.maybe_current_level  # noqa: SLF001 - no public name tells, and this is all that it does
    names, outputs = bridge.names, tuple(tensor.name for tensor in bridge.outputs)
    number = next(_NUMBERS)
    _BRIDGES[number] = bridge
    operator = _operator(torch)

    def function(*args: Any, **inputs: Any) -> Any:
        if not torch.compiler.is_compiling() or level() is not None:
            return untraced(*args, **inputs)
        bound = bind(args, inputs, names)
        tensors = [
            array if isinstance(array, torch.Tensor) else torch.as_tensor(array, dtype=_dtype_of(torch, array))
            for array in bound.values()
        ]
        is_differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        results = operator(tensors, number, is_differentiated)
        return dict(zip(outputs, results, strict=False)) if len(outputs) > 1 else results[0]

    return function


def _dtype_of(torch: Any, array: Any) -> Any:
    """Python's own numbers are float64 to NumPy, and float32 to PyTorch."""
    return torch.float64 if isinstance(array, float) else None


@cache
def _operator(torch: Any) -> Any:
    """Register the operator: the outputs in the caller's form, and df/dx, ``(rows, m, n)``, where it is wanted."""

    def call(inputs: list[Any], number: int, jacobian: bool) -> list[Any]:
        context = _Context(_bridge(number), torch)
        points, x, parameters = _rows(context, inputs)
        if jacobian:
            f, df = context.call(context.bridge.value_and_jacobian, x, *parameters)
            return [*_outputs(context, points, f), df]
        return _outputs(context, points, context.call(context.bridge.value, x, *parameters)[0])

    def shapes(inputs: list[Any], number: int, jacobian: bool) -> list[Any]:
        context = _Context(_bridge(number), torch)
        points, x, _ = _rows(context, inputs)
        dtype = torch.from_numpy(np.empty(0, context.bridge.dtype)).dtype
        f = x.new_empty((x.shape[0], context.bridge.m), dtype=dtype)
        df = [x.new_empty((*f.shape, context.bridge.n), dtype=dtype)] if jacobian else []
        return [*[part.clone() for part in _outputs(context, points, f)], *df]

    def contract(bars: list[Any], df: Any) -> Any:
        f_bar = torch.cat([bar.reshape(df.shape[0], -1) for bar in bars], -1)
        return torch.einsum("bm,bmn->bn", f_bar, df)

    operator = torch.library.custom_op(
        "gradwire::call", call, mutates_args=(), schema="(Tensor[] inputs, int number, bool jacobian) -> Tensor[]"
    )
    operator.register_fake(shapes)
    # An operator too, without a derivative, so that a second derivative is refused instead of incomplete.
    contracted = torch.library.custom_op(
        "gradwire::contract", contract, mutates_args=(), schema="(Tensor[] bars, Tensor df) -> Tensor"
    )

    def contracted_shape(_bars: list[Any], df: Any) -> Any:
        return df.new_empty((df.shape[0], df.shape[2]))

    contracted.register_fake(contracted_shape)

    def set_up(ctx: Any, inputs: Any, output: Any) -> None:
        tensors, ctx.number, _ = inputs
        context = _Context(_bridge(ctx.number), torch)
        differentiated = dict(zip(context.bridge.names, [tensor.requires_grad for tensor in tensors], strict=True))
        context.refuse_parameters([differentiated[tensor.name] for tensor in context.bridge.parameters])
        ctx.save_for_backward(output[-1])
        ctx.like = [(tuple(tensor.shape), tensor.dtype) for tensor in tensors]

    def backward(ctx: Any, bars: list[Any]) -> Any:
        bridge, (df,) = _bridge(ctx.number), ctx.saved_tensors
        x_bar = unravel(contracted(list(bars[:-1]), df), bridge.wrt)
        parts = dict(zip([tensor.name for tensor in bridge.wrt], x_bar, strict=True))
        grads: list[Any] = []
        for name, (shape, dtype) in zip(bridge.names, ctx.like, strict=True):
            part = parts.get(name)
            if part is not None:  # an input of rank 0 is used for every point
                part = (part.reshape(shape) if shape else part.sum()).to(dtype)
            grads.append(part)
        return grads, None, None

    operator.register_autograd(backward, setup_context=set_up)
    return operator


def _bridge(number: int) -> Bridge:
    if number not in _BRIDGES:
        raise UsageError(
            "a compiled function outlived the function of gradwire.torch.wrap that it calls: keep that one"
        )
    return _BRIDGES[number]


def _rows(context: _Context, inputs: Sequence[Any]) -> tuple[Points, Any, list[Any]]:
    """The form of the points, x as ``(rows, n)``, and the parameters likewise."""
    bridge, torch = context.bridge, context.torch
    shapes = {name: tuple(int(size) for size in array.shape) for name, array in zip(bridge.names, inputs, strict=True)}
    points = bridge.points(shapes)
    count = math.prod(points.batch)
    rows = {
        tensor.name: array.reshape(count, size) if array.ndim else array.expand(count, size)
        for tensor, size, array in zip(bridge.inputs, sizes(bridge.inputs), inputs, strict=True)
    }
    x = torch.cat([rows[tensor.name] for tensor in bridge.wrt], -1)
    return points, x, [rows[tensor.name] for tensor in bridge.parameters]


def _outputs(context: _Context, points: Points, f: Any) -> list[Any]:
    """The outputs in the caller's form."""
    return [
        part.reshape((*points.batch, *points.output_form(tensor.shape))).clone()
        for tensor, part in zip(context.bridge.outputs, unravel(f, context.bridge.outputs), strict=True)
    ]


def _value(context: _Context, value_and_jacobian: Any) -> Any:
    class Value(context.base):
        """f, where no gradient will be requested; forward mode still may."""

        @staticmethod
        def forward(x: Any, *parameters: Any) -> Any:
            return context.call(context.bridge.value, x, *parameters)[0]

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx: Any, x_dot: Any, *parameter_dots: Any) -> Any:
            context.refuse_parameters([dot is not None for dot in parameter_dots])
            _, df = value_and_jacobian.apply(*ctx.saved_tensors)
            return context.along(df, x_dot)

    return Value


def _value_and_jacobian(context: _Context, jacobian_vjp: Any, hessian: Any) -> Any:
    class ValueAndJacobian(context.base):
        """f and df/dx; double backward arrives as a cotangent of the second."""

        @staticmethod
        def forward(x: Any, *parameters: Any) -> Any:
            return tuple(context.call(context.bridge.value_and_jacobian, x, *parameters))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.set_materialize_grads(False)  # an unused output must not cost a call
            ctx.save_for_backward(*inputs, output[1])
            ctx.save_for_forward(*inputs, output[1])

        @staticmethod
        def backward(ctx: Any, f_bar: Any, df_bar: Any) -> Any:
            x, *parameters, df = ctx.saved_tensors
            context.refuse_parameters(ctx.needs_input_grad[1:])
            x_bar = None
            if f_bar is not None:
                x_bar = context.torch.einsum("bm,bmn->bn", f_bar, df)
            if df_bar is not None:
                context.bridge.require_second_derivatives()
                more = jacobian_vjp.apply(x, df_bar, *parameters)
                x_bar = more if x_bar is None else x_bar + more
            return (None if x_bar is None else x_bar.to(x.dtype), *[None for _ in parameters])

        @staticmethod
        def jvp(ctx: Any, x_dot: Any, *parameter_dots: Any) -> Any:
            context.refuse_parameters([dot is not None for dot in parameter_dots])
            *inputs, df = ctx.saved_tensors
            context.bridge.require_second_derivatives()
            return context.along(df, x_dot), context.along(hessian.apply(*inputs), x_dot)

    return ValueAndJacobian


def _jacobian_vjp(context: _Context, hessian: Any) -> Any:
    class JacobianVjp(context.base):
        """The vector-Jacobian product of x ↦ df/dx, for reverse mode; linear in its cotangent."""

        @staticmethod
        def forward(x: Any, df_bar: Any, *parameters: Any) -> Any:
            return context.call(context.bridge.jacobian_vjp, x, df_bar, *parameters)[0]

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, _, *parameters = inputs
            ctx.save_for_backward(x, *parameters)
            ctx.save_for_forward(x, *parameters)

        @staticmethod
        def backward(ctx: Any, bar: Any) -> Any:
            if ctx.needs_input_grad[0]:
                raise third_derivative(context.bridge)
            d2f = hessian.apply(*ctx.saved_tensors)
            return (None, context.along(d2f, bar), *[None for _ in ctx.needs_input_grad[2:]])

        @staticmethod
        def jvp(ctx: Any, x_dot: Any, df_bar_dot: Any, *parameter_dots: Any) -> Any:
            if x_dot is not None:
                raise third_derivative(context.bridge)
            return context.torch.einsum("bmij,bmi->bj", hessian.apply(*ctx.saved_tensors), df_bar_dot)

    return JacobianVjp


def _hessian(context: _Context) -> Any:
    class Hessian(context.base):
        """d²f/dx², the last derivative that there is."""

        @staticmethod
        def forward(x: Any, *parameters: Any) -> Any:
            return context.call(context.bridge.value_jacobian_hessian, x, *parameters)[2]

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, bar: Any) -> Any:
            raise third_derivative(context.bridge)

        @staticmethod
        def jvp(ctx: Any, *dots: Any) -> Any:
            raise third_derivative(context.bridge)

    return Hessian


def _batched_function(torch: Any) -> Any:
    class Batched(torch.autograd.Function):
        """An autograd function of rows, for which a batch under vmap is more rows of the same call."""

        @classmethod
        def vmap(cls, info: Any, in_dims: Any, *args: Any) -> Any:
            size = info.batch_size
            moved = [
                array.expand(size, *array.shape) if dim is None else array.movedim(dim, 0)
                for array, dim in zip(args, in_dims, strict=True)
            ]
            count = moved[0].shape[1]
            result = cls.apply(*[array.reshape(size * count, *array.shape[2:]) for array in moved])
            apart = tuple(array.reshape(size, count, *array.shape[1:]) for array in listed(result))
            return (apart, (0,) * len(apart)) if isinstance(result, tuple) else (apart[0], 0)

    return Batched
