"""A model as a PyTorch function: autograd with double backward, torch.func's grad, jacrev, jacfwd, hessian and vmap.

    log = gradwire.torch.wrap(gradwire.connect("localhost:8500", "log"))
    x = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    log(x).sum().backward()

Where a gradient may be wanted, value and derivative come in one call, and the derivative is an output of its own: what
runs backward is arithmetic on it, and running backward through that arithmetic asks for second derivatives. A third
derivative is refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradwire._bridges import Bridge, listed, split
from gradwire._errors import UsageError
from gradwire._extras import import_extra
from gradwire._model import bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradwire._model import Model

__all__ = ["wrap"]


def wrap(model: Model) -> Callable[..., Any]:
    """Makes a model a PyTorch function of its inputs.

    One point or many, by the rule of the caller's arrays (docs/client.md), and under ``torch.func.vmap`` the whole
    batch, are one call. What comes back has the server's dtype and is on the device of the first input.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.

    Returns:
        A function of the inputs, by position or by name, that gives a tensor, or ``{output: tensor}`` where there are
        several outputs. It raises what the methods of ``Model`` raise. Differentiated twice, it raises
        SignatureNotFound where the package has neither `hvp` nor `hessian`; three times, or by an input that the model
        has no derivative by, UsageError.

    Raises:
        MissingExtra: PyTorch is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
    """
    torch = import_extra("torch", "torch")
    bridge = Bridge(model)
    functions = _functions(bridge, torch)

    def function(*args: Any, **inputs: Any) -> Any:
        given = {
            name: array if isinstance(array, torch.Tensor) else torch.as_tensor(np.asarray(array))
            for name, array in bind(args, inputs, bridge.names).items()
        }
        points = bridge.points({name: tuple(array.shape) for name, array in given.items()})
        rows: dict[str, Any] = {}
        for name, array in given.items():
            count, *row = points.rows[name].shape
            shape = (count, math.prod(row))
            rows[name] = array.reshape(shape) if array.ndim else array.expand(shape)
        x = torch.cat([rows[tensor.name] for tensor in bridge.wrt], -1)
        parameters = [rows[tensor.name] for tensor in bridge.parameters]
        if torch.is_grad_enabled() and any(array.requires_grad for array in given.values()):
            f, _ = functions.first.apply(x, *parameters)
        else:
            f = functions.value.apply(x, *parameters)
        outputs = {
            tensor.name: part.reshape(points.batch + points.output_form(tensor.shape))
            for tensor, part in zip(bridge.outputs, split(f, bridge.outputs), strict=True)
        }
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    function.__name__ = function.__qualname__ = model.card.name
    return function


class _Functions(NamedTuple):
    """The two ways in: f alone, and (f, df/dx)."""

    value: Any
    first: Any


def _functions(bridge: Bridge, torch: Any) -> _Functions:  # noqa: C901 - a class or rules inside, for the framework is imported here alone; no branches
    """f(x, *parameters) on rows, ``(rows, n)`` to ``(rows, m)``, with derivatives of two orders."""
    host = _Host(torch)

    class Value(torch.autograd.Function):
        """f, where no gradient will be asked for; forward mode still may."""

        @staticmethod
        def forward(x: Any, *parameters: Any) -> Any:
            return host(bridge.value, x, *parameters)[0]

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx: Any, x_dot: Any, *parameter_dots: Any) -> Any:
            _refuse_parameters(bridge, [dot is not None for dot in parameter_dots])
            _, df = First.apply(*ctx.saved_tensors)
            return _along(torch, df, x_dot)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
            return _batched(Value, info, in_dims, args)

    class First(torch.autograd.Function):
        """f and df/dx; a cotangent of the second is what double backward comes to."""

        @staticmethod
        def forward(x: Any, *parameters: Any) -> Any:
            return tuple(host(bridge.first, x, *parameters))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.set_materialize_grads(False)  # an output that nobody used must not cost a call
            ctx.save_for_backward(*inputs, output[1])
            ctx.save_for_forward(*inputs, output[1])

        @staticmethod
        def backward(ctx: Any, f_bar: Any, df_bar: Any) -> Any:
            x, *parameters, df = ctx.saved_tensors
            _refuse_parameters(bridge, ctx.needs_input_grad[1:])
            x_bar = None
            if f_bar is not None:
                x_bar = torch.einsum("bm,bmn->bn", f_bar, df)
            if df_bar is not None:
                bridge.require_second()
                more = Pulled.apply(x, df_bar, *parameters)
                x_bar = more if x_bar is None else x_bar + more
            return (None if x_bar is None else x_bar.to(x.dtype), *[None for _ in parameters])

        @staticmethod
        def jvp(ctx: Any, x_dot: Any, *parameter_dots: Any) -> Any:
            _refuse_parameters(bridge, [dot is not None for dot in parameter_dots])
            *inputs, df = ctx.saved_tensors
            bridge.require_second()
            return _along(torch, df, x_dot), _along(torch, Second.apply(*inputs), x_dot)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
            return _batched(First, info, in_dims, args)

    class Second(torch.autograd.Function):
        """d²f/dx², for forward mode."""

        @staticmethod
        def forward(x: Any, *parameters: Any) -> Any:
            return host(bridge.second, x, *parameters)[2]

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, bar: Any) -> Any:
            raise _third(bridge)

        @staticmethod
        def jvp(ctx: Any, *dots: Any) -> Any:
            raise _third(bridge)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
            return _batched(Second, info, in_dims, args)

    class Pulled(torch.autograd.Function):
        """What x owes to a cotangent of df/dx, for reverse mode; linear in that cotangent."""

        @staticmethod
        def forward(x: Any, df_bar: Any, *parameters: Any) -> Any:
            return host(bridge.pulled, x, df_bar, *parameters)[0]

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            x, _, *parameters = inputs
            ctx.save_for_backward(x, *parameters)
            ctx.save_for_forward(x, *parameters)

        @staticmethod
        def backward(ctx: Any, bar: Any) -> Any:
            if ctx.needs_input_grad[0]:
                raise _third(bridge)
            d2f = Second.apply(*ctx.saved_tensors)
            return (None, _along(torch, d2f, bar), *[None for _ in ctx.needs_input_grad[2:]])

        @staticmethod
        def jvp(ctx: Any, x_dot: Any, df_bar_dot: Any, *parameter_dots: Any) -> Any:
            if x_dot is not None:
                raise _third(bridge)
            return torch.einsum("bmij,bmi->bj", Second.apply(*ctx.saved_tensors), df_bar_dot)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
            return _batched(Pulled, info, in_dims, args)

    return _Functions(Value, First)


class _Host(NamedTuple):
    """Tensors in, tensors out, of a function of NumPy arrays."""

    torch: Any

    def __call__(self, ask: Callable[..., Any], *tensors: Any) -> list[Any]:
        arrays = listed(ask(*[tensor.detach().cpu().numpy() for tensor in tensors]))
        device = tensors[0].device
        return [self.torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays]


def _batched(function: Any, info: Any, in_dims: Any, args: Any) -> Any:
    """A batch under vmap: its rows joined to those that there are, in one call."""
    size = info.batch_size
    moved = [
        array.expand(size, *array.shape) if dim is None else array.movedim(dim, 0)
        for array, dim in zip(args, in_dims, strict=True)
    ]
    count = moved[0].shape[1]
    found = function.apply(*[array.reshape(size * count, *array.shape[2:]) for array in moved])
    apart = tuple(array.reshape(size, count, *array.shape[1:]) for array in listed(found))
    return (apart, (0,) * len(apart)) if isinstance(found, tuple) else (apart[0], 0)


def _along(torch: Any, derivative: Any, x_dot: Any) -> Any:
    """The derivative along a tangent: its last axis summed."""
    return torch.einsum("b...n,bn->b...", derivative, x_dot.to(derivative.dtype))


def _refuse_parameters(bridge: Bridge, wanted: Any) -> None:
    if any(wanted):
        names = [tensor.name for tensor, asked in zip(bridge.parameters, wanted, strict=True) if asked]
        raise UsageError(
            f"a derivative by {names} of {bridge.model!r} was asked for, and the package has none: differentiate by "
            f"{[tensor.name for tensor in bridge.wrt]}, detach the others, or export it with --wrt"
        )


def _third(bridge: Bridge) -> UsageError:
    return UsageError(
        f"a third derivative of {bridge.model!r} was asked for, and a package has two: differentiate less often"
    )
