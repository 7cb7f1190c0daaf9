"""``verify``: the proof that a package's derivatives are those of its values, through whatever answers.

Six checks, each in a file of ``_proof`` with its formulae, tolerances and sources:

1. taylor      every first derivative against differences of f; the Hessian against differences of df and f;
2. adjoint     the signatures against one another: ⟨u, Jv⟩ = ⟨Jᵀu, v⟩, hvp and hessian, symmetry;
3. reference   what is served against the float64 numbers on the card;
4. rows        every row the same in any batch;
5. non-finite  NaN in gives NaN out;
6. kinks       found and told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gradwire._errors import UsageError
from gradwire._verify.adjoint import agreement
from gradwire._verify.evaluations import answers_of
from gradwire._verify.kinks import kinks
from gradwire._verify.non_finite import non_finite
from gradwire._verify.probe import draw_subject
from gradwire._verify.reference import against_reference
from gradwire._verify.result import Check, Finding, Verification
from gradwire._verify.row_independence import row_by_row
from gradwire._verify.runs import plain
from gradwire._verify.taylor import DerivativeCheck, first_order
from gradwire._verify.taylor_second import second_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from gradwire._model import Model

__all__ = ["DEFAULT_POINTS", "Check", "DerivativeCheck", "Finding", "Verification", "verify"]

DEFAULT_POINTS: Final = 64  # in float64 each needs 63 evaluations: one call of some 4,000 rows a derivative


def verify(
    model: Model,
    *,
    domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    points: int = DEFAULT_POINTS,
    seed: int = 0,
) -> Verification:
    """Proves that a package's derivatives are those of its values, by six checks.

    This is about the wiring. How far the learnt function is from the truth stands on the card, under ``errors``.

    Args:
        model: from ``connect``, ``load``, or with a ``FakeTransport``.
        domain: bounds by input name, each a number or an array of the input's row shape; by default the card's, and
            [-1, 1] where the card says nothing ([0, 1] for integers).
        points: how many random points, at least one.
        seed: of the points and directions.

    Returns:
        The checks; ``.passed`` says whether all is well, ``.failures`` what is not. docs/proof.md explains them.

    Raises:
        InputNameError: ``domain`` names an unknown input.
        UsageError: no points, or a domain that encloses nothing.
        SignatureNotFound: the package has no card, or no `serving_default`.
        PackageError: the card's reference cannot be read.
        GradwireError: a call failed.
    """
    if points < 1:
        raise UsageError(f"{points} points, expected at least one")
    subject = draw_subject(plain(model), domain, points, seed)
    first = first_order(subject)
    answers = answers_of(subject)
    taylor = (*(check.finding for check in first), *second_order(answers))
    adjoint = tuple(agreement(answers))
    reference = tuple(against_reference(subject))
    checks = (
        Check(1, "taylor", "derivatives against differences", taylor),
        Check(2, "adjoint", "signatures against one another", adjoint, "" if adjoint else _ONE_SIGNATURE),
        Check(3, "reference", "what is served against float64", reference, "" if reference else _NO_REFERENCE),
        Check(4, "rows", "each row by itself, in any batch", tuple(row_by_row(answers))),
        Check(5, "non_finite", "NaN in, NaN out", tuple(non_finite(answers))),
        Check(6, "kinks", "kinks, told and not judged", tuple(kinks(answers))),
    )
    return Verification(checks, first, subject.boxes, points, seed)


_ONE_SIGNATURE: Final = "only serving_default tells anything: there is nothing to hold it against"
_NO_REFERENCE: Final = "the card has no reference points"
