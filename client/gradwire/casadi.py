"""A model as a CasADi function: values, Jacobians and Hessians that are exact, for nlpsol, Opti and integrators.

    log = gradwire.casadi.wrap(gradwire.connect("localhost:8500", "log"))
    x = casadi.MX.sym("x")
    solver = casadi.nlpsol("solver", "ipopt", {"x": x, "f": (log(x) - 0.5) ** 2})

Three callbacks build on one another, each the Jacobian of the one before: f, df/dx, d²f/dx². At one point they share
one call, and there is no fourth: a third derivative is refused.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import accumulate
from typing import Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from gradwire._bridges import Bridge, LastCall, read_fixed, sizes
from gradwire._errors import UsageError
from gradwire._extras import import_extra
from gradwire._model import Model
from gradwire._package import CardTensor

__all__ = ["wrap"]

_HIGHEST: Final = 2  # order of the derivatives that a package has


def wrap(
    model: Model,
    /,
    *,
    rows: int | None = None,
    of: str | None = None,
    options: Mapping[str, Any] | None = None,
    **fixed: Any,
) -> Any:
    """Make a model a CasADi ``Callback`` of the inputs that vary.

    Inputs and outputs have the model's names and are dense columns, one for each point, elements of a row in NumPy's
    order. What is evaluated at the last point is cached, by its exact bytes, so that an optimiser's value, gradient and
    constraints there are one call, and its Hessian one more. Everything is float64, whatever the dtype of the package.
    It is pickled, and copied, as the model. Keep it for as long as expressions of it are used: CasADi does not.

    Args:
        model: from ``gradwire.connect`` or ``gradwire.load``.
        rows: None for one point, each input ``(n, 1)``; a number for as many points in one call, each input ``(n,
            rows)`` as CasADi's ``map`` has them, with derivatives that are sparse: those of a point by itself.
        of: the one output that is returned, of a model with several; by default all of them.
        options: of the callback, such as ``{"enable_fd": True, "enable_jacobian": False}`` for finite differences.
        **fixed: a value for each input that does not vary: one row, in the input's shape. Inputs that the model has no
            derivative with respect to are always fixed.

    Returns:
        A ``casadi.Callback``. What goes wrong in a call comes as CasADi's RuntimeError with the reason in it.
        Differentiated twice, it raises that where the package has neither `hvp` nor `hessian`, and three times always.

    Raises:
        MissingExtra: CasADi is not installed.
        SignatureNotFound: the package has no card.
        PackageError: the package lacks derivatives of an output.
        UsageError: rows is not positive, there is no such output, or every input is fixed.
        InputError: ``fixed`` lacks a parameter, names an unknown input, or has another shape.
    """
    if rows is not None and rows < 1:
        raise UsageError(f"rows={rows}: expected None for one point, or a positive number of points")
    casadi = import_extra("casadi", "casadi")
    bridge = Bridge(model, fixed=frozenset(fixed), of=of)
    make = partial(wrap, rows=rows, of=of, options=options, **fixed)
    served = _Served(bridge, read_fixed(bridge, fixed), rows or 1, make)
    names = ([tensor.name for tensor in bridge.wrt], [tensor.name for tensor in bridge.outputs])
    return _callback(casadi)(served, None, casadi.Function.fix_name(model.card.name), names, options or {})


class _Place(NamedTuple):
    """Which elements of a joined vector a tensor has."""

    start: int
    size: int

    @property
    def part(self) -> slice:
        return slice(self.start, self.start + self.size)


def _places(tensors: Sequence[CardTensor]) -> list[_Place]:
    starts = accumulate(sizes(tensors), initial=0)
    return [_Place(start, size) for start, size in zip(starts, sizes(tensors), strict=False)]


class _Block(NamedTuple):
    """A matrix of derivatives: of one output, once for each of some inputs.

    CasADi has the first derivatives as a matrix of m·rows by n·rows, and the second ones as one of all elements of that
    matrix, column after column, by n·rows. Elements of different points do not depend on one another.
    """

    output: _Place
    wrt: tuple[_Place, ...] = ()

    def pattern(self, casadi: Any, rows: int) -> Any:
        """Where the matrix has elements."""
        if not self.wrt:
            return casadi.Sparsity.dense(self.output.size, rows)
        # From the axis that varies slowest: the point, the inputs from the last one, the output.
        sizes_of_axes = [rows, *(place.size for place in reversed(self.wrt)), self.output.size]
        point, last, *others, element = np.indices(sizes_of_axes).reshape(len(sizes_of_axes), -1)
        height, row = self.output.size * rows, point * self.output.size + element
        for place, index in zip(self.wrt[:-1], others, strict=True):
            row = row + (point * place.size + index) * height
            height *= place.size * rows
        column = point * self.wrt[-1].size + last
        return casadi.Sparsity.triplet(height, self.wrt[-1].size * rows, row.tolist(), column.tolist())

    def elements(self, derivatives: NDArray[Any]) -> NDArray[Any]:
        """Take the block's numbers, in the order of its pattern, from ``(rows, m, n, …)``."""
        array = derivatives[(slice(None), self.output.part, *(place.part for place in self.wrt))]
        return array.transpose(0, *range(array.ndim - 1, 0, -1)).ravel()


