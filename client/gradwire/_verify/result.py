"""What a proof found: findings, in checks, in a verification."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gradwire._verify.taylor import DerivativeCheck


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: two things held against each other.

    Attributes:
        subject: what was compared, in words: ``"df_dx of f by x"``.
        worst: the largest disagreement, in units of what rounding and truncation allow there: 1 is the most
            that passes. None where nothing was measured: a remark.
        tensor: the tensor that is wrong if this fails; empty where no single one is.
        note: more in words: a slope, units in the last place, a count.
    """

    subject: str
    worst: float | None = None
    tensor: str = ""
    note: str = ""
    failed: bool = False

    @property
    def passed(self) -> bool:
        """Whether it is as it should be; a remark always is."""
        return not self.failed and (self.worst is None or self.worst <= 1)


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One of the six checks.

    Attributes:
        number: 1 to 6, as in docs/proof.md.
        name: a word, its key on the card: ``"taylor"``.
        title: what it asks, in words.
        findings: in the order of the card's outputs and inputs.
        skipped: why it could not be made; empty where it was.
    """

    number: int
    name: str
    title: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Whether no finding failed; so it is where it was skipped."""
        return all(finding.passed for finding in self.findings)


@final
@dataclass(frozen=True, slots=True)
class Verification:
    """What ``verify`` found.

    Attributes:
        checks: the six, by number.
        derivatives: of check 1, one a first derivative, with the curve of its remainders.
        domain: the bounds within which points were drawn, ``(lower, upper)`` by input.
        points: how many points were drawn.
        seed: of the points and directions.
    """

    checks: tuple[Check, ...]
    derivatives: tuple[DerivativeCheck, ...]
    domain: Mapping[str, tuple[Any, Any]]
    points: int
    seed: int

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[str, ...]:
        """Each finding that failed, as ``"adjoint: ⟨u, Jv⟩ = ⟨Jᵀu, v⟩"``."""
        return tuple(
            f"{check.name}: {finding.subject}"
            for check in self.checks
            for finding in check.findings
            if not finding.passed
        )

    def to_dict(self) -> dict[str, Any]:
        """Gives the checks as plain data: what the card keeps and ``verify --format json`` prints."""
        return {check.name: _plain(check) for check in self.checks}


def _plain(check: Check) -> dict[str, Any]:
    shown: dict[str, Any] = {"passed": check.passed}
    if check.skipped:
        shown["skipped"] = check.skipped
    shown["findings"] = [_line(finding) for finding in check.findings]
    return shown


def _line(finding: Finding) -> dict[str, Any]:
    fields = asdict(finding) | {"passed": finding.passed}
    del fields["failed"]
    worst = finding.worst
    if worst is not None:
        fields["worst"] = float(f"{worst:.3g}") if math.isfinite(worst) else worst
    return {key: value for key, value in fields.items() if value not in ("", None)}
