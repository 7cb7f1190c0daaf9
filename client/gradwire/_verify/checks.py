"""The checks of ``verify``, in order: their numbers, titles and tables follow from here.

Each is a function in a file of its own, which has its formulae, tolerances and sources. To add a check, write the
function and list it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, final

from gradwire._verify.adjoint import agreement
from gradwire._verify.evaluations import SignatureEvaluations
from gradwire._verify.kinks import kinks
from gradwire._verify.non_finite import non_finite
from gradwire._verify.reference import against_reference
from gradwire._verify.result import Check, Finding
from gradwire._verify.row_independence import row_independence
from gradwire._verify.solutions import solutions
from gradwire._verify.special_points import special_points
from gradwire._verify.taylor import taylor


@final
@dataclass(frozen=True, slots=True)
class CheckKind:
    """One of the checks that ``verify`` makes."""

    name: str  # one word, its key on the card and in JSON
    title: str  # what it compares, for tables and pages
    function: Callable[[SignatureEvaluations], Iterator[Finding]]
    skip_reason: str = ""  # why the function may have nothing to check; without one, no findings mean that all is well


CHECKS: Final[tuple[CheckKind, ...]] = (
    CheckKind("taylor", "derivatives vs finite differences", taylor),
    CheckKind(
        "adjoint",
        "signatures vs one another",
        agreement,
        skip_reason="serving_default is the only signature: there is nothing to compare it with",
    ),
    CheckKind(
        "reference",
        "served tensors vs float64 reference",
        against_reference,
        skip_reason="the card has no reference points",
    ),
    CheckKind("rows", "row independence, in any batch", row_independence),
    CheckKind("non_finite", "NaN in, NaN out", non_finite),
    CheckKind("kinks", "kinks (reported only)", kinks),
    CheckKind("special", "special points vs one-sided differences", special_points),
    CheckKind("solve", "solutions vs values, and vs second solves", solutions, skip_reason="no signature solves"),
)


def make_checks(evaluations: SignatureEvaluations) -> tuple[Check, ...]:
    """Make every check, in order."""
    checks: list[Check] = []
    for number, kind in enumerate(CHECKS, start=1):
        findings = tuple(kind.function(evaluations))
        checks.append(Check(number, kind.name, kind.title, findings, "" if findings else kind.skip_reason))
    return tuple(checks)