@final
class _Served:
    """What the callbacks of one model share: its points, and the last call."""

    def __init__(self, bridge: Bridge, fixed: list[NDArray[Any]], rows: int, make: Callable[[Model], Any]) -> None:
        self.bridge = bridge
        self.rows = rows
        self.make = make
        self._parameters = [np.broadcast_to(row, (rows, row.size)) for row in fixed]
        self._last = LastCall()

    def call(self, order: int, columns: list[NDArray[Any]]) -> NDArray[Any]:
        """Return f, df/dx or d²f/dx² at points that are columns: ``(rows, m, n, …)``."""
        method = self.bridge.value_jacobian_hessian if order == _HIGHEST else self.bridge.value_and_jacobian
        x = np.ascontiguousarray(np.concatenate(columns).T)
        return self._last(method, order + 1, x, *self._parameters)[order].astype(np.float64)


@cache
def _callback(casadi: Any) -> Any:  # noqa: C901 - a class inside, for CasADi is imported here alone; few branches
    class ServedCallback(casadi.Callback):
        """The derivatives of one order; those of the next are its Jacobian.

        A Jacobian takes what its function does, and the function's results, which it does not look at; its results are
        a block for each result and each input, without elements where the input is not looked at.
        """

        def __init__(
            self, served: _Served, of: Any, name: str, names: tuple[list[str], list[str]], options: Mapping[str, Any]
        ) -> None:
            casadi.Callback.__init__(self)
            bridge, rows = served.bridge, served.rows
            self._served = served
            self._names = names
            self._jacobians: list[Any] = []  # CasADi does not keep them
            self.order: int = 0 if of is None else of.order + 1
            if of is None:
                self.wrt: list[_Place | None] = [*_places(bridge.wrt)]
                self.ins = [casadi.Sparsity.dense(place.size, rows) for place in _places(bridge.wrt)]
                self.blocks: list[_Block | None] = [_Block(place) for place in _places(bridge.outputs)]
                self.outs = [_Block(place).pattern(casadi, rows) for place in _places(bridge.outputs)]
            else:
                self.wrt = [*of.wrt, *[None] * len(of.outs)]
                self.ins = [*of.ins, *[casadi.Sparsity(*pattern.shape) for pattern in of.outs]]
                self.blocks, self.outs = of.next_blocks()
            self.construct(name, dict(options))

        def __reduce__(self) -> tuple[object, ...]:
            return self._served.make, (self._served.bridge.model,)

        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            return self._served.make(copy.deepcopy(self._served.bridge.model, memo))

        def next_blocks(self) -> tuple[list[_Block | None], list[Any]]:
            """Every result of the Jacobian, and its pattern."""
            pairs = [self._next(result, place) for result in range(len(self.outs)) for place in range(len(self.ins))]
            return [block for block, _ in pairs], [pattern for _, pattern in pairs]

        def _next(self, result: int, place: int) -> tuple[_Block | None, Any]:
            block, wrt = self.blocks[result], self.wrt[place]
            if block is None or wrt is None:
                return None, casadi.Sparsity(self.outs[result].numel(), self.ins[place].numel())
            block = block._replace(wrt=(*block.wrt, wrt))
            return block, block.pattern(casadi, self._served.rows)

        def get_n_in(self) -> int:
            return len(self.ins)

        def get_n_out(self) -> int:
            return len(self.outs)

        def get_name_in(self, place: int) -> str:
            return self._names[0][place]

        def get_name_out(self, place: int) -> str:
            return self._names[1][place]

        def get_sparsity_in(self, place: int) -> Any:
            return self.ins[place]

        def get_sparsity_out(self, place: int) -> Any:
            return self.outs[place]

        def eval(self, arguments: Any) -> Any:
            """Compute the blocks."""
            columns = [
                argument.full() for argument, place in zip(arguments, self.wrt, strict=True) if place is not None
            ]
            derivatives = self._served.call(self.order, columns)
            return [
                casadi.DM(pattern) if block is None else casadi.DM(pattern, block.elements(derivatives))
                for pattern, block in zip(self.outs, self.blocks, strict=True)
            ]

        def has_jacobian(self) -> bool:
            return self.order < _HIGHEST

        def get_jacobian(self, name: str, inputs: Any, outputs: Any, options: Any) -> Any:
            """Make the callback of the next order."""
            if self.order + 1 == _HIGHEST:
                self._served.bridge.require_second_derivatives()
            jacobian = ServedCallback(self._served, self, name, (list(inputs), list(outputs)), options)
            self._jacobians.append(jacobian)
            return jacobian

        def has_jac_sparsity(self, _result: int, _place: int) -> bool:
            return self.order < _HIGHEST

        def get_jac_sparsity(self, result: int, place: int, _symmetric: bool) -> Any:
            return self._next(result, place)[1]

    return ServedCallback
