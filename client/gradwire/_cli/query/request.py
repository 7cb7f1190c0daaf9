"""What a query asks: a signature, the inputs that it takes, and what of the answer is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np

from gradwire._cli.choices import Compute
from gradwire._errors import InputNameError, ShapeError, SignatureNotFound, UsageError
from gradwire._package import BY_NAME, contract

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from gradwire._model import Model
    from gradwire._package import Card, Signature, TensorSpec

SIGNATURES: Final = {
    Compute.VALUE: contract.VALUE,
    Compute.GRAD: contract.SERVING_DEFAULT,
    Compute.JVP: contract.JVP,
    Compute.VJP: contract.VJP,
    Compute.HVP: contract.HVP,
    Compute.HESSIAN: contract.HESSIAN,
}


@final
@dataclass(frozen=True)
class Question:
    """One signature of one model, as a query uses it.

    Attributes:
        signature: what is called; its inputs in the order in which they are shown.
        shown: the outputs wanted, in the order in which they are shown.
        seeds: the inputs that are tangents or cotangents: one that is left out is zero, but not all.
    """

    signature: Signature
    shown: tuple[str, ...]
    seeds: tuple[str, ...] = ()

    def complete(self, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Makes a call's inputs of what was given.

        Args:
            given: by name, ``(points, *row)``; a single point goes with every other.

        Returns:
            Every input of the signature, in its order and of one length, directions that were left out as zeros.

        Raises:
            InputNameError: an input is missing or unknown, or no direction is given.
            ShapeError: inputs have different numbers of points.
            UsageError: numbers that are not whole, for an input of integers.
        """
        self._check_names(given)
        count = max((len(rows) for rows in given.values() if len(rows) != 1), default=1)
        if any(len(rows) not in (1, count) for rows in given.values()):
            counts = {name: len(rows) for name, rows in given.items()}
            raise ShapeError(f"different numbers of points: {counts}; give as many, or one for all")
        return {name: self._rows(given.get(name), spec, count) for name, spec in self.signature.inputs.items()}

    def _check_names(self, given: Mapping[str, Any]) -> None:
        known = set(self.signature.inputs)
        extra, missing = given.keys() - known, known - given.keys() - set(self.seeds)
        if extra or missing:
            raise InputNameError(
                f"sent extra: {sorted(extra)}; missing but required: {sorted(missing)}; the signature "
                f"{self.signature.name!r} takes {list(self.signature.inputs)}"
            )
        if self.seeds and not given.keys() & set(self.seeds):
            raise InputNameError(
                f"the signature {self.signature.name!r} needs a direction, at least one of {list(self.seeds)}: give "
                f"--{_option(self.signature)} NAME=NUMBERS, or a column of that name; those left out are zero"
            )

    @staticmethod
    def _rows(given: NDArray[Any] | None, spec: TensorSpec, count: int) -> NDArray[Any]:
        if given is None:
            return np.zeros((count, *(size or 1 for size in spec.row_shape)))
        rows = np.repeat(given, count, axis=0) if len(given) == 1 else given
        return whole_numbers(rows, spec) if BY_NAME[spec.dtype].numpy.kind in "iu" else rows


def whole_numbers(rows: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Gives integers for an input of integers; text on a command line is read as float64.

    Raises:
        UsageError: one of them is none.
    """
    with np.errstate(invalid="ignore"):
        whole = rows.astype(np.int64)
    if (whole != rows).any():
        raise UsageError(f"input {spec.name!r} is {spec.dtype} and got {rows[whole != rows][0]}: give whole numbers")
    return whole


def ask(model: Model, compute: Compute, signature: str | None = None) -> Question:
    """Finds what answers.

    Args:
        model: what is asked.
        compute: what is wanted.
        signature: instead of ``compute``, any signature as it stands.

    Raises:
        SignatureNotFound: the package has none for that.
    """
    name = SIGNATURES[compute] if signature is None else signature
    if signature is None and compute is Compute.VALUE and name not in model.signatures:
        name = contract.SERVING_DEFAULT
    if name not in model.signatures:
        raise SignatureNotFound(
            f"{model!r} has signatures {sorted(model.signatures)}, expected {name!r} among them: export the model with "
            "gradwire, and --signatures for second derivatives"
        )
    found = model.signatures[name]
    if contract.CARD not in model.signatures:
        return Question(found, tuple(sorted(found.outputs)), _seeds(found, found.inputs))
    return _by_card(model.card, found, compute)


def _by_card(card: Card, found: Signature, compute: Compute) -> Question:
    inputs = [tensor.name for tensor in card.inputs]
    order = {name: found.inputs[name] for name in _first(inputs, found.inputs)}
    in_order = contract.Signature(found.name, order, found.outputs, found.optional)
    if compute is Compute.VALUE and found.name == contract.SERVING_DEFAULT:
        shown = [tensor.name for tensor in card.outputs]
    else:
        shown = _first(_known(card), found.outputs)
    return Question(in_order, tuple(shown), _seeds(found, order))


def _seeds(signature: Signature, inputs: Mapping[str, TensorSpec]) -> tuple[str, ...]:
    endings = {
        contract.JVP: contract.TANGENT,
        contract.HVP: contract.TANGENT,
        contract.VJP: contract.COTANGENT,
    }
    ending = endings.get(signature.name)
    return () if ending is None else tuple(name for name in inputs if name.endswith(ending))


def _known(card: Card) -> list[str]:
    """Every output that the contract has, in the order of the card: each function, its derivatives, their tangents."""
    names: list[str] = []
    for output in card.outputs:
        first = list(card.derivatives.get(output.name, {}).values())
        second = [name for by in card.second_derivatives.get(output.name, {}).values() for name in by.values()]
        names += [output.name, contract.tangent_name(output.name), *first]
        names += [*map(contract.tangent_name, first), *second]
    return [*names, *(contract.cotangent_name(tensor.name) for tensor in card.inputs)]


def _first(known: Sequence[str], there: Mapping[str, object]) -> list[str]:
    """Those that are there, the known ones first."""
    return [name for name in known if name in there] + sorted(there.keys() - set(known))


def _option(signature: Signature) -> str:
    return "cotangent" if signature.name == contract.VJP else "tangent"
