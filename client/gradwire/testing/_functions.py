"""NumPy functions of points as the signatures of a package: what a server computes, in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire._package import (
    BY_NAME,
    HESSIAN,
    HVP,
    JVP,
    SERVING_DEFAULT,
    VALUE,
    VJP,
    Card,
    CardTensor,
    cotangent_name,
    name_mismatch,
    tangent_name,
)

Array: TypeAlias = NDArray[Any]
Rows: TypeAlias = "Mapping[str, Array]"
Function: TypeAlias = Callable[..., Any]

_STEP: Final = float(np.cbrt(np.finfo(float).eps))  # of central differences, where truncation and rounding meet


def signature_functions(
    card: Card, f: Function, grad: Function | None, hess: Function | None
) -> dict[str, Callable[..., Rows]]:
    """Return a function of batch-first tensors for each signature that the derivatives allow.

    Args:
        card: of the package.
        f: as ``FakeModel`` takes it, like the next two.
        grad: None where the card has no derivatives.
        hess: None where the card has no second derivatives.
    """
    computed = _Computed(card, f, grad, hess)
    functions: dict[str, Callable[..., Rows]] = {VALUE: computed.values, SERVING_DEFAULT: computed.first}
    if grad is not None:
        functions |= {JVP: computed.jvp, VJP: computed.vjp}
    if hess is not None:
        functions |= {HVP: computed.hvp, HESSIAN: computed.second}
    return functions


def differences(f: Function, inputs: Sequence[CardTensor], outputs: Sequence[CardTensor]) -> Function:
    """Return a function's gradient by central differences, in the form that ``FakeModel`` takes.

    Args:
        f: as ``FakeModel`` takes it.
        inputs: its arguments.
        outputs: what it returns.
    """

    def grad(*arrays: Array) -> Any:
        blocks: dict[str, dict[str, Array]] = {output.name: {} for output in outputs}
        for place, (tensor, array) in enumerate(zip(inputs, arrays, strict=True)):
            rows = array.reshape(len(array), math.prod(tensor.shape))
            columns: list[Mapping[str, Array]] = []
            for element in range(rows.shape[1]):
                step = np.zeros_like(rows)
                step[:, element] = _STEP * np.maximum(1, np.abs(rows[:, element]))
                upper, lower = rows + step, rows - step
                both = [
                    _by_name(f(*arrays[:place], moved.reshape(array.shape), *arrays[place + 1 :]), outputs)
                    for moved in (upper, lower)
                ]
                width = (upper - lower)[:, element]
                columns.append({name: ((both[0][name] - both[1][name]).T / width).T for name in both[0]})
            for output in outputs:
                stacked = np.stack([column[output.name] for column in columns], -1)
                blocks[output.name][tensor.name] = stacked.reshape(len(array), *_form(output), *_form(tensor))
        is_plain = len(inputs) == len(outputs) == 1
        return blocks[outputs[0].name][inputs[0].name] if is_plain else blocks

    return grad


def _form(tensor: CardTensor) -> tuple[int, ...]:
    """The shape of a row as a caller has it: a scalar has no axis."""
    return () if tensor.shape == (1,) else tensor.shape


def _by_name(result: Any, outputs: Sequence[CardTensor]) -> dict[str, Array]:
    return dict(cast("Rows", result)) if isinstance(result, Mapping) else {outputs[0].name: np.asarray(result)}


@final
class _Computed:
    """The signatures of one package."""

    def __init__(self, card: Card, f: Function, grad: Function | None, hess: Function | None) -> None:
        self._card = card
        self._f = f
        self._grad = grad
        self._hess = hess
        self._is_plain = len(card.inputs) == len(card.outputs) == 1
        differentiated = {wrt for by_input in card.derivatives.values() for wrt in by_input}
        self._wrt = [tensor for tensor in card.inputs if tensor.name in differentiated]

    def values(self, **rows: Array) -> Rows:
        """Compute the outputs."""
        result = self._run("f", self._f, rows, 0)
        count = _count(rows)
        return {
            output.name: self._checked("f", result[output.name], count, output).reshape(count, *output.shape)
            for output in self._card.outputs
        }

    def first(self, **rows: Array) -> Rows:
        """Compute the outputs and their first derivatives."""
        outputs = dict(self.values(**rows))
        if self._grad is not None:
            result, count = self._run("grad", self._grad, rows, 1), _count(rows)
            for output in self._card.outputs:
                for wrt in self._wrt:
                    block = self._checked("grad", result[output.name][wrt.name], count, output, wrt)
                    name = self._card.derivatives[output.name][wrt.name]
                    outputs[name] = block.reshape(count, *_output(output), *wrt.shape)
        return outputs

    def second(self, **rows: Array) -> Rows:
        """Compute the outputs, first and second derivatives."""
        outputs = dict(self.first(**rows))
        assert self._hess is not None  # noqa: S101 - `signature_functions` has seen to it
        result, count = self._run("hess", self._hess, rows, 2), _count(rows)
        for output in self._card.outputs:
            for first, names in self._card.second_derivatives[output.name].items():
                for second, name in names.items():
                    wrt = [tensor for part in (first, second) for tensor in self._wrt if tensor.name == part]
                    block = self._checked("hess", result[output.name][first][second], count, output, *wrt)
                    outputs[name] = block.reshape(count, *_output(output), *wrt[0].shape, *wrt[1].shape)
        return outputs

    def jvp(self, **rows: Array) -> Rows:
        """Compute the outputs and their tangents."""
        first, dots = self._split(rows, tangent_name, self._wrt)
        outputs = {output.name: first[output.name] for output in self._card.outputs}
        for output in self._card.outputs:
            parts = [
                np.einsum("rmn,rn->rm", self._matrix(first, output, wrt), _flat(dots[wrt.name])) for wrt in self._wrt
            ]
            outputs[tangent_name(output.name)] = np.sum(parts, 0).reshape(_count(rows), *output.shape)
        return outputs

    def vjp(self, **rows: Array) -> Rows:
        """Compute the outputs and the cotangents of the inputs."""
        first, bars = self._split(rows, cotangent_name, self._card.outputs)
        outputs = {output.name: first[output.name] for output in self._card.outputs}
        for wrt in self._wrt:
            parts = [
                np.einsum("rmn,rm->rn", self._matrix(first, output, wrt), _flat(bars[output.name]))
                for output in self._card.outputs
            ]
            outputs[cotangent_name(wrt.name)] = np.sum(parts, 0).reshape(_count(rows), *wrt.shape)
        return outputs

    def hvp(self, **rows: Array) -> Rows:
        """Compute the outputs, their first derivatives, and the tangents of those."""
        points = {tensor.name: rows[tensor.name] for tensor in self._card.inputs}
        second = self.second(**points)
        names = {name for by_input in self._card.derivatives.values() for name in by_input.values()}
        outputs = {name: array for name, array in second.items() if name in names}
        outputs |= {output.name: second[output.name] for output in self._card.outputs}
        for output in self._card.outputs:
            for wrt in self._wrt:
                total: Any = 0.0
                for other in self._wrt:
                    block = self._block(second, output, wrt, other)
                    total = total + np.einsum("rmij,rj->rmi", block, _flat(rows[tangent_name(other.name)]))
                name = self._card.derivatives[output.name][wrt.name]
                outputs[tangent_name(name)] = total.reshape(second[name].shape)
        return outputs

    def _block(self, second: Rows, output: CardTensor, first: CardTensor, other: CardTensor) -> Array:
        """The second derivatives with respect to a pair of inputs, which the package has in one order."""
        names = self._card.second_derivatives[output.name]
        is_turned = other.name not in names.get(first.name, {})
        pair = (other, first) if is_turned else (first, other)
        array = second[names[pair[0].name][pair[1].name]]
        block = array.reshape(len(array), *(math.prod(tensor.shape) for tensor in (output, *pair)))
        return block.swapaxes(-1, -2) if is_turned else block

    def _matrix(self, first: Rows, output: CardTensor, wrt: CardTensor) -> Array:
        array = first[self._card.derivatives[output.name][wrt.name]]
        return array.reshape(len(array), math.prod(output.shape), math.prod(wrt.shape))

    def _split(
        self, rows: Rows, rename: Callable[[str], str], owners: Sequence[CardTensor]
    ) -> tuple[Rows, dict[str, Array]]:
        """Compute what ``first`` does, and name the directions by whose they are."""
        first = self.first(**{tensor.name: rows[tensor.name] for tensor in self._card.inputs})
        return first, {tensor.name: rows[rename(tensor.name)] for tensor in owners}

    def _run(self, role: str, function: Function, rows: Rows, order: int) -> Any:
        """Call a function in the caller's form, and return its results by output, and then by input."""
        arrays = [rows[tensor.name].reshape(_count(rows), *_form(tensor)) for tensor in self._card.inputs]
        result: Any = function(*arrays)
        is_array = not isinstance(cast("object", result), Mapping)
        if self._is_plain or (order == 0 and is_array and len(self._card.outputs) == 1):
            for name in (*[self._card.inputs[0].name] * order, self._card.outputs[0].name):
                result = {name: result}
        self._require(role, result, order)
        return result

    def _require(self, role: str, result: Any, order: int) -> None:
        """Check the names, level by level."""
        levels = [[tensor.name for tensor in tensors] for tensors in (self._card.outputs, *[self._wrt] * order)]
        blocks: list[Any] = [result]
        for names in levels:
            for block in blocks:
                if not isinstance(block, Mapping):
                    raise UsageError(f"{role} of the fake returned {type(block).__name__}, expected a dict of {names}")
                if mismatch := name_mismatch(cast("Mapping[str, Any]", block), names):
                    raise UsageError(f"{role} of the fake returned other names than {names}: {mismatch}")
            blocks = [block[name] for block in blocks for name in names]

    def _checked(self, role: str, result: Any, count: int, output: CardTensor, *wrt: CardTensor) -> Array:
        """Return what a function returned in the output's dtype, if it has a row for each point."""
        array = np.asarray(result)
        expected = (count, *_form(output), *(size for tensor in wrt for size in _form(tensor)))
        if array.shape != expected:
            of = " with respect to ".join(repr(tensor.name) for tensor in (output, *wrt))
            raise UsageError(
                f"{role} of the fake returned shape {array.shape} for {of}, expected {expected}: a row for each point"
            )
        return array.astype(BY_NAME[output.dtype].numpy)


def _count(rows: Rows) -> int:
    return len(next(iter(rows.values())))


def _flat(array: Array) -> Array:
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _output(output: CardTensor) -> tuple[int, ...]:
    """The axes that an output has in the shape of a derivative, by the contract."""
    return () if output.shape == (1,) else output.shape
