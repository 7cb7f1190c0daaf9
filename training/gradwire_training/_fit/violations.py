"""How often a fitted model violates the signs that its loss was to keep: they are trained, not proven."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, final

import keras
import numpy as np

from gradwire_training._fit.evaluation import evaluate
from gradwire_training._fit.request import Request
from gradwire_training._models import IoBinding
from gradwire_training._objective import bounds_of, pairs_of, sign_points
from gradwire_training._progress import percent

POINTS: Final = 2_000  # random ones, others than those that were trained on
MOST_ROWS: Final = 2_000
SEED: Final = 1_000_003  # beside the fit's


@final
@dataclass(frozen=True, slots=True)
class Violation:
    """A sign, and where a model violates it.

    Attributes:
        sign: as the loss has it, ``"px:S0+"``.
        words: ``"px rises with S0"``.
        share: of the points, from 0 to 1.
        largest: by how much, a slope or a distance from the bound; 0 where no point violates it.
        points: rows and random points of their box.
    """

    sign: str
    words: str
    share: float
    largest: float
    points: int

    def __str__(self) -> str:
        """Return a sentence."""
        where = f"of {self.points:,} rows and random points of their box"
        if not self.share:
            return f"{self.words}: trained, not proven; none {where} violates it"
        return (
            f"{self.words}: trained, not proven; {percent(self.share)} {where} violate it, by up to {self.largest:.2g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what a record has of it, by its sign."""
        return {"share": self.share, "largest": self.largest, "points": self.points}


def violations_of(model: keras.Model, binding: IoBinding, request: Request) -> tuple[Violation, ...]:
    """Measure the signs of a request's loss on rows and on points that were not trained on."""
    return tuple(_measured(model, binding, request)) if request.loss.signs else ()


def _measured(model: keras.Model, binding: IoBinding, request: Request) -> Iterator[Violation]:
    signs = request.loss.signs
    bounds, seed = bounds_of(request.stream), request.seed + SEED
    x = sign_points(request.samples, binding, rows=MOST_ROWS, points=POINTS, bounds=bounds, seed=seed)
    values, derivatives = evaluate(model, binding, x, pairs_of(signs))
    for sign in signs:
        excess = np.asarray(sign.excess(values, derivatives)).max(axis=1)
        largest = max(float(excess.max()), 0.0)
        yield Violation(sign.text, str(sign), float(np.mean(excess > 0)), largest, len(excess))
