"""``verify``: the proof that a package's derivatives are those of its values, through whatever serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from numpy.typing import ArrayLike

from gradwire._errors import UsageError
from gradwire._model import Model
from gradwire._verify.checks import make_checks
from gradwire._verify.evaluations import evaluate_signatures
from gradwire._verify.probe import Probe
from gradwire._verify.result import Verification

DEFAULT_POINTS: Final = 64  # in float64 each needs 63 evaluations: one call of some 4,000 rows a derivative


def verify(
    model: Model,
    *,
    domain: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    points: int = DEFAULT_POINTS,
    seed: int = 0,
    rows: Mapping[str, ArrayLike] | None = None,
) -> Verification:
    """Prove that a package's derivatives are those of its values.

    This is about the wiring. How far the learnt function is from the truth is on the card, under ``errors``.

    Args:
        model: from ``connect``, ``load``, or with a ``FakeTransport``.
        domain: bounds by input name, each a number or an array of the input's row shape; by default the card's, and
            [-1, 1] where the card has none ([0, 1] for integers).
        points: how many points, at least one.
        seed: of the points and directions.
        rows: where to check instead of at random, ``(rows, *row)`` by input, inside the domain; ``points`` of them at
            random if there are more. Each is moved to the nearest point of a grid on which differences are exact, and
            a sixty-fourth of the domain's width away from its border.

    Returns:
        The checks, explained in docs/verification.md; ``.passed`` is True if all is well, ``.failures`` lists what is
        not.

    Raises:
        InputNameError: ``domain`` names an unknown input, or ``rows`` lacks one.
        ShapeError: ``rows`` have other shapes, or none is there.
        UsageError: no points, a domain that encloses nothing, or a row outside it.
        SignatureNotFound: the package has no card, or no `serving_default`.
        PackageError: the card's reference cannot be read.
        GradwireError: a call failed.
    """
    if points < 1:
        raise UsageError(f"{points} points, expected at least one")
    probe = Probe.draw(model, domain, points, seed, rows)
    count = len(next(iter(probe.x.values())))
    return Verification(make_checks(evaluate_signatures(probe)), probe.boxes, count, seed)
