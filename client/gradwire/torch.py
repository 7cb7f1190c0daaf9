"""A model as a PyTorch function: autograd with double backward, torch.func's grad, jacrev, jacfwd, hessian and vmap.

    log = gradwire.torch.wrap(gradwire.connect("localhost:8500", "log"))
    x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    log(x).sum().backward()

Where a gradient may be requested, value and derivative come in one call, and the derivative is an output of its own:
what runs backward is arithmetic on it, and running backward through that arithmetic requests second derivatives. A
third derivative is refused.

Each autograd function is made by a function of its own, as PyTorch is imported in ``wrap`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradwire._bridges import (
    Bridge,
    FrameworkFunction,
    framework_function,
    listed,
    parameter_derivative,
    third_derivative,
)
from gradwire._extras import import_extra
from gradwire._model import Model

__all__ = ["wrap"]


def wrap(model: Model) -> FrameworkFunction:
    """Make a model a PyTorch function of its inputs.

    One point or many, by the rule of the caller's arrays (docs/client.md), and under ``torch.func.vmap`` the whole
    batch, are one call. What comes back has the server's dtype and is on the device of the first input. Inside
    ``torch.compile`` the function runs uncompiled. It is pickled, and copied, as the model.

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

    # torch.compile cannot trace a call to a server: the graph breaks around it.
    return framework_function(
        context.bridge, torch, function, wrap=wrap, convert=convert, decorate=torch.compiler.disable
    )


class _Context(NamedTuple):
    """What every autograd function needs: the model, PyTorch, and the base class."""

    bridge: Bridge
    torch: Any
    base: Any

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
