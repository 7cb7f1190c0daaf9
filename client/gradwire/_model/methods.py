"""Values and derivatives as plans: what the caller asks for, turned into one call of one signature.

Nothing here sends or waits: ``Model`` and its asynchronous twin carry the plans out, each in its own way.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, final

from gradwire._errors import InputNameError, UsageError
from gradwire._model import binding, unpack
from gradwire._model.cast import DEFAULT_CASTING
from gradwire._model.extrapolation import Guard
from gradwire._model.points import bind, read_points
from gradwire._model.request import Plan
from gradwire._model.tangents import Seed, read_seeds
from gradwire._model.validate import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gradwire._model.binding import Function
    from gradwire._model.cast import Casting
    from gradwire._model.extrapolation import Extrapolation
    from gradwire._model.info import Package
    from gradwire._model.points import Points
    from gradwire._model.request import Arrays

    Args = Sequence[Any]
    Inputs = Mapping[str, Any]
    Finish = Callable[[Function, Points, Arrays], Any]

Method: TypeAlias = Literal["value", "grad", "value_and_grad", "jacobian", "jvp", "vjp", "hvp", "hessian"]
METHODS: Final = ("value", "grad", "value_and_grad", "jacobian", "jvp", "vjp", "hvp", "hessian")


@final
class Calculus:
    """Plans the calls of one package.

    Args:
        package: what is called.
        casting: what a cast of the caller's arrays may lose.
        on_extrapolation: what to do about points outside of the card's domain.
    """

    def __init__(
        self,
        package: Package,
        *,
        casting: Casting = DEFAULT_CASTING,
        on_extrapolation: Extrapolation = "ignore",
    ) -> None:
        self._package = package
        self._casting: Casting = casting
        self._on_extrapolation: Extrapolation = on_extrapolation

    def value(self, args: Args, inputs: Inputs) -> Plan:
        """Plans f(x); see ``Model.value``."""
        return self._at_points(self._values, args, inputs, unpack.values)

    def grad(self, args: Args, inputs: Inputs) -> Plan:
        """Plans df/dx; see ``Model.grad``."""
        return self._at_points(self._gradients, args, inputs, unpack.gradients)

    def value_and_grad(self, args: Args, inputs: Inputs) -> Plan:
        """Plans f(x) and df/dx; see ``Model.value_and_grad``."""

        def finish(function: Function, points: Points, found: Arrays) -> Any:
            return unpack.values(function, points, found), unpack.gradients(function, points, found)

        return self._at_points(self._gradients, args, inputs, finish, self._gradients.outputs)

    def jacobian(self, args: Args, inputs: Inputs) -> Plan:
        """Plans df/dx as matrices; see ``Model.jacobian``."""
        return self._at_points(self._gradients, args, inputs, unpack.matrices)

    def jvp(self, args: Args, inputs: Inputs) -> Plan:
        """Plans df/dx · x_dot; see ``Model.jvp``."""
        return self._along_seeds(self._jvp, args, inputs, unpack.tangents)

    def vjp(self, args: Args, inputs: Inputs) -> Plan:
        """Plans f_bar · df/dx; see ``Model.vjp``."""
        return self._along_seeds(self._vjp, args, inputs, unpack.cotangents)

    def hvp(self, args: Args, inputs: Inputs) -> Plan:
        """Plans the derivative of df/dx along x_dot; see ``Model.hvp``."""
        return self._along_seeds(self._hvp, args, inputs, unpack.gradients)

    def hessian(self, args: Args, inputs: Inputs) -> Plan:
        """Plans the second derivatives; see ``Model.hessian``."""
        return self._at_points(self._hessian, args, inputs, unpack.hessians)

    def rows(self, signature: str, inputs: Inputs, outputs: Sequence[str] | None = None) -> Plan:
        """Plans a raw call: batch-first arrays in, outputs by name out.

        Args:
            signature: its name.
            inputs: by name, ``(batch, …)``.
            outputs: the names wanted; None for all.

        Raises:
            SignatureNotFound: the package has no such signature.
            InputError: names, shapes or dtypes do not fit.
        """
        found = self._package.signature(signature)
        names = tuple(found.outputs) if outputs is None else tuple(outputs)
        if set(names) - set(found.outputs):
            raise InputNameError(
                f"{signature!r} gives no {sorted(set(names) - set(found.outputs))}, expected some of {sorted(found.outputs)}"
            )
        rows = read_rows(inputs, found, self._casting)
        self._guard.look(rows)
        return Plan(found, rows, names, _as_they_are)

    def block(self, method: Method, block: Any) -> Plan:
        """Plans one block of a stream; see ``Model.stream``.

        Args:
            method: a word of ``METHODS``.
            block: an input, a tuple of inputs, or a dict of inputs by name.

        Raises:
            UsageError: there is no such method.
        """
        if method not in METHODS:
            raise UsageError(f"stream of {method!r}, expected one of {list(METHODS)}")
        plan: Callable[[Args, Inputs], Plan] = getattr(self, method)
        if isinstance(block, dict):
            return plan((), cast("dict[str, Any]", block))
        return plan(cast("tuple[Any, ...]", block) if isinstance(block, tuple) else (block,), {})

    @cached_property
    def _guard(self) -> Guard:
        return Guard(self._package, self._on_extrapolation)

    @cached_property
    def _values(self) -> Function:
        return binding.values(self._package)

    @cached_property
    def _gradients(self) -> Function:
        return binding.gradients(self._package)

    @cached_property
    def _jvp(self) -> Function:
        return binding.jvp(self._package)

    @cached_property
    def _vjp(self) -> Function:
        return binding.vjp(self._package)

    @cached_property
    def _hvp(self) -> Function:
        return binding.hvp(self._package)

    @cached_property
    def _hessian(self) -> Function:
        return binding.hessian(self._package)

    def _at_points(
        self, function: Function, args: Args, inputs: Inputs, finish: Finish, values: Sequence[str] = ()
    ) -> Plan:
        if len(args) > 1 and not self._package.has_card:
            raise InputNameError(
                f"without a card the order of {list(function.inputs)} is unknown: give the inputs by name"
            )
        points = self._points(bind(args, inputs, function.inputs), function)
        names = (*values, *binding.leaves(function.tensors))
        return Plan(function.signature, points.rows, names, partial(finish, function, points))

    def _along_seeds(self, function: Function, args: Args, inputs: Inputs, finish: Finish) -> Plan:
        given = bind(args, inputs, (*function.inputs, *function.seeds), frozenset(function.seeds))
        points = self._points({name: given.pop(name) for name in function.inputs}, function)
        points, seeds = read_seeds(given, _forms(function, points), points, self._casting)
        names = tuple(binding.leaves(function.tensors))
        return Plan(function.signature, {**points.rows, **seeds}, names, partial(finish, function, points))

    def _points(self, given: Inputs, function: Function) -> Points:
        points = read_points(given, function.signature.inputs, self._casting)
        self._guard.look(points.rows)
        return points


def _as_they_are(found: Arrays) -> Arrays:
    return found


def _forms(function: Function, points: Points) -> list[Seed]:
    """What each tangent or cotangent must look like at these points."""
    forms: list[Seed] = []
    for name, of in function.seeds.items():
        spec = function.signature.inputs[name]
        if of in points.rows:
            forms.append(Seed(spec, of, points.rows[of].shape[1:], points.part(of)))
        else:
            part = points.output_part(spec.row_shape)
            forms.append(Seed(spec, of, spec.row_shape, part))
    return forms
