"""The result of a verification: findings, in checks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, final

# 2 when df is right, 1 when it is wrong; float32 has few clean steps, so some tolerance.
LEAST_SLOPE: Final = 1.7


@final
@dataclass(frozen=True, slots=True)
class DerivativeCheck:
    """One derivative tensor against the remainders of its function.

    Attributes:
        output: the output's name.
        input: the input's name.
        tensor: the derivative's name in the signature.
        points: how many points counted: those at which f is finite and has no kink.
        slope: of the remainder; 2 when right, 1 when wrong; None where the remainder is all rounding.
        disagreement: the worst of df·v and a central difference, in units of what truncation and rounding allow.
        steps: median of h over the points, as a multiple of v, which is about as long as the domain is wide.
        remainders: median of ``|f(x + hv) - f(x) - h df·v|`` at each step.
        kinks: how many points were left out for a kink.
    """

    output: str
    input: str
    tensor: str
    points: int
    slope: float | None
    disagreement: float
    steps: tuple[float, ...]
    remainders: tuple[float, ...]
    kinks: int = 0

    @property
    def passed(self) -> bool:
        """Whether the disagreement is at most 1 and the slope, if any, at least ``LEAST_SLOPE``."""
        return self.disagreement <= 1 and (self.slope is None or self.slope >= LEAST_SLOPE)


@final
@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: two things compared.

    Attributes:
        subject: what was compared: ``"df_dx of f wrt x"``.
        worst: the largest disagreement, in units of what rounding and truncation allow there: 1 is the most
            that passes. None where nothing was measured: a remark.
        tensor: the tensor that is wrong if this fails; empty where no single one is.
        note: more as text: a slope, units in the last place, a count.
        failed: whether this fails although ``worst`` would pass.
        derivative: of the Taylor test of a first derivative, its remainders.
        signatures: those that compute what was compared, without `serving_default` where another is compared with it;
            empty where a failure is no evidence against what a signature computes.
    """

    subject: str
    worst: float | None = None
    tensor: str = ""
    note: str = ""
    failed: bool = False
    derivative: DerivativeCheck | None = None
    signatures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it is as it should be; a remark always is."""
        return not self.failed and (self.worst is None or self.worst <= 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain data, without empty entries."""
        fields = asdict(self) | {"passed": self.passed}
        del fields["failed"], fields["derivative"], fields["signatures"]
        if self.worst is not None and math.isfinite(self.worst):
            fields["worst"] = float(f"{self.worst:.3g}")
        return {key: value for key, value in fields.items() if value not in ("", None)}


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One check of a verification.

    Attributes:
        number: its place among the checks, from 1, as in docs/verification.md.
        name: one word, its key on the card: ``"taylor"``.
        title: what it compares: ``"derivatives vs finite differences"``.
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
        """Whether no finding failed; True for a check that was skipped."""
        return all(finding.passed for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain data."""
        skipped = {"skipped": self.skipped} if self.skipped else {}
        return {"passed": self.passed, **skipped, "findings": [finding.to_dict() for finding in self.findings]}


@final
@dataclass(frozen=True, slots=True)
class Verification:
    """The result of ``verify``.

    Attributes:
        checks: by number.
        domain: the bounds within which points were drawn, ``(lower, upper)`` by input.
        points: how many points were drawn.
        seed: of the points and directions.
    """

    checks: tuple[Check, ...]
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

    def wrong_signatures(self, contradicted: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, tuple[str, ...]]:
        """Return the signatures whose proof failed, each with the findings against it, as text with their notes.

        Where two signatures contradict each other, the one is wrong that differences or the reference contradict too;
        both are, where neither or both do.

        Args:
            contradicted: signatures that are known to be wrong from elsewhere, with the reasons.
        """
        failed = [(check, finding) for check in self.checks for finding in check.findings if not finding.passed]
        wrong = dict(contradicted or {})
        alone = {*wrong, *(finding.signatures[0] for _, finding in failed if len(finding.signatures) == 1)}
        for check, finding in failed:
            text = f"{check.name}: {finding.subject}" + (f" ({finding.note})" if finding.note else "")
            for signature in alone.intersection(finding.signatures) or finding.signatures:
                wrong[signature] = (*wrong.get(signature, ()), text)
        return wrong

    @property
    def derivatives(self) -> tuple[DerivativeCheck, ...]:
        """The Taylor test of every first derivative, with the curve of its remainders."""
        findings = [finding for check in self.checks for finding in check.findings]
        return tuple(finding.derivative for finding in findings if finding.derivative is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return the checks as plain data, by name, as a card holds them and ``verify --format json`` prints them."""
        return {check.name: check.to_dict() for check in self.checks}
