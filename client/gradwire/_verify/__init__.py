"""Verification: are a package's derivatives those of its values, and what sets two packages apart."""

from gradwire._verify.diff import DEFAULT_DIFF_POINTS, Computed, Difference, Said, diff
from gradwire._verify.result import Check, Finding, Verification
from gradwire._verify.taylor import DerivativeCheck
from gradwire._verify.verify import DEFAULT_POINTS, verify

__all__ = [
    "DEFAULT_DIFF_POINTS",
    "DEFAULT_POINTS",
    "Check",
    "Computed",
    "DerivativeCheck",
    "Difference",
    "Finding",
    "Said",
    "Verification",
    "diff",
    "verify",
]
