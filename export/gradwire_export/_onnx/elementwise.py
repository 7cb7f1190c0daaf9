"""Operations that act element by element, and the gradients of activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from gradwire_export._onnx import special
from gradwire_export._onnx.operation import BOOL, Convert, Operation, Unsupported


def _direct(kind: str) -> Callable[[Operation], str]:
    return lambda op: op.emit.add(kind, *op.all)


def _negated(kind: str) -> Convert:
    return lambda op: op.emit.add("Not", op.emit.add(kind, *op.all))


def _square(op: Operation) -> str:
    return op.emit.add("Mul", op.x(0), op.x(0))


def _squared_difference(op: Operation) -> str:
    difference = op.emit.add("Sub", *op.all)
    return op.emit.add("Mul", difference, difference)


def _rsqrt(op: Operation) -> str:
    return op.emit.add("Div", op.number(1), op.emit.add("Sqrt", op.x(0)))


def _reciprocal(op: Operation) -> str:
    return op.emit.add("Div", op.number(1), op.x(0))


def _sigmoid(op: Operation) -> str:
    """Write 1 / (1 + exp(-x)): the runtime's own Sigmoid is zero below -18 in float32, and cancels in float64."""
    return op.emit.add("Div", op.number(1), _one_and_exp(op, 0))


def _one_and_exp(op: Operation, index: int) -> str:
    return op.emit.add("Add", op.number(1), op.emit.add("Exp", op.emit.add("Neg", op.x(index))))


def _softplus(op: Operation) -> str:
    """Write max(x, 0) + log1p(exp(-|x|)): the runtime's own loses the digits of small results."""
    small = op.emit.add("Exp", op.emit.add("Neg", op.emit.add("Abs", op.x(0))))
    above = op.emit.add("Max", op.x(0), op.number(0))
    return op.emit.add("Add", above, special.log1p(op.emit, small, op.dtype(0)))


def _softplus_grad(op: Operation) -> str:
    return op.emit.add("Div", op.x(0), _one_and_exp(op, 1))


def _one_and_abs(op: Operation, index: int) -> str:
    return op.emit.add("Add", op.number(1), op.emit.add("Abs", op.x(index)))


def _softsign(op: Operation) -> str:
    return op.emit.add("Div", op.x(0), _one_and_abs(op, 0))


def _softsign_grad(op: Operation) -> str:
    below = _one_and_abs(op, 1)
    return op.emit.add("Div", op.x(0), op.emit.add("Mul", below, below))


def _tanh_grad(op: Operation) -> str:
    square = op.emit.add("Mul", op.x(0), op.x(0))
    return op.emit.add("Mul", op.x(1), op.emit.add("Sub", op.number(1), square))


def _sigmoid_grad(op: Operation) -> str:
    y, dy = op.all
    return op.emit.add("Mul", op.emit.add("Mul", dy, y), op.emit.add("Sub", op.number(1), y))


def _sqrt_grad(op: Operation) -> str:
    y, dy = op.all
    return op.emit.add("Div", op.emit.add("Mul", dy, op.number(0.5)), y)


def _rsqrt_grad(op: Operation) -> str:
    y, dy = op.all
    cube = op.emit.add("Mul", op.emit.add("Mul", y, y), y)
    return op.emit.add("Mul", op.emit.add("Mul", dy, op.number(-0.5)), cube)


def _reciprocal_grad(op: Operation) -> str:
    y, dy = op.all
    return op.emit.add("Mul", op.emit.add("Neg", dy), op.emit.add("Mul", y, y))


def _masked(op: Operation, mask: str) -> str:
    """Multiply a cotangent by a mask, as TensorFlow does: what is not finite in it stays so."""
    return op.emit.add("Mul", op.x(0), op.emit.cast(mask, op.dtype(0)))


def _relu_grad(op: Operation) -> str:
    return _masked(op, op.emit.add("Greater", op.x(1), op.number(0)))


def _relu6(op: Operation) -> str:
    return op.emit.add("Min", op.emit.add("Max", op.x(0), op.number(0)), op.number(6))


def _relu6_grad(op: Operation) -> str:
    above = op.emit.add("Greater", op.x(1), op.number(0))
    return _masked(op, op.emit.add("And", above, op.emit.add("Less", op.x(1), op.number(6))))


def _leaky_relu(op: Operation) -> str:
    sloped = op.emit.add("Mul", op.x(0), op.number(op.attribute("alpha")))
    return op.emit.add("Where", op.emit.add("Greater", op.x(0), op.number(0)), op.x(0), sloped)


