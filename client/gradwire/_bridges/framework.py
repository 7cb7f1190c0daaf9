"""What the bridges to array frameworks share: a framework's function of the model's inputs, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast, final

from gradwire._bridges.vector import Bridge, sizes, unravel
from gradwire._errors import UsageError
from gradwire._model import Model, Points, bind
from gradwire._package import CardTensor

Form = tuple[Points, Sequence[Any]]

T = TypeVar("T")


@final
class FrameworkFunction:
    """A framework's function of a model's inputs; it is pickled, and copied, as the model."""

    def __init__(self, function: Callable[..., Any], wrap: Callable[[Model], FrameworkFunction], model: Model) -> None:
        self.__name__ = self.__qualname__ = model.card.name
        self._function = function
        self._wrap = wrap
        self._model = model

    def __call__(self, *args: Any, **inputs: Any) -> Any:
        return self._function(*args, **inputs)

    def __reduce__(self) -> tuple[object, ...]:
        return self._wrap, (self._model,)

    def __repr__(self) -> str:
        return f"<{self._wrap.__module__} function of {self._model!r}>"


def framework_function(
    bridge: Bridge,
    xp: Any,
    function: Callable[..., Any],
    *,
    wrap: Callable[[Model], FrameworkFunction],
    convert: Callable[[Any, str], Any],
    form: Callable[[Mapping[str, Any]], Form] | None = None,
    decorate: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function,
) -> FrameworkFunction:
    """Make a function of vectors a function of the model's inputs, in the form of the caller's arrays.

    ``function`` takes x, ``(rows, n)``, and the parameters, ``(rows, elements)`` each; ``convert`` makes an argument,
    by its name, the framework's array. ``form`` reads the points' form and batch shape off the arrays, for a framework
    that may not know all sizes before the call. ``wrap`` makes another one of the model, in the process of a pickle;
    ``decorate`` is applied to the whole.
    """

    def known_form(arrays: Mapping[str, Any]) -> Form:
        points = bridge.points({name: tuple(array.shape) for name, array in arrays.items()})
        return points, points.batch

    def wrapped(*args: Any, **inputs: Any) -> Any:
        arrays = {name: convert(array, name) for name, array in bind(args, inputs, bridge.names).items()}
        points, batch = (form or known_form)(arrays)
        rows: dict[str, Any] = {}
        for tensor, size in zip(bridge.inputs, sizes(bridge.inputs), strict=True):
            array, shape = arrays[tensor.name], (math.prod(batch), size)
            rows[tensor.name] = (xp.reshape if array.ndim else xp.broadcast_to)(array, shape)
        x = xp.concat([rows[tensor.name] for tensor in bridge.wrt], axis=-1)
        f = function(x, *[rows[tensor.name] for tensor in bridge.parameters])
        outputs = {
            tensor.name: xp.reshape(part, (*batch, *points.output_form(tensor.shape)))
            for tensor, part in zip(bridge.outputs, unravel(f, bridge.outputs), strict=True)
        }
        return outputs if len(outputs) > 1 else next(iter(outputs.values()))

    return FrameworkFunction(decorate(wrapped), wrap, bridge.model)


def open_points(bridge: Bridge, shapes: Mapping[str, tuple[int | None, ...]]) -> tuple[Points, dict[str, int]]:
    """Apply the rule of the caller's arrays to shapes whose sizes may be unknown, but not their ranks.

    Returns the form, with a batch of 1 for each leading axis, and by input how many leading axes there are.
    """
    n_leading = {tensor.name: _leading_axes(tensor, len(shapes[tensor.name])) for tensor in bridge.inputs}
    known: dict[str, tuple[int, ...]] = {}
    for tensor in bridge.inputs:
        row = shapes[tensor.name][n_leading[tensor.name] :]
        own = (tensor.shape or (1,)) if row else ()
        sizes_of_row = tuple(card if size is None else size for size, card in zip(row, own, strict=True))
        known[tensor.name] = (1,) * n_leading[tensor.name] + sizes_of_row
    return bridge.points(known), n_leading


def _leading_axes(tensor: CardTensor, rank: int) -> int:
    """The number of axes that belong to the batch."""
    if tensor.shape in ((), (1,)):
        return rank - 1 if rank > 1 else rank
    return max(0, rank - len(tensor.shape))


def listed(result: T | tuple[T, ...]) -> list[T]:
    """Return what a function returned as a list, one array or several."""
    return list(cast("tuple[T, ...]", result)) if isinstance(result, tuple) else [result]


def third_derivative(bridge: Bridge) -> UsageError:
    """Return the error for a third derivative."""
    return UsageError(
        f"a third derivative of {bridge.model!r} was requested, and a package has two: differentiate less often"
    )


def parameter_derivative(bridge: Bridge, names: Iterable[str] | None = None) -> UsageError:
    """Return the error for a derivative wrt parameters: all of them where the framework does not know which."""
    names = [tensor.name for tensor in bridge.parameters] if names is None else list(names)
    return UsageError(
        f"a derivative of {bridge.model!r} with respect to the parameters {names} was requested, and the package has "
        f"none: differentiate with respect to {[tensor.name for tensor in bridge.wrt]}, stop gradients at the others, "
        "or export it with --wrt"
    )
