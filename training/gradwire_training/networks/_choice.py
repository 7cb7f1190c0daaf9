"""The size, the activation and the initial weights of a network, where none was given.

No fixed network is best on noisy tables: a small smooth one leaves less room for noise, another has the shape of the
function. So a few are fitted, and that under which the labels are most probable is taken (``_evidence.py``), unless it
predicts held-out rows worse than the default one (cross-validation: Stone, J. R. Stat. Soc. B 36, 1974). Where labels
are too many for that, held-out rows alone decide, and the default one is left only for a clear gain. How far exact
labels can be met is not seen in so few steps: small networks are ahead for having fewer weights to move. Where the
default one shows no noise, it is taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from gradwire_training.networks._evidence import Evidence, most_probable
from gradwire_training.optimizers._auto import FEWEST_CHOSEN
from gradwire_training.optimizers._bayes import held_out_errors
from gradwire_training.optimizers._folds import COMPARED, FOLDS, folds_of, text_of, weights_of
from gradwire_training.optimizers._held_out import HeldOutError, error_along_path, error_at_stop, path_folds
from gradwire_training.optimizers._ridges import TOO_FEW

Kind: TypeAlias = tuple[tuple[int, ...], str]  # widths and activation
Parts: TypeAlias = "Sequence[NDArray[np.bool_]]"

DEFAULT: Final[Kind] = ((20, 20), "sigmoid")
CANDIDATES: Final[tuple[Kind, ...]] = (
    DEFAULT,
    ((8, 8), "softplus"),
    ((20, 20), "softplus"),
    ((32, 32), "softplus"),
    ((8, 8), "sigmoid"),
)
SIZES: Final = ((20, 20), (8, 8), (32, 32))  # of an activation that was given, the default's first
# Of few weights, so that many fits are compared; a unit of no use loses its weights, a layer that is missing shows.
SMALL: Final[tuple[Kind, ...]] = (
    ((8, 8), "softplus"),
    ((8, 8, 8), "softplus"),
    ((8, 8, 8, 8), "softplus"),
    ((8, 8, 8), "sigmoid"),
    ((12, 12), "sigmoid"),
)
SMALL_SIZES: Final = ((8, 8), (12, 12), (8, 8, 8))  # likewise, of an activation that was given
GAIN: Final = 0.95  # of the default's error: what is less far below it is chance as often as not
WORSE: Final = 1.2  # times the default's error: as much is chance on a few rows that are held out
FAR: Final = 0.7  # of the error with a ridge: L-BFGS is hardly ever as far below it
MANY: Final = 2_000  # rows, of which some tell enough; but more bear larger networks
SHARE: Final = 0.6  # of the seconds of a fit: what it takes with priors is known by then
FEW_SECONDS: Final = 5.0
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
        start: which of several initial weights of the seed, from 0.
        with_priors: whether it was chosen with Bayesian regularization on all rows, which auto then takes.
        reason: in a line, with the numbers that led to it; empty where nothing could be told, and it is the default.
        seconds: that the choice took.
    """

    model: keras.Model
    widths: tuple[int, ...]
    activation: str
    start: int = 0
    with_priors: bool = False
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
            "start": self.start,
            "with_priors": self.with_priors,
            "reason": self.reason,
            "seconds": self.seconds,
        }


