"""A model as one function of one vector, for the bridges: x (batch, n) to f (batch, m), in NumPy.

The differentiated inputs are joined into one vector in the card's order, the outputs into another, so that a bridge
has one Jacobian (batch, m, n) to deal with and a framework does the splitting, which it can differentiate by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from gradwire._bridges.ravel import join_hessian, join_jacobian, join_values, sizes, split
from gradwire._errors import PackageError, SignatureNotFound
from gradwire._model import read_points
from gradwire._package import BY_NAME, HESSIAN, HVP, SERVING_DEFAULT, TANGENT, VALUE, tangent_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._model import Model, Points
    from gradwire._package import CardTensor

    Array = NDArray[Any]


@final
@dataclass(frozen=True)
class Bridge:
    """One model, seen as f(x, *parameters).

    Arrays are ``(…, n)``: any leading axes, the same for x and every parameter, travel as rows of one call. A
    parameter is an input that the model has no derivative by; it is ``(…, numbers)`` too.

    Attributes:
        model: what is called.

    Raises:
        SignatureNotFound: the package has no card.
        PackageError: a derivative of some output is missing, or a row has no fixed size.
    """

    model: Model

    def __post_init__(self) -> None:
        signature = self.model.signatures[SERVING_DEFAULT]
        for name in (*self.names, *[output.name for output in self.outputs]):
            spec = signature.inputs.get(name) or signature.outputs[name]
            if None in spec.row_shape:
                raise PackageError(
                    f"{name!r} has rows of shape {spec.row_shape}, expected sizes that are fixed: a bridge needs to know "
                    "them before the call; use the model's own methods"
                )
        wrt = [tensor.name for tensor in self.wrt]
        for output in self.outputs:
            missing = set(wrt) - set(self.model.card.derivatives.get(output.name, {}))
            if missing or not wrt:
                raise PackageError(
                    f"the card of {self.model!r} has no derivative of {output.name!r} by {sorted(missing)}, expected "
                    f"every output by each of {wrt}: export the package with them, or declare them zero"
                )

    @cached_property
    def inputs(self) -> tuple[CardTensor, ...]:
        """All inputs, in the model's order."""
        return self.model.card.inputs

    @cached_property
    def outputs(self) -> tuple[CardTensor, ...]:
        """All outputs, in the model's order."""
        return self.model.card.outputs

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The inputs' names."""
        return tuple(tensor.name for tensor in self.inputs)

    @cached_property
    def wrt(self) -> tuple[CardTensor, ...]:
        """The differentiated inputs: the parts of x."""
        taken = {name for by_input in self.model.card.derivatives.values() for name in by_input}
        return tuple(tensor for tensor in self.inputs if tensor.name in taken)

    @cached_property
    def parameters(self) -> tuple[CardTensor, ...]:
        """The other inputs."""
        return tuple(tensor for tensor in self.inputs if tensor not in self.wrt)

    @property
    def n(self) -> int:
        """How many numbers x has."""
        return sum(sizes(self.wrt))

    @property
    def m(self) -> int:
        """How many numbers f has."""
        return sum(sizes(self.outputs))

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of f and of every derivative."""
        return BY_NAME[self.outputs[0].dtype].numpy

    def points(self, shapes: Mapping[str, tuple[int, ...]]) -> Points:
        """Applies the rule of the caller's arrays to shapes alone.

        Args:
            shapes: of every input, by name.

        Returns:
            The form; its rows are zeros that take no memory.

        Raises:
            InputError: the shapes do not fit the model or one another.
        """
        specs = self.model.signatures[SERVING_DEFAULT].inputs
        zero = {name: np.zeros((), BY_NAME[specs[name].dtype].numpy) for name in shapes}
        return read_points({name: np.broadcast_to(zero[name], shapes[name]) for name in shapes}, specs)

    def value(self, x: Array, *parameters: Array) -> Array:
        """Computes f, ``(…, m)``."""
        lead, rows = self._rows(x, parameters)
        signature = VALUE if VALUE in self.model.signatures else SERVING_DEFAULT
        found = self.model.run(signature, rows, [tensor.name for tensor in self.outputs])
        return self._values(found).reshape(*lead, self.m)

    def first(self, x: Array, *parameters: Array) -> tuple[Array, Array]:
        """Computes f and df/dx in one call, ``(…, m)`` and ``(…, m, n)``."""
        lead, rows = self._rows(x, parameters)
        found = self.model.run(SERVING_DEFAULT, rows)
        return self._values(found).reshape(*lead, self.m), self._jacobian(found).reshape(*lead, self.m, self.n)

    def second(self, x: Array, *parameters: Array) -> tuple[Array, Array, Array]:
        """Computes f, df/dx and d²f/dx² in one call, ``(…, m)``, ``(…, m, n)`` and ``(…, m, n, n)``.

        By the signature `hessian`, or else by `hvp` along every axis: n·batch rows.

        Raises:
            SignatureNotFound: the package has neither.
        """
        self.require_second()
        lead, rows = self._rows(x, parameters)
        m, n = self.m, self.n
        if HESSIAN in self.model.signatures:
            found = self.model.run(HESSIAN, rows)
            hessian = join_hessian(self.outputs, self.wrt, self.model.card.second_derivatives, found)
        else:
            count = math.prod(lead)
            axes = np.broadcast_to(np.eye(n, dtype=self.dtype)[:, None], (n, count, n))
            turned = self._along(_repeated(rows, n), axes.reshape(n * count, n))
            found = {name: array[:count] for name, array in turned.items()}
            hessian = np.moveaxis(self._jacobian(turned, tangents=True).reshape(n, count, m, n), 0, -1)
        f, df = self._values(found), self._jacobian(found)
        return f.reshape(*lead, m), df.reshape(*lead, m, n), hessian.reshape(*lead, m, n, n)

    def pulled(self, x: Array, df_bar: Array, *parameters: Array) -> Array:
        """Computes Σ df_bar[m, i] · d²f[m]/dx[i]dx, what x owes to a cotangent of df/dx, in one call.

        By the signature `hvp` (a row for each output number with a cotangent that is not zero), or else by `hessian`.

        Args:
            x: ``(…, n)``.
            df_bar: ``(…, m, n)``.
            *parameters: ``(…, numbers)``.

        Returns:
            ``(…, n)``.

        Raises:
            SignatureNotFound: the package has neither.
        """
        self.require_second()
        if HVP not in self.model.signatures:
            return np.einsum("...mij,...mi->...j", self.second(x, *parameters)[2], df_bar)
        lead, rows = self._rows(x, parameters)
        bars = np.moveaxis(df_bar.reshape(-1, self.m, self.n), 1, 0)  # (m, rows, n)
        used = np.flatnonzero(bars.any(axis=(1, 2)))
        if not used.size:
            return np.zeros_like(x, self.dtype)
        count, tangents = math.prod(lead), bars[used].reshape(-1, self.n)
        found = self._along(_repeated(rows, used.size), tangents)
        turned = self._jacobian(found, tangents=True).reshape(used.size, count, self.m, self.n)
        return turned[np.arange(used.size), :, used].sum(0).reshape(*lead, self.n)

    def turned(self, x: Array, x_dot: Array, *parameters: Array) -> Array:
        """Computes d²f/dx² · x_dot, how df/dx changes along a tangent, in one call, or in none where that is zero.

        Args:
            x: ``(…, n)``.
            x_dot: ``(…, n)``.
            *parameters: ``(…, numbers)``.

        Returns:
            ``(…, m, n)``.

        Raises:
            SignatureNotFound: the package has neither `hvp` nor `hessian`.
        """
        self.require_second()
        if not x_dot.any():
            return np.zeros((*x.shape[:-1], self.m, self.n), self.dtype)
        if HVP not in self.model.signatures:
            return np.einsum("...mij,...j->...mi", self.second(x, *parameters)[2], x_dot)
        lead, rows = self._rows(x, parameters)
        found = self._along(rows, x_dot.reshape(-1, self.n))
        return self._jacobian(found, tangents=True).reshape(*lead, self.m, self.n)

    def require_second(self) -> None:
        """Refuses where no signature has second derivatives.

        Raises:
            SignatureNotFound: the package has neither `hvp` nor `hessian`.
        """
        if not {HVP, HESSIAN} & set(self.model.signatures):
            raise SignatureNotFound(
                f"second derivatives of {self.model!r} were asked for, and it has neither a signature 'hvp' nor "
                f"'hessian', only {sorted(self.model.signatures)}: export it with --signatures hvp"
            )

    def _rows(self, x: Array, parameters: Sequence[Array]) -> tuple[tuple[int, ...], dict[str, Array]]:
        """The leading axes, and the inputs by name as ``(batch, *row)``."""
        parts = [*split(x, self.wrt), *parameters]
        tensors = [*self.wrt, *self.parameters]
        rows = {
            t.name: part.reshape(-1, *t.shape) if part.size else np.empty((0, *t.shape), part.dtype)
            for t, part in zip(tensors, parts, strict=True)
        }
        return x.shape[:-1], {name: rows[name] for name in self.names}

    def _along(self, rows: dict[str, Array], tangents: Array) -> dict[str, Array]:
        parts = {
            tangent_name(t.name): part.reshape(-1, *t.shape)
            for t, part in zip(self.wrt, split(tangents, self.wrt), strict=True)
        }
        return self.model.run(HVP, rows | parts)

    def _values(self, found: Mapping[str, Array]) -> Array:
        return join_values(self.outputs, found)

    def _jacobian(self, found: Mapping[str, Array], *, tangents: bool = False) -> Array:
        names = self.model.card.derivatives
        return join_jacobian(self.outputs, self.wrt, names, _undotted(found) if tangents else found)


def _undotted(found: Mapping[str, Array]) -> dict[str, Array]:
    """The tangents of an answer, by the names of what they are tangents of."""
    return {name.removesuffix(TANGENT): array for name, array in found.items() if name.endswith(TANGENT)}


def _repeated(rows: Mapping[str, Array], count: int) -> dict[str, Array]:
    return {
        name: np.broadcast_to(array, (count, *array.shape)).reshape(-1, *array.shape[1:])
        for name, array in rows.items()
    }