def _leaky_relu_grad(op: Operation) -> str:
    sloped = op.emit.add("Mul", op.x(0), op.number(op.attribute("alpha")))
    return op.emit.add("Where", op.emit.add("Greater", op.x(1), op.number(0)), op.x(0), sloped)


SELU_SCALE: Final = 1.0507009873554804934193349852946
SELU_SCALE_ALPHA: Final = 1.7580993408473768599402175208123


def _elu(scale: float, scale_alpha: float) -> Convert:
    def convert(op: Operation) -> str:
        below = op.emit.add("Mul", special.expm1(op.emit, op.x(0), op.dtype(0)), op.number(scale_alpha))
        above = op.emit.add("Mul", op.x(0), op.number(scale))
        return op.emit.add("Where", op.emit.add("Less", op.x(0), op.number(0)), below, above)

    return convert


def _elu_grad(scale: float, scale_alpha: float) -> Convert:
    def convert(op: Operation) -> str:
        below = op.emit.add("Mul", op.x(0), op.emit.add("Add", op.x(1), op.number(scale_alpha)))
        above = op.emit.add("Mul", op.x(0), op.number(scale))
        return op.emit.add("Where", op.emit.add("Less", op.x(1), op.number(0)), below, above)

    return convert


def _add_n(op: Operation) -> str:
    total, *others = op.all
    for other in others:
        total = op.emit.add("Add", total, other)
    return total


def _bias_add(op: Operation) -> str:
    if op.attribute("data_format") != "NHWC":
        raise Unsupported("its channels come first: build the model with channels last")
    return op.emit.add("Add", *op.all)


def _is_finite(op: Operation) -> str:
    return op.emit.add("Not", op.emit.add("Or", op.emit.add("IsNaN", op.x(0)), op.emit.add("IsInf", op.x(0))))


def _zero_where(tested: int, other: Callable[[Operation], str]) -> Convert:
    """Zero where an input is zero, whatever the rest is."""

    def convert(op: Operation) -> str:
        is_zero = op.emit.add("Equal", op.x(tested), op.number(0))
        return op.emit.add("Where", is_zero, op.number(0), other(op))

    return convert


def _x_log_y(op: Operation) -> str:
    return op.emit.add("Mul", op.x(0), op.emit.add("Log", op.x(1)))


def _x_log1p_y(op: Operation) -> str:
    return op.emit.add("Mul", op.x(0), special.log1p(op.emit, op.x(1), op.dtype(1)))


def _floor_mod(op: Operation) -> str:
    if op.dtype(0).kind in "iu":
        return op.emit.add("Mod", *op.all)
    rest = op.emit.add("Mod", *op.all, fmod=1)
    zero = op.number(0)
    differ = op.emit.add("Xor", op.emit.add("Less", rest, zero), op.emit.add("Less", op.x(1), zero))
    apart = op.emit.add("And", differ, op.emit.add("Not", op.emit.add("Equal", rest, zero)))
    return op.emit.add("Where", apart, op.emit.add("Add", rest, op.x(1)), rest)


def _floor_div(op: Operation) -> str:
    if op.dtype(0).kind not in "iu":
        return op.emit.add("Floor", op.emit.add("Div", *op.all))
    return op.emit.add("Div", op.emit.add("Sub", op.x(0), op.emit.add("Mod", *op.all)), op.x(1))


def _select(op: Operation) -> str:
    condition, one, other = op.all
    if op.kind == "Select" and 1 == op.rank(0) < op.rank(1):  # a condition a row
        shape = [*op.shape(0), *([type(op.shape(0)[0])(1)] * (op.rank(1) - 1))]
        condition = op.emit.reshape(condition, shape)
    if op.dtype(1) != BOOL:
        return op.emit.add("Where", condition, one, other)
    chosen = op.emit.add("And", condition, one)
    return op.emit.add("Or", chosen, op.emit.add("And", op.emit.add("Not", condition), other))


def _clip(op: Operation) -> str:
    return op.emit.add("Max", op.emit.add("Min", op.x(0), op.x(2)), op.x(1))


def _cast(op: Operation) -> str:
    return op.emit.cast(op.x(0), op.attribute("DstT"))


