"""Values and derivatives as requests: a method of ``Model`` and its arguments become one call of one signature.

Nothing here sends or waits: ``Model`` and its asynchronous twin carry the requests out, each in its own way.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast, final, get_args

from numpy.typing import NDArray

from gradwire._errors import InputNameError, UsageError
from gradwire._model import unpack
from gradwire._model.binding import SignatureBinding, bind_signature
from gradwire._model.extrapolation import ExtrapolationPolicy, trusted
from gradwire._model.info import PackageInfo, times
from gradwire._model.options import Options
from gradwire._model.out import written_to
from gradwire._model.points import Points, bind, read_points, read_rows
from gradwire._model.request import Arrays, PreparedRequest
from gradwire._model.selection import EVERYTHING, Names, Selection
from gradwire._model.solution import choose_solve, read_solution, solving_signature
from gradwire._model.tangents import DirectionSpec, read_directions
from gradwire._package import (
    CARD,
    HESSIAN,
    HVP,
    JVP,
    SERVING_DEFAULT,
    SOLVE,
    UNCERTAINTY,
    VALUE,
    VJP,
    Part,
)

Args = Sequence[Any]
Inputs = Mapping[str, Any]

Method: TypeAlias = Literal[
    "value", "grad", "value_and_grad", "jacobian", "jvp", "vjp", "hvp", "hessian", "uncertainty", "solve"
]


class MethodSpec(NamedTuple):
    """What a method of ``Model`` calls, and what it makes of the response.

    Attributes:
        signature: its name.
        parts: what the method returns, and how each part is unpacked; several parts become a tuple.
    """

    signature: str
    parts: Mapping[Part, unpack.Unpack]


METHODS: Final[Mapping[Method, MethodSpec]] = {  # all but ``SOLVE``, whose signature depends on the arguments
    "value": MethodSpec(VALUE, {Part.OUTPUTS: unpack.values}),
    "grad": MethodSpec(SERVING_DEFAULT, {Part.DERIVATIVES: unpack.derivatives}),
    "value_and_grad": MethodSpec(SERVING_DEFAULT, {Part.OUTPUTS: unpack.values, Part.DERIVATIVES: unpack.derivatives}),
    "jacobian": MethodSpec(SERVING_DEFAULT, {Part.DERIVATIVES: unpack.matrices}),
    "jvp": MethodSpec(JVP, {Part.OUTPUT_TANGENTS: unpack.values}),
    "vjp": MethodSpec(VJP, {Part.INPUT_COTANGENTS: unpack.cotangents}),
    "hvp": MethodSpec(HVP, {Part.DERIVATIVE_TANGENTS: unpack.derivatives}),
    "hessian": MethodSpec(HESSIAN, {Part.SECOND_DERIVATIVES: unpack.hessians}),
    "uncertainty": MethodSpec(UNCERTAINTY, {Part.OUTPUT_STDS: unpack.values, Part.DERIVATIVE_STDS: unpack.derivatives}),
}


@final
class RequestBuilder:
    """Prepares the calls of one package.

    Args:
        package: what is called.
        options: what a cast of the caller's arrays may lose, and what to do about points outside of the domain.
    """

    def __init__(self, package: PackageInfo, options: Options) -> None:
        self._package = package
        self._options = options
        self._bindings: dict[Hashable, SignatureBinding] = {}

    def build(
        self,
        method: Method,
        args: Args,
        inputs: Inputs,
        *,
        of: Names = None,
        wrt: Names = None,
        out: Any = None,
    ) -> PreparedRequest:
        """Prepare a method of ``Model``.

        Args:
            method: its name.
            args: the arguments by position.
            inputs: the arguments by name.
            of: the outputs that are of interest.
            wrt: the inputs with respect to which derivatives are.
            out: arrays for the result, in the form of the result.

        Raises:
            InputError: names, shapes or dtypes do not fit; a class each.
            UsageError: ``out`` is of another form, or the method takes no selection.
            SignatureNotFound: the package lacks the signature, or a card.
        """
        if method == SOLVE:
            return self._build_solve(args, inputs, {"of": of, "wrt": wrt, "out": out})
        binding, points, rows = self._read(self._bind(method, of, wrt), args, inputs)
        unpacked = partial(_unpack, METHODS[method].parts, binding, points)
        request = PreparedRequest.of(binding.signature, rows, binding.names, unpacked)
        return self._checked(request if out is None else written_to(request, out), points.rows)

    def build_trust(self, args: Args, inputs: Inputs) -> PreparedRequest:
        """Prepare the question which points are near enough to the samples; see ``Model.is_trusted``.

        Where the distances of atoms tell it alone, the call of a value checks the points.

        Args:
            args: the arguments by position.
            inputs: the arguments by name.

        Raises:
            InputError: names, shapes or dtypes do not fit; a class each.
            SignatureNotFound: the package has no error bars, or no card.
            PackageError: the card does not say which bars are trusted.
        """
        by_distances = self._package.is_trusted_by_distances
        method: Method = "value" if by_distances else "uncertainty"
        binding, points, rows = self._read(self._bind(method), args, inputs, is_checked=False)
        names = binding.names[:1] if by_distances else tuple(self._package.trust.limits)

        def unpacked(arrays: Arrays) -> Any:
            return trusted(self._package, points.rows, arrays).reshape(points.batch)

        return PreparedRequest.of(binding.signature, rows, names, unpacked)

    def _build_solve(self, args: Args, inputs: Inputs, choice: Mapping[str, Any]) -> PreparedRequest:
        """Prepare a call of the signature that solves for the input that is not given; see ``Model.solve``."""
        if args:
            raise InputNameError(f"solve got {len(args)} inputs by position: give the target and the inputs by name")
        if chosen := [name for name, value in choice.items() if value is not None]:
            raise UsageError(f"solve got {chosen[0]!r}, expected the target and the inputs alone")
        name, solve = choose_solve(self._package, inputs)
        signature = solving_signature(self._package, name)
        ordered = {tensor: inputs[tensor] for tensor in signature.inputs}
        points = read_points(ordered, signature.inputs, self._options.cast)
        self._policy.check(points.rows)
        return PreparedRequest.of(signature, points.rows, solve.outputs, partial(read_solution, solve, points))

    def _checked(self, request: PreparedRequest, rows: Mapping[str, NDArray[Any]]) -> PreparedRequest:
        """Add the call of the error bars, where far points are to be told and the package can tell them."""
        if not self._policy.acts or UNCERTAINTY not in self._package.signatures:
            return request
        signature, trust = self._package.signature(UNCERTAINTY), self._package.trust
        if not signature.inputs.keys() <= rows.keys():  # of a signature that solves: one input is not known yet
            return request
        own = {name: rows[name] for name in signature.inputs}
        bars = PreparedRequest.of(signature, own, tuple(trust.limits), partial(self._policy.check_bars, trust))
        return request._replace(bars=bars)

    def _read(
        self, binding: SignatureBinding, args: Args, inputs: Inputs, *, is_checked: bool = True
    ) -> tuple[SignatureBinding, Points, Mapping[str, NDArray[Any]]]:
        """Read the arguments of a method: what it calls, the points, and all rows that travel."""
        if len(args) > 1 and not self._package.has_card:
            raise InputNameError(
                f"without a card the order of {list(binding.inputs)} is unknown: give the inputs by name"
            )
        arrays = bind(args, inputs, binding.arguments, binding.directions)
        own = {name: arrays.pop(name) for name in binding.inputs} if binding.directions else arrays
        points = read_points(own, binding.signature.inputs, self._options.cast)
        if is_checked:
            self._policy.check(points.rows)
        rows = points.rows
        if binding.directions:
            if not arrays:
                names = list(binding.arguments[len(binding.inputs) :])
                raise InputNameError(
                    f"no direction is given, expected at least one of {names}: those left out are zero"
                )
            points, directions = read_directions(arrays, _specs(binding, points), points, self._options.cast)
            rows = {**points.rows, **directions}
        return binding, points, rows

    def build_derivative(self, name: str, args: Args, inputs: Inputs) -> PreparedRequest:
        """Prepare one first derivative by its name; see ``Model.derivative``.

        Args:
            name: an alias of the card, or a tensor's.
            args: the arguments by position.
            inputs: the arguments by name.

        Raises:
            InputError: names, shapes or dtypes do not fit; a class each.
            SignatureNotFound: the package has no card.
        """
        aliases, card = self._package.aliases(), self._package.card
        tensor, factor = aliases.get(name, (name, 1.0))
        pairs = {tensor: wrt for by_input in card.derivatives.values() for wrt, tensor in by_input.items()}
        if tensor not in pairs:
            raise InputNameError(f"there is no derivative {name!r}, expected one of {[*aliases, *pairs]}")
        binding, points, rows = self._read(self._bind("grad"), args, inputs)

        def unpacked(arrays: Arrays) -> Any:
            return times(points.derivative(arrays[tensor], pairs[tensor]), factor)

        return self._checked(PreparedRequest.of(binding.signature, rows, (tensor,), unpacked), points.rows)

    def build_rows(self, signature: str, inputs: Inputs, outputs: Sequence[str] | None = None) -> PreparedRequest:
        """Prepare a raw call: batch-first arrays in, outputs by name out. This is the way of ``Model.predict``.

        Args:
            signature: its name.
            inputs: by name, ``(batch, …)``.
            outputs: names of the outputs to return; None for all.

        Raises:
            SignatureNotFound: the package has no such signature.
            InputError: names, shapes or dtypes do not fit; a class each.
        """
        called = self._package.signature(signature)
        names = tuple(called.outputs) if outputs is None else tuple(outputs)
        if set(names) - set(called.outputs):
            raise InputNameError(
                f"{signature!r} has no outputs {sorted(set(names) - set(called.outputs))}, expected some of "
                f"{sorted(called.outputs)}"
            )
        rows = read_rows(inputs, called, self._options.cast)
        self._policy.check(rows)
        request = PreparedRequest.of(called, rows, names, lambda arrays: arrays)
        return request if signature == CARD else self._checked(request, rows)

    def build_block(self, method: Method, block: Any, *, of: Names = None, wrt: Names = None) -> PreparedRequest:
        """Prepare one block of a stream; see ``Model.stream``.

        Args:
            method: its name.
            block: an input, a tuple of inputs, or a dict of inputs by name.
            of: as for ``build``.
            wrt: as for ``build``.

        Raises:
            UsageError: there is no such method.
        """
        if method not in get_args(Method):
            raise UsageError(f"stream of {method!r}, expected one of {list(get_args(Method))}")
        if isinstance(block, dict):
            return self.build(method, (), cast("dict[str, Any]", block), of=of, wrt=wrt)
        args = cast("tuple[Any, ...]", block) if isinstance(block, tuple) else (block,)
        return self.build(method, args, {}, of=of, wrt=wrt)

    @cached_property
    def _policy(self) -> ExtrapolationPolicy:
        return ExtrapolationPolicy(self._package, self._options.on_extrapolation)

    def _bind(self, method: Method, of: Names = None, wrt: Names = None) -> SignatureBinding:
        if of is None and wrt is None:
            key, selection = method, EVERYTHING
        else:
            selection = Selection.read(of, wrt)
            key = (method, selection)
        binding = self._bindings.get(key)
        if binding is None:
            spec = METHODS[method]
            binding = self._bindings[key] = bind_signature(self._package, spec.signature, spec.parts, selection)
        return binding


def _unpack(parts: Mapping[Part, unpack.Unpack], binding: SignatureBinding, points: Points, arrays: Arrays) -> Any:
    results = [function(binding, binding.tensors[part], points, arrays) for part, function in parts.items()]
    return tuple(results) if len(results) > 1 else results[0]


def _specs(binding: SignatureBinding, points: Points) -> list[DirectionSpec]:
    """The form of each tangent or cotangent at these points."""
    specs: list[DirectionSpec] = []
    for name, owner in binding.directions.items():
        spec = binding.signature.inputs[name]
        if owner in points.rows:
            specs.append(DirectionSpec(spec, owner, points.rows[owner].shape[1:], points.row_form(owner)))
        else:
            specs.append(DirectionSpec(spec, owner, spec.row_shape, points.output_form(spec.row_shape)))
    return specs
