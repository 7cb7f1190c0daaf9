"""Verification: are a package's derivatives those of its values, and how do two packages differ."""

from gradwire._verify.checks import CHECKS
from gradwire._verify.diff import DEFAULT_DIFF_POINTS, CardDifference, Difference, TensorDifference, diff
from gradwire._verify.result import Check, DerivativeCheck, Finding, Verification
from gradwire._verify.verify import DEFAULT_POINTS, verify

__all__ = [
    "CHECKS",
    "DEFAULT_DIFF_POINTS",
    "DEFAULT_POINTS",
    "CardDifference",
    "Check",
    "DerivativeCheck",
    "Difference",
    "Finding",
    "TensorDifference",
    "Verification",
    "diff",
    "verify",
]
