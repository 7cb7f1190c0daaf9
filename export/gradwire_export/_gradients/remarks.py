"""What TensorFlow's derivatives of an operation miss that cannot be made right here: warned of by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradwire_export._gradients.determinants import has_cofactors
from gradwire_export._gradients.means import STOP, is_mean_of_variance, is_shift
from gradwire_export._gradients.products import has_known_axes

_COMPARISONS: Final = frozenset(("Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual", "IsFinite"))
# Operations with a pole, or with a vertical tangent, by the argument where it is.
_POLES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("Log", "Log1p", "Sqrt", "Rsqrt", "Reciprocal", "Inv", "Pow", "Xlogy", "Acos", "Asin", "Acosh"), 0),
    **dict.fromkeys(("Atanh", "Lgamma", "Digamma"), 0),
    **dict.fromkeys(("RealDiv", "Div", "Atan2"), 1),
}
_SPREADS: Final = 6  # operations between a pole and the selection that it is in

_EQUAL_EIGENVALUES: Final = (
    "where two {} are equal, its derivatives leave out the terms that divide by their difference: what is smooth there, "
    "such as a function of the whole matrix, has wrong first and second derivatives"
)


def remark_on(operation: Any) -> str | None:
    """Return what the derivatives of an operation miss, as the end of a sentence, or None."""
    remark = _REMARKS.get(operation.type, _nothing)(operation)
    return remark or _narrowed(operation)


def _nothing(_: Any) -> str | None:
    return None


def _stopped(operation: Any) -> str | None:
    if is_mean_of_variance(operation) or is_shift(operation):
        return None
    return (
        "which holds its argument fixed: first and second derivatives leave out what goes through it, and are not those of "
        "the values unless that is zero"
    )


def _product(operation: Any) -> str | None:
    axes = tf.get_static_value(operation.inputs[1])
    if axes is not None and has_known_axes(operation.inputs[0], np.reshape(axes, -1)):
        return None
    order = "first and second" if operation.type == "Cumprod" else "second"
    return f"along an axis of unknown length: where a factor is 0, {order} derivatives are wrong; fix the length"


def _determinant(operation: Any) -> str | None:
    if has_cofactors(operation.inputs[0]):
        return None
    return "whose gradient inverts the matrix: where it is singular, every signature but value fails"


def _selected(operation: Any) -> str | None:
    """Return a remark where the branch that is not taken has a pole in what the condition tests."""
    condition = operation.inputs[0].op
    if condition.type not in _COMPARISONS:
        return None
    tested = {id(tensor) for tensor in condition.inputs}
    for branch in operation.inputs[1:]:
        pole = _pole(branch, tested, _SPREADS)
        if pole is not None:
            return (
                f"one side of which has {pole.type} ({pole.name!r}) of what the condition tests: where that is not finite, "
                "derivatives are NaN on the other side too. Select a harmless argument for it first, "
                "tf.where(x > 0, tf.where(x > 0, x, 1.0) …)"
            )
    return None


def _pole(tensor: Any, tested: set[int], depth: int) -> Any | None:
    operation = tensor.op
    argument = _POLES.get(operation.type)
    if argument is not None and id(operation.inputs[argument]) in tested:
        exponent = tf.get_static_value(operation.inputs[1]) if operation.type == "Pow" else None
        if exponent is None or (np.asarray(exponent) < 0).any():
            return operation
    if depth == 0 or operation.type.startswith("Select"):
        return None
    return next((pole for part in operation.inputs if (pole := _pole(part, tested, depth - 1)) is not None), None)


def _narrowed(operation: Any) -> str | None:
    """Return a remark where float64 becomes float32."""
    narrow = any(tensor.dtype in (tf.float32, tf.float16, tf.bfloat16) for tensor in operation.outputs)
    if narrow and any(tensor.dtype == tf.float64 for tensor in operation.inputs):
        name = operation.outputs[0].dtype.name
        return f"which computes in {name} whatever the policy: values and derivatives have the accuracy of {name}"
    return None


_REMARKS: Final[Mapping[str, Callable[[Any], str | None]]] = {
    STOP: _stopped,
    "Prod": _product,
    "Cumprod": _product,
    "MatrixDeterminant": _determinant,
    "SelfAdjointEigV2": lambda _: _EQUAL_EIGENVALUES.format("eigenvalues"),
    "Svd": lambda _: _EQUAL_EIGENVALUES.format("singular values"),
    "UnsortedSegmentProd": lambda _: "where a factor is 0, second derivatives are NaN",
    "Spence": lambda _: "at 1 the second derivative is NaN, where it is 1/2",
    "Select": _selected,
    "SelectV2": _selected,
}
