"""A model as one function of one vector, for the bridges: x (batch, n) to f (batch, m), in NumPy.

The differentiated inputs are joined into one vector in the card's order, the outputs into another, so that a bridge
deals with one Jacobian (batch, m, n) and its framework does the splitting, which it can differentiate by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import PackageError, ShapeError, SignatureNotFound, UsageError
from gradwire._model import Model, Points, cast, read_points, require_names
from gradwire._package import BY_NAME, HESSIAN, HVP, SERVING_DEFAULT, VALUE, CardTensor, numpy_dtype, tangent_name

Array = NDArray[Any]
Arrays = Mapping[str, Array]


def sizes(tensors: Iterable[CardTensor]) -> list[int]:
    """Return the number of elements in a row of each tensor."""
    return [math.prod(tensor.shape) for tensor in tensors]


def unravel(array: Any, tensors: Sequence[CardTensor]) -> list[Any]:
    """Cut the last axis into the tensors that were joined there; any array that can be sliced will do."""
    ends = accumulate(sizes(tensors), initial=0)
    return [array[..., start:end] for start, end in pairwise(ends)]


@final
@dataclass(frozen=True)
class Bridge:
    """One model, seen as f(x, *parameters).

    Attributes:
        model: the model.
        fixed: names of differentiated inputs that are parameters here all the same.
        of: the name of the one output that is f; None for all of them.

    Arrays are ``(…, n)``: any leading axes, the same for x and every parameter, travel as rows of one call. A
    parameter is an input that the model has no derivative with respect to; it is ``(…, elements)`` too.
    """

    model: Model
    fixed: frozenset[str] = frozenset()
    of: str | None = None

    def __post_init__(self) -> None:
        if self.of is not None and not self.outputs:
            raise UsageError(
                f"of={self.of!r}, expected an output: {[tensor.name for tensor in self.model.card.outputs]}"
            )
        if self.fixed and not self.wrt:
            raise UsageError(f"{sorted(self.fixed)} are fixed, and nothing is left to vary: leave one out")
        signature = self.model.signatures[SERVING_DEFAULT]
        for name in (*self.names, *[output.name for output in self.outputs]):
            spec = signature.inputs.get(name) or signature.outputs[name]
            if None in spec.row_shape:
                raise PackageError(
                    f"{name!r} has rows of shape {spec.row_shape}, expected fixed sizes: a bridge needs to know them "
                    "before the call; use the model's own methods"
                )
        wrt = [tensor.name for tensor in self.wrt]
        for output in self.outputs:
            missing = set(wrt) - set(self.model.card.derivatives.get(output.name, {}))
            if missing or not wrt:
                raise PackageError(
                    f"the card of {self.model!r} has no derivative of {output.name!r} with respect to "
                    f"{sorted(missing)}, expected every output with respect to each of {wrt}: export the package with "
                    "them, or declare them zero"
                )

    @cached_property
    def inputs(self) -> tuple[CardTensor, ...]:
        """All inputs, in the model's order."""
        return self.model.card.inputs

    @cached_property
    def outputs(self) -> tuple[CardTensor, ...]:
        """The outputs that are f, in the model's order."""
        return tuple(tensor for tensor in self.model.card.outputs if self.of in (None, tensor.name))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The inputs' names."""
        return tuple(tensor.name for tensor in self.inputs)

    @cached_property
    def wrt(self) -> tuple[CardTensor, ...]:
        """The differentiated inputs: the parts of x."""
        return tuple(tensor for tensor in self._differentiated if tensor.name not in self.fixed)

    @cached_property
    def _differentiated(self) -> tuple[CardTensor, ...]:
        names = {name for by_input in self.model.card.derivatives.values() for name in by_input}
        return tuple(tensor for tensor in self.inputs if tensor.name in names)

    @cached_property
    def parameters(self) -> tuple[CardTensor, ...]:
        """The other inputs."""
        return tuple(tensor for tensor in self.inputs if tensor not in self.wrt)

    @property
    def n(self) -> int:
        """The number of elements of x."""
        return sum(sizes(self.wrt))

    @property
    def m(self) -> int:
        """The number of elements of f."""
        return sum(sizes(self.outputs))

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of f and of every derivative."""
        return BY_NAME[self.outputs[0].dtype].numpy

    def points(self, shapes: Mapping[str, tuple[int, ...]]) -> Points:
        """Apply the rule of the caller's arrays to shapes alone; the form's rows are zeros that take no memory."""
        specs = self.model.signatures[SERVING_DEFAULT].inputs
        zero = {name: np.zeros((), numpy_dtype(name, specs[name].dtype)) for name in shapes}
        return read_points({name: np.broadcast_to(zero[name], shapes[name]) for name in shapes}, specs)

    def value(self, x: Array, *parameters: Array) -> Array:
        """Return f, ``(…, m)``."""
        lead, rows = self._rows(x, parameters)
        signature = VALUE if VALUE in self.model.signatures else SERVING_DEFAULT
        response = self.model.run(signature, rows, [tensor.name for tensor in self.outputs])
        return self._values(response).reshape(*lead, self.m)

    def value_and_jacobian(self, x: Array, *parameters: Array) -> tuple[Array, Array]:
        """Return f and df/dx from one call, ``(…, m)`` and ``(…, m, n)``."""
        lead, rows = self._rows(x, parameters)
        response = self.model.run(SERVING_DEFAULT, rows, self._needed(SERVING_DEFAULT))
        f, df = self._values(response), self._jacobian(response)
        return f.reshape(*lead, self.m), df.reshape(*lead, self.m, self.n)

    def value_jacobian_hessian(self, x: Array, *parameters: Array) -> tuple[Array, Array, Array]:
        """Return f, df/dx and d²f/dx² from one call, ``(…, m)``, ``(…, m, n)`` and ``(…, m, n, n)``.

        By the signature `hessian`, or else by `hvp` along every axis: n·batch rows.
        """
        self.require_second_derivatives()
        lead, rows = self._rows(x, parameters)
        m, n = self.m, self.n
        if HESSIAN in self.model.signatures:
            response = self.model.run(HESSIAN, rows, self._needed(HESSIAN))
            hessian = self._hessian(response)
        else:
            count = math.prod(lead)
            axes = np.broadcast_to(np.eye(n, dtype=self.dtype)[:, None], (n, count, n))
            along = self._hvp(_repeated(rows, n), axes.reshape(n * count, n))
            response = {name: array[:count] for name, array in along.items()}
            hessian = np.moveaxis(self._jacobian_tangents(along).reshape(n, count, m, n), 0, -1)
        f, df = self._values(response), self._jacobian(response)
        return f.reshape(*lead, m), df.reshape(*lead, m, n), hessian.reshape(*lead, m, n, n)

    def jacobian_vjp(self, x: Array, df_bar: Array, *parameters: Array) -> Array:
        """Return Σ df_bar[m, i] · d²f[m]/dx[i]dx, ``(…, n)``, the vector-Jacobian product of x ↦ df/dx, from one call.

        By the signature `hvp` (a row for each output element with a cotangent that is not zero), or else by `hessian`.
        """
        self.require_second_derivatives()
        if HVP not in self.model.signatures:
            return np.einsum("...mij,...mi->...j", self.value_jacobian_hessian(x, *parameters)[2], df_bar)
        lead, rows = self._rows(x, parameters)
        bars = np.moveaxis(df_bar.reshape(-1, self.m, self.n), 1, 0)  # (m, rows, n)
        used = np.flatnonzero(bars.any(axis=(1, 2)))
        if not used.size:
            return np.zeros_like(x, self.dtype)
        count, tangents = math.prod(lead), bars[used].reshape(-1, self.n)
        response = self._hvp(_repeated(rows, used.size), tangents)
        products = self._jacobian_tangents(response).reshape(used.size, count, self.m, self.n)
        return products[np.arange(used.size), :, used].sum(0).reshape(*lead, self.n)

    def jacobian_jvp(self, x: Array, x_dot: Array, *parameters: Array) -> Array:
        """Return d²f/dx² · x_dot, ``(…, m, n)``, from one call, or none if x_dot is zero."""
        self.require_second_derivatives()
        if not x_dot.any():
            return np.zeros((*x.shape[:-1], self.m, self.n), self.dtype)
        if HVP not in self.model.signatures:
            return np.einsum("...mij,...j->...mi", self.value_jacobian_hessian(x, *parameters)[2], x_dot)
        lead, rows = self._rows(x, parameters)
        response = self._hvp(rows, x_dot.reshape(-1, self.n))
        return self._jacobian_tangents(response).reshape(*lead, self.m, self.n)

    @property
    def has_second_derivatives(self) -> bool:
        """Whether the package has `hvp` or `hessian`."""
        return bool({HVP, HESSIAN} & set(self.model.signatures))

    def require_second_derivatives(self) -> None:
        """Raise SignatureNotFound if the package has neither `hvp` nor `hessian`."""
        if not self.has_second_derivatives:
            raise SignatureNotFound(
                f"second derivatives of {self.model!r} were requested, and it has neither a signature 'hvp' nor "
                f"'hessian', only {sorted(self.model.signatures)}: export it with --signatures hvp"
            )

    def _rows(self, x: Array, parameters: Sequence[Array]) -> tuple[tuple[int, ...], dict[str, Array]]:
        """The leading axes, and the inputs by name as ``(batch, *row)``."""
        parts = [*unravel(x, self.wrt), *parameters]
        tensors = [*self.wrt, *self.parameters]
        rows = {
            t.name: part.reshape(-1, *t.shape) if part.size else np.empty((0, *t.shape), part.dtype)
            for t, part in zip(tensors, parts, strict=True)
        }
        return x.shape[:-1], {name: rows[name] for name in self.names}

    def _hvp(self, rows: dict[str, Array], tangents: Array) -> dict[str, Array]:
        parts = {
            tangent_name(t.name): part.reshape(-1, *t.shape)
            for t, part in zip(self.wrt, unravel(tangents, self.wrt), strict=True)
        }
        still = {
            tangent_name(t.name): np.zeros((len(tangents), *t.shape), self.dtype)
            for t in self._differentiated
            if t.name in self.fixed
        }
        return self.model.run(HVP, rows | parts | still, self._needed(HVP))

    def _needed(self, signature: str) -> list[str] | None:
        """The outputs of a signature that are of use; None where all are."""
        if not self.fixed and self.of is None:
            return None
        card, wrt = self.model.card, [t.name for t in self.wrt]
        first = [card.derivatives[f.name][x] for f in self.outputs for x in wrt]
        names = [*(f.name for f in self.outputs), *first]
        if signature == HVP:
            names += map(tangent_name, first)
        if signature == HESSIAN:
            for f in self.outputs:
                pairs = card.second_derivatives[f.name].items()
                names += [name for x, by in pairs if x in wrt for z, name in by.items() if z in wrt]
        return names

    def _values(self, arrays: Arrays) -> Array:
        """The outputs joined, ``(rows, m)``."""
        return np.concatenate([_flat(arrays[output.name], output) for output in self.outputs], -1)

    def _jacobian(self, arrays: Arrays) -> Array:
        """The first derivatives joined, ``(rows, m, n)``."""
        names = self.model.card.derivatives
        rows = [[_flat(arrays[names[f.name][x.name]], f, x) for x in self.wrt] for f in self.outputs]
        return np.concatenate([np.concatenate(row, -1) for row in rows], 1)

    def _hessian(self, arrays: Arrays) -> Array:
        """The second derivatives, of which a package has each pair of inputs once, joined: ``(rows, m, n, n)``."""

        def block(output: CardTensor, first: CardTensor, second: CardTensor) -> Array:
            by_first = self.model.card.second_derivatives[output.name]
            if second.name in by_first.get(first.name, {}):
                return _flat(arrays[by_first[first.name][second.name]], output, first, second)
            return _flat(arrays[by_first[second.name][first.name]], output, second, first).swapaxes(-1, -2)

        def square(output: CardTensor) -> Array:
            rows = [np.concatenate([block(output, x, y) for y in self.wrt], -1) for x in self.wrt]
            return np.concatenate(rows, -2)

        return np.concatenate([square(output) for output in self.outputs], 1)

    def _jacobian_tangents(self, arrays: Arrays) -> Array:
        """The tangents of the first derivatives in a response of `hvp`."""
        names = {self.model.card.derivatives[f.name][x.name] for f in self.outputs for x in self.wrt}
        return self._jacobian({name: arrays[tangent_name(name)] for name in names})


def read_fixed(bridge: Bridge, fixed: Mapping[str, Any]) -> list[Array]:
    """Read one row of each parameter, ``(elements,)`` in its dtype.

    Raises InputError where a name is missing or unknown, or a value has another shape.
    """
    require_names(fixed, [tensor.name for tensor in bridge.parameters])
    rows: list[Array] = []
    for tensor, size in zip(bridge.parameters, sizes(bridge.parameters), strict=True):
        row = cast(fixed[tensor.name], tensor.dtype, tensor.name)
        if row.size != size:
            raise ShapeError(f"{tensor.name!r} has shape {row.shape}, expected one row of shape {tensor.shape}")
        rows.append(row.reshape(size))
    return rows


def _repeated(rows: Arrays, count: int) -> dict[str, Array]:
    return {
        name: np.broadcast_to(array, (count, *array.shape)).reshape(-1, *array.shape[1:])
        for name, array in rows.items()
    }


def _flat(array: Array, *tensors: CardTensor) -> Array:
    """An axis for the rows, and one for each tensor."""
    return array.reshape(len(array), *sizes(tensors))
