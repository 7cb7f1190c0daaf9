r"""Operations that choose by one comparison: at a tie all of them must take the same side.

``maximum`` passes its gradient to the first of two equal arguments, and so does ``minimum``; ``abs`` passes none at 0,
nor does ``relu``. Each is the derivative of one side, or between both, which is all that a kink has. A smooth function
that is made of several of them, such as

.. math:: \log(e^a + e^b) = \max(a, b) + \log(1 + e^{-|a - b|}),

gets a mixture, which is no derivative of it (Bolte and Pauwels, 2020): (1, 0) at a = b instead of (1/2, 1/2). On one
side of the tie the function is the same expression without a choice, smooth up to the border, so that the derivatives
of every order are right at the tie if all the operations take that side. It is that of the first argument being the
larger one, in the order in which the graph names them; of a number, that of being above it. An operation alone keeps
TensorFlow's gradient.

Of ``abs`` that is squared, or is the larger or the smaller of two, as in a hypotenuse, the sign does not matter for the
value, and 1 instead of 0 makes second derivatives right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import tensorflow as tf

from gradwire_export._gradients.broadcast import unbroadcast
from gradwire_export._gradients.registry import Gradient, Replacement

_Operand: TypeAlias = "float | tuple[str, int]"  # a number that the graph knows, or a tensor by its name
_Pair: TypeAlias = tuple[_Operand, _Operand]

_OF_TWO: Final = frozenset(("Maximum", "Minimum"))
_OF_ZERO: Final = frozenset(("Abs", "Relu"))
_DIFFERENCES: Final = frozenset(("Sub", "Neg"))
_SQUARE: Final = 2


def gradient_of_maximum(own: Gradient | None) -> Gradient:
    """Return the gradient of Maximum."""
    return _where_tied(
        own, lambda operation, cotangent, first: _of_two(operation, cotangent, _is_larger(operation, first))
    )


def gradient_of_minimum(own: Gradient | None) -> Gradient:
    """Return the gradient of Minimum."""

    def gradient(operation: Any, cotangent: Any, first: bool) -> Any:
        return _of_two(operation, cotangent, tf.logical_not(_is_larger(operation, first)))

    return _where_tied(own, gradient)


def gradient_of_abs(own: Gradient | None) -> Gradient:
    """Return the gradient of Abs, which is 1 or -1 at zero."""

    def gradient(operation: Any, cotangent: Any, first: bool) -> Any:
        x = operation.inputs[0]
        return cotangent * tf.where(tf.equal(x, 0), tf.constant(1 if first else -1, x.dtype), tf.sign(x))

    return _where_tied(own, gradient)


def gradient_of_relu(own: Gradient | None) -> Gradient:
    """Return the gradient of Relu, which is 1 or 0 at zero."""

    def gradient(operation: Any, cotangent: Any, first: bool) -> Any:
        x = operation.inputs[0]
        return tf.where(x >= 0 if first else x > 0, cotangent, tf.zeros_like(cotangent))

    return _where_tied(own, gradient)


def is_tied(operation: Any) -> bool:
    """Whether the gradient of an operation at a tie is chosen by the operations around it."""
    return _takes_first(operation) is not None


def _where_tied(own: Gradient | None, tied: Callable[[Any, Any, bool], Any]) -> Gradient:
    def gradient(operation: Any, cotangent: Any) -> Any:
        first = _takes_first(operation)
        if first is None:
            return own(operation, cotangent) if own else None
        return tied(operation, cotangent, first)

    return gradient


def _is_larger(operation: Any, first: bool) -> Any:
    """Where the first of two arguments is larger; at a tie if ``first`` says so."""
    x, y = operation.inputs
    return x >= y if first else x > y


def _of_two(operation: Any, cotangent: Any, chosen: Any) -> list[Any]:
    (x, y), zeros = operation.inputs, tf.zeros_like(cotangent)
    return unbroadcast(x, y, tf.where(chosen, cotangent, zeros), tf.where(chosen, zeros, cotangent))


def _takes_first(operation: Any) -> bool | None:
    """Whether an operation must take the side of its first argument at a tie; None where it is free."""
    if not isinstance(operation, tf.Operation) or operation.type not in _OF_TWO | _OF_ZERO:
        return None
    for pair in _pairs(operation):
        if any(_are_tied(operation, pair, other) for other in _around(operation)):
            return _rank(pair[0]) < _rank(pair[1])
    return True if operation.type == "Abs" and _is_even(operation) else None


def _are_tied(operation: Any, pair: _Pair, other: Any) -> bool:
    """Whether another operation compares the same two, and is of another kind, or compares them the other way round."""
    same = [each for each in _pairs(other) if set(each) == set(pair)]
    return bool(same) and (other.type != operation.type or pair not in same)


def _pairs(operation: Any) -> list[_Pair]:
    """Return what an operation compares, the first being on the side of a positive argument, or of a larger one."""
    if operation.type in _OF_TWO:
        return [_signed(*operation.inputs)]
    if operation.type not in _OF_ZERO:
        return []
    (x,) = operation.inputs
    return [_signed(x, None), *([_signed(*x.op.inputs)] if x.op.type == "Sub" else [])]


def _signed(left: Any, right: Any) -> _Pair:
    """Return two operands by name; None is zero, and a negative number that is compared with it is turned round."""
    pair = _operand(left), 0.0 if right is None else _operand(right)
    for tensor, other in ((left, pair[1]), (right, pair[0])):
        if other == 0.0 and isinstance(tensor, tf.Tensor) and tensor.op.type == "Neg":
            inner = _operand(tensor.op.inputs[0])
            return (0.0, inner) if tensor is left else (inner, 0.0)
    return pair


def _operand(tensor: Any) -> _Operand:
    value = tf.get_static_value(tensor)
    if value is not None and np.size(value) == 1:
        return float(np.reshape(value, ()))
    return tensor.op.name, tensor.value_index


def _rank(operand: _Operand) -> tuple[Any, ...]:
    """Return a key by which operands have an order: tensors by name, then numbers."""
    return (0, *operand) if isinstance(operand, tuple) else (1, operand)


def _around(operation: Any) -> Iterator[Any]:
    """Yield the other operations that may compare what one does: of its arguments, their differences and negatives."""
    arguments = list(operation.inputs)
    arguments += [part for x in operation.inputs if x.op.type in _DIFFERENCES for part in x.op.inputs]
    uses = [use for tensor in arguments for use in tensor.consumers()]
    uses += [use for other in uses if other.type in _DIFFERENCES for use in other.outputs[0].consumers()]
    yield from (use for use in uses if use is not operation and use.type in _OF_TWO | _OF_ZERO)


def _is_even(operation: Any) -> bool:
    """Whether an absolute value is squared, or both the larger and the smaller of it and another are used."""
    size = operation.outputs[0]
    uses = size.consumers()
    exponents = [tf.get_static_value(use.inputs[1]) for use in uses if use.type == "Pow" and use.inputs[0] is size]
    squares = [
        use for use in uses if use.type == "Square" or (use.type == "Mul" and all(x is size for x in use.inputs))
    ]
    return (
        bool(squares)
        or any(exponent is not None and (np.asarray(exponent) == _SQUARE).any() for exponent in exponents)
        or any(is_tied(use) for use in uses if use.type in _OF_TWO)
    )


# By operation.
TIES: Final[dict[str, Replacement]] = {
    "Maximum": gradient_of_maximum,
    "Minimum": gradient_of_minimum,
    "Abs": gradient_of_abs,
    "Relu": gradient_of_relu,
}
