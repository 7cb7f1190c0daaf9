"""The functions that a package's signatures compute: what each takes, what it gives, and which tensor is which.

Tensors are found through the card and never by their names; only tangents and cotangents are named, by the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from gradwire._errors import PackageError, ShapeError
from gradwire._package import HESSIAN, HVP, JVP, SERVING_DEFAULT, VJP, cotangent_name, tangent_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gradwire._model.info import Package
    from gradwire._package import Signature


@final
@dataclass(frozen=True, slots=True)
class Function:
    """One signature, seen as a function of points.

    Found once for each model, so that a call has only arrays to deal with.

    Attributes:
        signature: what is called.
        inputs: in the model's order.
        outputs: in the model's order.
        seeds: tangents or cotangents that it takes, and the input or the output that each belongs to.
        tensors: what it gives, as callers get it: ``{output: tensor}``, ``{input: tensor}``,
            ``{output: {input: tensor}}`` or ``{output: {input: {input: tensor}}}``.
    """

    signature: Signature
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seeds: Mapping[str, str]
    tensors: Mapping[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether there is one input and one output, so that callers get plain arrays."""
        return len(self.inputs) == len(self.outputs) == 1


def values(package: Package) -> Function:
    """Finds the outputs: of the signature `value`, else of `serving_default`.

    Raises:
        SignatureNotFound: there is neither the signature `value` nor a card.
        PackageError: the card names tensors that the signature does not have.
        ShapeError: an input has no batch axis.
    """
    signature = package.signature_for_values()
    if not package.has_card:
        names = tuple(signature.outputs)
        return _checked(Function(signature, tuple(signature.inputs), names, {}, _itself(names)), package.address)
    return _function(package, signature, {}, _itself(_outputs(package)))


def gradients(package: Package) -> Function:
    """Finds the first derivatives, those that the card has.

    Raises:
        SignatureNotFound: the package has no card, so nothing says which tensor is which.
        PackageError: the card has no derivative, or names tensors that the signature does not have.
        ShapeError: an input has no batch axis.
    """
    return _function(package, _signature(package, SERVING_DEFAULT), {}, _derivatives(package))


def jvp(package: Package) -> Function:
    """Finds the products of the Jacobian and a tangent; raises as ``gradients`` does."""
    seeds = {tangent_name(name): name for name in _differentiated(package)}
    tensors = {name: tangent_name(name) for name in _derivatives(package)}
    return _function(package, _signature(package, JVP), seeds, tensors)


def vjp(package: Package) -> Function:
    """Finds the products of a cotangent and the Jacobian; raises as ``gradients`` does."""
    signature = _signature(package, VJP)
    seeds = {cotangent_name(name): name for name in _outputs(package)}
    tensors = {name: cotangent_name(name) for name in _differentiated(package)}
    return _function(package, signature, seeds, tensors)


def hvp(package: Package) -> Function:
    """Finds the first derivatives' own derivatives along a tangent; raises as ``gradients`` does."""
    seeds = {tangent_name(name): name for name in _differentiated(package)}
    tensors = {
        name: {wrt: tangent_name(tensor) for wrt, tensor in by_input.items()}
        for name, by_input in _derivatives(package).items()
    }
    return _function(package, _signature(package, HVP), seeds, tensors)


def hessian(package: Package) -> Function:
    """Finds the second derivatives; raises as ``gradients`` does."""
    signature = _signature(package, HESSIAN)
    return _function(package, signature, {}, package.card.second_derivatives)


def _signature(package: Package, name: str) -> Signature:
    _ = package.card  # a package without one has no derivatives, whatever its signatures are called
    return package.signature(name)


def _outputs(package: Package) -> tuple[str, ...]:
    return tuple(tensor.name for tensor in package.card.outputs)


def _itself(names: Sequence[str]) -> dict[str, str]:
    return {name: name for name in names}


def _derivatives(package: Package) -> dict[str, Mapping[str, str]]:
    """``{output: {input: tensor}}``, in the model's order; outputs and inputs without a derivative are left out."""
    inputs = [tensor.name for tensor in package.card.inputs]
    found: dict[str, Mapping[str, str]] = {}
    for name in _outputs(package):
        by_input = package.card.derivatives.get(name, {})
        if by_input:
            found[name] = {wrt: by_input[wrt] for wrt in inputs if wrt in by_input}
    return found


def _differentiated(package: Package) -> list[str]:
    """The inputs that any output has a derivative by, in the model's order."""
    taken = {wrt for by_input in _derivatives(package).values() for wrt in by_input}
    return [tensor.name for tensor in package.card.inputs if tensor.name in taken]


def _function(package: Package, signature: Signature, seeds: Mapping[str, str], tensors: Mapping[str, Any]) -> Function:
    inputs = tuple(tensor.name for tensor in package.card.inputs)
    found = Function(signature, inputs, _outputs(package), seeds, tensors)
    return _checked(found, package.address)


def _checked(function: Function, address: str) -> Function:
    signature = function.signature
    strange = (set(function.inputs) | set(function.seeds)) ^ set(signature.inputs)
    strange |= set(leaves(function.tensors)) - set(signature.outputs)
    if strange:
        raise PackageError(
            f"the card of {address} and its signature {signature.name!r} disagree about {sorted(strange)}: "
            "a new version may have come, so connect again; or export the package anew"
        )
    if not function.tensors:
        raise PackageError(
            f"the card of {address} names no tensor for {signature.name!r}: export the package with derivatives"
        )
    for spec in signature.inputs.values():
        if not spec.is_batch_first:
            raise ShapeError(f"input {spec.name!r} of {signature.name!r} has no batch axis: call it with predict()")
    return function


def leaves(tensors: Mapping[str, Any]) -> Iterator[str]:
    """Gives the tensors of a nested mapping, in its order."""
    for entry in tensors.values():
        if isinstance(entry, str):
            yield entry
        else:
            yield from leaves(entry)