def _written_out(function: special.Function, kind: str | None = None) -> Convert:
    """Write a function out in float64, where the runtime has no kernel; ``kind`` is its own for float32."""

    def convert(op: Operation) -> str:
        dtype = op.dtype(0)
        if dtype == np.float32 and kind is not None:
            return op.emit.add(kind, op.x(0))
        wide = np.dtype(np.float64)
        x = op.x(0) if dtype == wide else op.emit.cast(op.x(0), wide)
        y = function(op.emit, x, wide)
        return y if dtype == wide else op.emit.cast(y, dtype)

    return convert


def _in_dtype(function: special.Function) -> Convert:
    return lambda op: function(op.emit, op.x(0), op.dtype(0))


def _rounded(op: Operation) -> str:
    return op.emit.add("Round", op.x(0)) if op.dtype(0).kind == "f" else op.x(0)


def _same(op: Operation) -> str:
    return op.x(0)


OPERATIONS: Final[Mapping[str, Convert]] = {
    **{kind: _direct(kind) for kind in ("Abs", "Add", "Ceil", "Cos", "Div", "Equal", "Exp", "Floor", "Greater", "Less",
                                        "Log", "Mul", "Neg", "Pow", "Relu", "Sign", "Sin", "Sqrt", "Sub", "Tanh")},
    "AddN": _add_n,
    "AddV2": _direct("Add"),
    "Acosh": _written_out(special.acosh),
    "Asin": _written_out(special.asin, "Asin"),
    "Acos": _written_out(special.acos, "Acos"),
    "Asinh": _written_out(special.asinh),
    "Atan": _written_out(special.atan, "Atan"),
    "Atanh": _written_out(special.atanh),
    "BiasAdd": _bias_add,
    "Cast": _cast,
    "CheckNumerics": _same,
    "ClipByValue": _clip,
    "Cosh": _written_out(special.cosh),
    "DivNoNan": _zero_where(1, _direct("Div")),
    "Elu": _elu(1.0, 1.0),
    "EluGrad": _elu_grad(1.0, 1.0),
    "EnsureShape": _same,
    "Erf": _written_out(special.erf, "Erf"),
    "Erfc": _written_out(special.erfc),
    "Expm1": _in_dtype(special.expm1),
    "FloorDiv": _floor_div,
    "FloorMod": _floor_mod,
    "GreaterEqual": _direct("GreaterOrEqual"),
    "Identity": _same,
    "IdentityN": lambda op: op.all,
    "Inv": _reciprocal,
    "InvGrad": _reciprocal_grad,
    "IsFinite": _is_finite,
    "IsInf": _direct("IsInf"),
    "IsNan": _direct("IsNaN"),
    "LeakyRelu": _leaky_relu,
    "LeakyReluGrad": _leaky_relu_grad,
    "LessEqual": _direct("LessOrEqual"),
    "Log1p": _in_dtype(special.log1p),
    "LogicalAnd": _direct("And"),
    "LogicalNot": _direct("Not"),
    "LogicalOr": _direct("Or"),
    "Maximum": _direct("Max"),
    "Minimum": _direct("Min"),
    "MulNoNan": _zero_where(1, _direct("Mul")),
    "NotEqual": _negated("Equal"),
    "PreventGradient": _same,
    "RealDiv": _direct("Div"),
    "Reciprocal": _reciprocal,
    "ReciprocalGrad": _reciprocal_grad,
    "Relu6": _relu6,
    "Relu6Grad": _relu6_grad,
    "ReluGrad": _relu_grad,
    "Rint": _rounded,
    "Round": _rounded,
    "Rsqrt": _rsqrt,
    "RsqrtGrad": _rsqrt_grad,
    "Select": _select,
    "SelectV2": _select,
    "Selu": _elu(SELU_SCALE, SELU_SCALE_ALPHA),
    "SeluGrad": _elu_grad(SELU_SCALE, SELU_SCALE_ALPHA),
    "Sigmoid": _sigmoid,
    "SigmoidGrad": _sigmoid_grad,
    "Sinh": _written_out(special.sinh),
    "Softplus": _softplus,
    "SoftplusGrad": _softplus_grad,
    "Softsign": _softsign,
    "SoftsignGrad": _softsign_grad,
    "SqrtGrad": _sqrt_grad,
    "Square": _square,
    "SquaredDifference": _squared_difference,
    "StopGradient": _same,
    "Tan": _written_out(special.tan),
    "TanhGrad": _tanh_grad,
    "Xdivy": _zero_where(0, _direct("Div")),
    "Xlog1py": _zero_where(0, _x_log1p_y),
    "Xlogy": _zero_where(0, _x_log_y),
}  # fmt: skip
