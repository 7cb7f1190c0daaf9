"""What a signature that solves gives back, in the caller's form, and which of a package's a call is about."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from gradwire._errors import InputNameError, PackageError, SignatureNotFound, UsageError
from gradwire._model.info import PackageInfo
from gradwire._model.points import Points
from gradwire._model.request import Arrays
from gradwire._package import CONVERGED, RESIDUAL, Signature, Solve, name_mismatch


class Solution(NamedTuple):
    """The inputs at which an output has its target values.

    Attributes:
        x: the input that was solved for, in the form of ``Model.value``; NaN where there is no solution.
        grads: its derivatives, by what it is differentiated with respect to: the output, which stands for the target,
            and the other inputs; NaN where there is no solution.
        residual: f(x) - target; where there is no solution, that of the nearest value that was tried.
        converged: whether x is a solution, bool, ``(…)``.
    """

    x: Any
    grads: Mapping[str, Any]
    residual: Any
    converged: Any


def choose_solve(package: PackageInfo, names: Collection[str]) -> tuple[str, Solve]:
    """Return the signature that solves for the input that is not given, by name.

    Args:
        package: its card names the signatures that solve.
        names: of the arguments: the output that has a target, and the other inputs.

    Raises:
        SignatureNotFound: the package has none.
        InputNameError: none of them takes these arguments.
    """
    solves = _solves(package)
    for name, solve in solves.items():
        if set(package.signature(name).inputs) == set(names):
            return name, solve
    texts = [
        f"for {solve.input!r} {name_mismatch(names, package.signature(name).inputs)}" for name, solve in solves.items()
    ]
    raise InputNameError(f"give the target by the output's name, and the inputs that are known: {'; '.join(texts)}")


def only_solve(package: PackageInfo, names: Collection[str] = ()) -> str:
    """Return the signature that solves, of several the one whose inputs are among some names.

    Args:
        package: its card names the signatures that solve.
        names: of columns, for instance.

    Raises:
        SignatureNotFound: the package has none.
        UsageError: several are as good.
    """
    solves = list(_solves(package))
    fitting = [name for name in solves if set(package.signature(name).inputs) <= set(names)]
    if len(solves) > 1 and len(fitting) != 1:
        raise UsageError(
            f"{package.address} has several signatures that solve: name one, --signature {' or '.join(solves)}, or give a "
            "table with the inputs of one alone"
        )
    return fitting[0] if fitting else solves[0]


def solving_signature(package: PackageInfo, name: str) -> Signature:
    """Return a signature that solves, by its name.

    Raises:
        SignatureNotFound: it is on the card, and not served.
        PackageError: it returns other tensors than the card says.
    """
    signature = package.signature(name)
    if mismatch := name_mismatch(package.card.solves[name].outputs, signature.outputs):
        raise PackageError(
            f"the card of {package.address} and its signature {name!r} disagree about its outputs: {mismatch}; a new version "
            "may have come, so connect again"
        )
    return signature


def _solves(package: PackageInfo) -> Mapping[str, Solve]:
    if not package.card.solves:
        raise SignatureNotFound(
            f"{package.address} has no signature that solves, it has {sorted(package.signatures)}: export it with "
            "--solve INPUT:OUTPUT"
        )
    return package.card.solves


def read_solution(solve: Solve, points: Points, arrays: Arrays) -> Solution:
    """Return the tensors of a response in the caller's form."""
    return Solution(
        points.value(arrays[solve.input]),
        {name: points.derivative(arrays[tensor], name) for name, tensor in solve.derivatives.items()},
        points.value(arrays[RESIDUAL]),
        arrays[CONVERGED].reshape(points.batch),
    )
