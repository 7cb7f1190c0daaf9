"""The size and the activation of a network, where none was given: those with which held-out rows are predicted best.

No fixed network is best on noisy tables: a small smooth one leaves less room for noise, another has the shape of the
function. So a few are fitted to some of the rows, as far as tells which is ahead, and measured on the others
(cross-validation: Stone, J. R. Stat. Soc. B 36, 1974). The default one is left only for a clear gain. How far exact
labels can be met is not seen in so few steps: small networks are ahead for having fewer weights to move. Where the
default one shows no noise, it is taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import keras
import numpy as np
from numpy.typing import NDArray

from gradwire._errors import UsageError
from gradwire_training._data import Samples, Stream
from gradwire_training._models import IoBinding, mlp, with_dtype
from gradwire_training._objective import Loss, Objective, Sobolev
from gradwire_training._progress import Callback, Monitor, network_in, percent
from gradwire_training.optimizers._auto import FEWEST_CHOSEN
from gradwire_training.optimizers._folds import COMPARED, FOLDS, folds_of, text_of
from gradwire_training.optimizers._held_out import HeldOutError, error_along_path, error_at_stop, path_folds
from gradwire_training.optimizers._ridges import TOO_FEW

Kind: TypeAlias = tuple[tuple[int, ...], str]  # widths and activation

DEFAULT: Final[Kind] = ((20, 20), "sigmoid")
CANDIDATES: Final[tuple[Kind, ...]] = (
    DEFAULT,
    ((8, 8), "softplus"),
    ((20, 20), "softplus"),
    ((32, 32), "softplus"),
    ((8, 8), "sigmoid"),
)
SIZES: Final = ((20, 20), (8, 8), (32, 32))  # of an activation that was given, the default's first
GAIN: Final = 0.95  # of the default's error: what is less far below it is chance as often as not
FEWEST_FOLDS: Final = 3  # that have a standard error
SURE: Final = 2.0  # standard errors
MANY: Final = 2_000  # rows, of which some tell enough; but more bear larger networks
SHARE: Final = 1 / 3  # of the seconds of a fit
FIRST: Final = 2  # how many times as long as the default network all may take: without its error there is no choice
RANDOM_STREAM: Final = 5  # of random numbers, apart from those of points, weights and folds
SOBOLEV: Final = Sobolev()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenNetwork:
    """A network, for ``fit``, and why it has its size and its activation.

    Attributes:
        model: a float32 Keras model with its initial weights, as ``mlp`` builds it.
        widths: units of the hidden layers.
        activation: Keras's name of theirs.
        reason: in a line, with the numbers that led to it; empty where nothing could be told, and it is the default.
        seconds: that the choice took.
    """

    model: keras.Model
    widths: tuple[int, ...]
    activation: str
    reason: str = ""
    seconds: float = 0.0

    @classmethod
    def of(cls, model: keras.Model, settings: Mapping[str, Any]) -> ChosenNetwork:
        """Return a choice that was made before, by what ``settings`` returned then."""
        return cls(model=model, **{**settings, "widths": tuple(settings["widths"])})

    def settings(self) -> dict[str, Any]:
        """Return all but the model, as plain data."""
        return {
            "widths": list(self.widths),
            "activation": self.activation,
            "reason": self.reason,
            "seconds": self.seconds,
        }


def choose(
    samples: Samples | Stream,
    *,
    loss: Loss = SOBOLEV,
    activation: str | None = None,
    seed: int = 0,
    scale: Samples | None = None,
    reduce: str | int | None = None,
    seconds: float | None = None,
    steps: int | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: str | Path | None = None,
) -> ChosenNetwork:
    """Choose the size and the activation of a multilayer perceptron by held-out rows.

    A few networks are fitted to some of the rows, in seconds, and the one that predicts the others best is chosen; of
    more than 2,000 rows, 2,000 at random. It is another than the default, 20,20 sigmoid, only if its error is clearly
    smaller. Without ``seconds`` the same samples and seed give the same network.

    Args:
        samples: that will be fitted; of a stream, its rows in memory choose.
        loss: that will be minimised; default values and derivatives.
        activation: Keras's name of the hidden layers' activation, where only their widths are to be chosen.
        seed: of the initial weights, and of what is held out.
        scale: as in ``mlp``; by default the samples themselves.
        reduce: as in ``mlp``.
        seconds: of choice and fit together: the choice takes a third at most. No limit by default.
        steps: of the fit, at most: of fewer than 100 none is compared, and it is the default network.
        callbacks: each gets a ``Progress``; one that returns True ends the choice with the default network.
        checkpoint: of a fit that will be resumed: if the file exists, its network is taken again.

    Returns:
        The network, for ``fit`` with the same samples, loss and seconds.

    Raises:
        UsageError: an unknown activation, a number of seconds that is not positive, or ``reduce`` out of range.
        DataError: the samples lack labels that the loss needs, or the derivatives that ``reduce`` needs.
        PackageError: the checkpoint is damaged.
    """
    if seconds is not None and not seconds > 0:
        raise UsageError(f"{seconds} seconds, expected a number above 0")
    rows = samples.samples if isinstance(samples, Stream) else samples.counted()
    table = rows if scale is None else scale

    def build(kind: Kind) -> keras.Model:
        return mlp(
            inputs={name: column.shape[1:] for name, column in rows.x.items()},
            outputs={name: column.shape[1:] for name, column in rows.y.items()},
            widths=kind[0],
            activation=kind[1],
            seed=seed,
            scale=table,
            reduce=reduce,
        )

    if checkpoint is not None and (known := network_in(checkpoint)) is not None:
        return ChosenNetwork.of(build((tuple(known["widths"]), known["activation"])), known)
    began = time.perf_counter()
    kinds = CANDIDATES if activation is None else tuple((widths, activation) for widths in SIZES)
    reason, kind = "", kinds[0]
    if steps is None or steps >= FEWEST_CHOSEN:
        comparison = _Comparison(
            some := _some(rows, seed),
            lambda kind: _objective(build(kind), some, loss),
            callbacks,
            ends=math.inf if seconds is None else began + SHARE * seconds,
        )
        # What some of the rows tell of small networks does not hold for all of them, which bear larger ones.
        kind, reason = comparison.best(kinds, may_be_smaller=samples.count == some.count)
    took = time.perf_counter() - began
    return ChosenNetwork(model=build(kind), widths=kind[0], activation=kind[1], reason=reason, seconds=took)


def _objective(model: keras.Model, rows: Samples, loss: Loss) -> Objective:
    model = with_dtype(model, "float64")
    return Objective(model, IoBinding.of(model, rows), rows, loss, dtype="float64")


def _some(rows: Samples, seed: int) -> Samples:
    if rows.count <= MANY:
        return rows
    generator = np.random.default_rng(np.random.SeedSequence((seed, RANDOM_STREAM)))
    return rows.take(np.sort(generator.choice(rows.count, MANY, replace=False)))


@final
class _Comparison:
    """Networks, measured one after the other on the same folds of the same rows.

    Args:
        rows: to be fitted, but for those held out.
        objective: of a network.
        callbacks: as in ``fit``.
        ends: when no more is measured, by ``time.perf_counter``.
    """

    def __init__(
        self, rows: Samples, objective: Callable[[Kind], Objective], callbacks: Sequence[Callback], *, ends: float
    ) -> None:
        self._rows = rows
        self._objective = objective
        self._callbacks = callbacks
        self._ends = ends
        self._measured = self._planned = 0
        self._is_stopped = False

    def best(self, kinds: Sequence[Kind], *, may_be_smaller: bool) -> tuple[Kind, str]:
        """Return the first network, or another that is clearly better; and why, or nothing where none can tell."""
        first, *others = kinds
        default = self._objective(first)
        parts, _ = folds_of(default)
        folds = path_folds(default)
        measure = error_along_path if folds else error_at_stop
        parts = parts[: folds or COMPARED]
        self._planned = len(kinds) + 1
        error = self._error(measure, default, parts) if parts else None
        if error is None or self._is_stopped:
            return first, ""
        where = text_of(parts if len(parts) >= FOLDS else [np.any(parts, axis=0)], self._rows.count)
        if not error.is_final:
            return first, _reason_of_exact(first, error.mean, where)
        if not may_be_smaller:
            others = [kind for kind in others if sum(kind[0]) >= sum(first[0])]
        self._planned = len(others) + 2
        beside = {kind: self._error(measure, self._objective(kind), parts) for kind in others}
        known = {kind: other for kind, other in beside.items() if other is not None}
        if self._is_stopped or not known:
            return first, ""
        ahead = [kind for kind, other in known.items() if _is_ahead(other, error)]
        best = min(ahead, key=lambda kind: known[kind].mean, default=first)
        least = error.mean
        if ahead and folds and self._rows.count > TOO_FEW:
            # The fit takes lbfgs where that is ahead of a ridge: the first network is to be behind with either.
            stop = self._error(error_at_stop, default, parts)
            if stop is None or self._is_stopped:
                return first, ""
            if HeldOutError(known[best].by_fold[:COMPARED], is_final=True).mean > GAIN * stop.mean:
                best, least = first, min(least, stop.mean)
        errors = {first: least, **{kind: each.mean for kind, each in known.items()}}
        return best, _reason(best, first, errors, where)

    def _error(
        self,
        measure: Callable[[Objective, Monitor, Sequence[NDArray[np.bool_]]], HeldOutError | None],
        objective: Objective,
        parts: Sequence[NDArray[np.bool_]],
    ) -> HeldOutError | None:
        """Measure a network in its part of the time that is left, half of it for the first; None where that ends it."""
        left = self._ends - time.perf_counter()
        if self._is_stopped or left <= 0:
            return None
        runs = max(self._planned - self._measured, 1) if self._measured else FIRST
        monitor = Monitor(self._planned, self._callbacks, seconds=None if math.isinf(left) else left / runs)
        monitor.step = self._measured
        self._measured += 1
        error = measure(objective, monitor, parts)
        self._is_stopped = monitor.status != "completed"
        return None if error is not None and monitor.time_is_up and not error.is_final else error


def _is_ahead(one: HeldOutError, other: HeldOutError) -> bool:
    """Return whether an error is clearly smaller: by so much, or by two standard errors of several folds."""
    ratios = np.log(one.by_fold) - np.log(other.by_fold)
    mean, count = float(ratios.mean()), len(ratios)
    if mean <= math.log(GAIN):
        return True
    return count >= FEWEST_FOLDS and mean + SURE * float(ratios.std(ddof=1)) / math.sqrt(count) < 0


def _reason(best: Kind, first: Kind, errors: Mapping[Kind, float], where: str) -> str:
    to = f"to {percent(errors[best])} of the labels' spread"
    if best is not first:
        what, beside = f"of {len(errors)} networks it predicts {where} best, {to}", first
    else:
        what = f"none of {len(errors) - 1} others predicts {where} clearly better than it does, {to}"
        beside = min((kind for kind in errors if kind is not first), key=lambda kind: errors[kind])
    return f"network {_text(best)}: {what} ({_text(beside)} to {percent(errors[beside])})"


def _reason_of_exact(first: Kind, error: float, where: str) -> str:
    return (
        f"network {_text(first)}: no noise is seen that would speak for another, and it predicts {where} to "
        f"{percent(error)} of the labels' spread"
    )


def _text(kind: Kind) -> str:
    widths, activation = kind
    return f"{','.join(map(str, widths))} {activation}"