@final
@dataclass(frozen=True, slots=True)
class _Choice:
    """A network, which of its initial weights, and why; nothing where nothing could be told."""

    kind: Kind
    start: int = 0
    with_priors: bool = False
    reason: str = ""


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
    """Choose the size, the activation and the initial weights of a multilayer perceptron.

    Where the default network, 20,20 sigmoid, shows noise on held-out rows, a few small ones are fitted in seconds, from
    several initial weights each, and the one under which the labels are most probable is chosen, unless it predicts
    held-out rows worse than the default; of more than 2,000 rows, 2,000 at random tell. Of larger problems held-out
    rows alone choose, and leave the default only for an error that is clearly smaller. Without ``seconds`` the same
    samples and seed give the same network.

    Args:
        samples: that will be fitted; of a stream, its rows in memory choose.
        loss: that will be minimised; default values and derivatives.
        activation: Keras's name of the hidden layers' activation, where only their widths are to be chosen.
        seed: of the initial weights, the first of several, and of what is held out.
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

    def build(kind: Kind, start: int = 0) -> keras.Model:
        return mlp(
            inputs={name: column.shape[1:] for name, column in rows.x.items()},
            outputs={name: column.shape[1:] for name, column in rows.y.items()},
            widths=kind[0],
            activation=kind[1],
            seed=seed_of_start(seed, start),
            scale=table,
            reduce=reduce,
        )

    if checkpoint is not None and (known := network_in(checkpoint)) is not None:
        return ChosenNetwork.of(build((tuple(known["widths"]), known["activation"]), known.get("start", 0)), known)
    began = time.perf_counter()
    kinds = CANDIDATES if activation is None else tuple((widths, activation) for widths in SIZES)
    small = SMALL if activation is None else tuple((widths, activation) for widths in SMALL_SIZES)
    choice = _Choice(kinds[0])
    if steps is None or steps >= FEWEST_CHOSEN:
        ends = math.inf if seconds is None else began + SHARE * seconds
        comparison = _Comparison(some := _some(rows, seed), loss, build, callbacks, ends=ends)
        choice = comparison.best(kinds, small, is_whole=samples.count == some.count)
    took = time.perf_counter() - began
    return ChosenNetwork(
        model=build(choice.kind, choice.start),
        widths=choice.kind[0],
        activation=choice.kind[1],
        start=choice.start,
        with_priors=choice.with_priors,
        reason=choice.reason,
        seconds=took,
    )


def seed_of_start(seed: int, start: int) -> int:
    """Return the seed of the n-th initial weights, from 0: the first ones are those of the seed itself."""
    return int(np.random.SeedSequence((seed, start)).generate_state(1)[0]) if start else seed


def _some(rows: Samples, seed: int) -> Samples:
    if rows.count <= MANY:
        return rows
    generator = np.random.default_rng(np.random.SeedSequence((seed, RANDOM_STREAM)))
    return rows.take(np.sort(generator.choice(rows.count, MANY, replace=False)))


@final
class _Comparison:
    """Networks, measured one after the other on the same rows.

    Args:
        rows: to be fitted, but for those held out.
        loss: to be minimised.
        build: returns a network with its initial weights, by their number.
        callbacks: as in ``fit``.
        ends: when no more is measured, by ``time.perf_counter``.
    """

    def __init__(
        self,
        rows: Samples,
        loss: Loss,
        build: Callable[[Kind, int], keras.Model],
        callbacks: Sequence[Callback],
        *,
        ends: float,
    ) -> None:
        self._rows = rows
        self._loss = loss
        self._build = build
        self._callbacks = callbacks
        self._ends = ends
        self._measured = 0
        self._is_stopped = False

    def best(self, kinds: Sequence[Kind], small: Sequence[Kind], *, is_whole: bool) -> _Choice:
        """Return a network, and why, or nothing where none can tell.

        Args:
            kinds: that held-out rows may choose of, the default first.
            small: that evidence may choose of.
            is_whole: whether all rows that will be fitted tell.
        """
        first, *others = kinds
        default = self._objective(first)
        parts, _ = folds_of(default)
        folds = path_folds(default)
        parts = parts[: folds or COMPARED]
        # Without the default's error there is no choice: it may take half of the time.
        error = self._error(error_along_path if folds else error_at_stop, default, parts, runs=2) if parts else None
        if error is None:
            return _Choice(first)
        where = text_of(parts if len(parts) >= FOLDS else [np.any(parts, axis=0)], self._rows.count)
        if not error.is_final:
            return _Choice(first, reason=_reason_of_exact(first, error.mean, where))
        evidence = self._most_probable(small)
        errors = None if evidence is None else self._held_out_errors(evidence, parts)
        if evidence is not None and errors is None and not self._is_stopped:
            # The default network would need more time than is left; a fit with priors takes hardly any.
            return _unmeasured(evidence, is_whole=is_whole)
        stop = error
        is_far_ahead = errors is not None and errors.mean < FAR * error.of(len(errors.by_fold)).mean
        if folds and self._rows.count > TOO_FEW and not is_far_ahead:  # the fit takes lbfgs where that beats a ridge
            stop = self._error(error_at_stop, default, parts, runs=1 if errors else len(kinds))
        if evidence is not None and errors is not None and not self._is_stopped:
            choice = _unless_worse(first, evidence, errors, [error, stop or error], where)
            return replace(choice, with_priors=choice.with_priors and is_whole)
        if self._is_stopped or stop is None:
            return _Choice(first)
        if not is_whole:  # what some of the rows tell of small networks: all of them bear larger ones
            others = [kind for kind in others if sum(kind[0]) >= sum(first[0])]
        beside = {
            kind: self._error(error_at_stop, self._objective(kind), parts, runs=len(others) - number)
            for number, kind in enumerate(others)
        }
        measured = {kind: each.mean for kind, each in beside.items() if each is not None}
        return _Choice(first) if self._is_stopped or not measured else _clearly_best(first, stop.mean, measured, where)

    def _held_out_errors(self, evidence: Evidence[Kind], parts: Parts) -> HeldOutError | None:
        """Return how well the fits with the largest evidence predict; None where there was no time."""
        monitor = self._monitor(runs=1)
        if monitor is None:
            return None
        errors = held_out_errors([self._objective(*each) for each in evidence.best], monitor, parts)
        self._is_stopped = monitor.status != "completed"
        return None if errors is None else HeldOutError(errors, is_final=True)

    def _objective(self, kind: Kind, start: int = 0) -> Objective:
        model = with_dtype(self._build(kind, start), "float64")
        return Objective(model, IoBinding.of(model, self._rows), self._rows, self._loss, dtype="float64")

    def _most_probable(self, kinds: Sequence[Kind]) -> Evidence[Kind] | None:
        """Return the fits with the largest evidence, in half of the time that is left; None where none suits.

        A few seconds are not halved: without these fits nothing is known that suits noise.
        """
        monitor = self._monitor(runs=1 if self._ends - time.perf_counter() < FEW_SECONDS else 2)
        if monitor is None:
            return None
        evidence = most_probable(
            {kind: self._objective(kind) for kind in kinds},
            lambda kind, start: weights_of(self._build(kind, start).trainable_variables),
            monitor,
        )
        self._is_stopped = monitor.status != "completed"
        return evidence

    def _error(
        self,
        measure: Callable[[Objective, Monitor, Parts], HeldOutError | None],
        objective: Objective,
        parts: Parts,
        *,
        runs: int,
    ) -> HeldOutError | None:
        """Measure a network, the first of so many that share the time that is left; None where that ends it."""
        monitor = self._monitor(runs=runs)
        if monitor is None:
            return None
        error = measure(objective, monitor, parts)
        self._is_stopped = monitor.status != "completed"
        return None if self._is_stopped or (error and monitor.time_is_up and not error.is_final) else error

    def _monitor(self, *, runs: int) -> Monitor | None:
        """Return the monitor of the next measurement, the first of so many; None where it may not begin."""
        left = self._ends - time.perf_counter()
        if self._is_stopped or left <= 0:
            return None
        monitor = Monitor(0, self._callbacks, seconds=None if math.isinf(left) else left / runs)
        monitor.step = self._measured
        self._measured += 1
        return monitor


def _unless_worse(
    first: Kind, evidence: Evidence[Kind], errors: HeldOutError, known: Sequence[HeldOutError], where: str
) -> _Choice:
    """Return the fit with the largest evidence, unless the default network predicts held-out rows clearly better."""
    (kind, start), *_ = evidence.best
    to = f"to {percent(errors.mean)} of the labels' spread ({_text(first)} to {percent(min(each.mean for each in known))})"
    folds = len(errors.by_fold)
    if all(errors.of(len(other.by_fold)).mean <= WORSE * other.of(folds).mean for other in known):
        reason = (
            f"network {_text(kind)}: of {evidence.fits} fits of small networks it makes the labels most probable, and "
            f"such fits predict {where} {to}"
        )
        return _Choice(kind, start, with_priors=evidence.is_whole, reason=reason)
    reason = (
        f"network {_text(first)}: of {evidence.fits} fits of small networks those that make the labels most probable "
        f"predict {where} clearly worse, {to}"
    )
    return _Choice(first, reason=reason)


def _unmeasured(evidence: Evidence[Kind], *, is_whole: bool) -> _Choice:
    """Return the fit with the largest evidence, where there was no time to measure it on held-out rows."""
    (kind, start), *_ = evidence.best
    reason = (
        f"network {_text(kind)}: of {evidence.fits} fits of small networks it makes the labels most probable; there was no "
        "time to measure such fits on rows held out"
    )
    return _Choice(kind, start, with_priors=evidence.is_whole and is_whole, reason=reason)


def _clearly_best(first: Kind, error: float, others: Mapping[Kind, float], where: str) -> _Choice:
    """Return the network that predicts held-out rows best, the default where it is not clearly ahead."""
    best = min(others, key=lambda kind: others[kind])
    if others[best] <= GAIN * error:
        what = f"of {len(others) + 1} networks it predicts {where} best, to {percent(others[best])}"
        return _Choice(
            best, reason=f"network {_text(best)}: {what} of the labels' spread ({_text(first)} to {percent(error)})"
        )
    what = f"none of {len(others)} others predicts {where} clearly better than it does, to {percent(error)}"
    return _Choice(
        first, reason=f"network {_text(first)}: {what} of the labels' spread ({_text(best)} to {percent(others[best])})"
    )


def _reason_of_exact(first: Kind, error: float, where: str) -> str:
    return (
        f"network {_text(first)}: no noise is seen that would speak for another, and it predicts {where} to "
        f"{percent(error)} of the labels' spread"
    )


def _text(kind: Kind) -> str:
    widths, activation = kind
    return f"{','.join(map(str, widths))} {activation}"
