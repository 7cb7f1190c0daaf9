"""How a ``Model`` behaves, wherever its package is."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Final, cast, final

from gradwire._errors import UsageError
from gradwire._model.cast import CASTINGS, DEFAULT_CASTING, Casting
from gradwire._model.extrapolation import EXTRAPOLATIONS, Extrapolation

DEFAULT_TIMEOUT: Final = 60.0  # seconds: gRPC's own default waits forever; a million rows take a few

LONGEST_TIMEOUT: Final = 1e8  # seconds, three years: gRPC takes a much longer one, or infinity, for one that is over


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a ``Model``, the same for each of its calls.

    Attributes:
        timeout: seconds for each operation: casts, chunks, waits and retries together.
        cast: what a cast to the server's dtype may lose: ``"exact"`` nothing, ``"round"`` what rounding a float
            loses, ``"allow"`` anything.
        on_extrapolation: about points outside of the card's domain: ``"ignore"``, ``"warn"`` or ``"raise"``.
        memoize: how many responses to cache, keyed by the exact request bytes; 0 for none.

    Raises:
        UsageError: a value that is none of these, or a timeout that is not above 0.
    """

    timeout: float = DEFAULT_TIMEOUT
    cast: Casting = DEFAULT_CASTING
    on_extrapolation: Extrapolation = "ignore"
    memoize: int = 0

    def __post_init__(self) -> None:
        timeout, memoize = cast("tuple[object, object]", (self.timeout, self.memoize))
        if isinstance(timeout, bool) or not isinstance(timeout, Real) or not 0 < self.timeout <= LONGEST_TIMEOUT:
            raise UsageError(f"timeout={self.timeout!r}, expected seconds, more than 0 and at most {LONGEST_TIMEOUT:g}")
        for name, words in (("cast", CASTINGS), ("on_extrapolation", EXTRAPOLATIONS)):
            if getattr(self, name) not in words:
                raise UsageError(f"{name}={getattr(self, name)!r}, expected one of {list(words)}")
        if isinstance(memoize, bool) or not isinstance(memoize, int) or self.memoize < 0:
            raise UsageError(f"memoize={self.memoize!r}, expected how many responses to cache, 0 for none")
