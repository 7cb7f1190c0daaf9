"""How the error of a fit falls with the number of samples, with derivatives and without."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from markupsafe import Markup

from gradwire._errors import PackageError, UsageError
from gradwire._package import strict_json
from gradwire._pages import write_page
from gradwire_training._fit import DTYPE, fit
from gradwire_training._objective import Sobolev, Value
from gradwire_training._report.figures import learning_curve_plot, save
from gradwire_training.optimizers import Auto, Optimizer
from gradwire_training.problems import Problem

LOSSES: Final = (Value.name, Sobolev.name)  # without derivatives, and with them
SEEDS: Final = 3  # a median and a range are the least that a claim needs
TABLE: Final = "study.csv"
RECORD: Final = "study.json"
PAGE: Final = "study.html"
TEMPLATE: Final = Path(__file__).with_name("study.html.jinja")

Measure: TypeAlias = Literal["max", "rmse"]
Callback: TypeAlias = Callable[[int, int, str], None]  # fits done, fits in all, what is fitted next


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """One fit of a study."""

    loss: str
    samples: int
    seed: int  # of the initial weights, and of scattered samples
    seconds: float
    status: str
    errors: dict[str, dict[str, float | None]]  # tensor -> max, rmse; None where a prediction is not finite


@final
@dataclass(frozen=True, slots=True)
class Spread:
    """The smallest, middle and largest error of several seeds."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2g} ({self.low:.2g} to {self.high:.2g})"


@final
@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of the table: a tensor and a number of samples."""

    tensor: str
    samples: int
    spreads: dict[str, Spread | None]  # by loss; None where a prediction was not finite

    @property
    def gain(self) -> float | None:
        """How many times smaller the median error is with derivatives."""
        without, with_ = (self.spreads.get(loss) for loss in LOSSES)
        return without.median / with_.median if without and with_ and with_.median > 0 else None


@final
@dataclass(frozen=True, slots=True)
class Study:
    """All fits of a study.

    Attributes:
        problem: its name.
        formula: of its truth.
        measure: which error its table and plot show.
        settings: optimiser, dtype and the like.
        trials: in the order of their fits.
    """

    problem: str
    formula: str
    measure: Measure
    settings: dict[str, Any]
    trials: tuple[Trial, ...]

    @property
    def losses(self) -> list[str]:
        """The losses, in order."""
        return list(dict.fromkeys(trial.loss for trial in self.trials))

    @property
    def tensors(self) -> list[str]:
        """Outputs first, then derivatives."""
        return list(dict.fromkeys(tensor for trial in self.trials for tensor in trial.errors))

    @property
    def counts(self) -> list[int]:
        """The numbers of samples, in increasing order."""
        return sorted({trial.samples for trial in self.trials})

    def spread(self, tensor: str, samples: int, loss: str) -> Spread | None:
        """Return the errors of one tensor over the seeds; None where a prediction was not finite."""
        errors = [
            trial.errors[tensor][self.measure]
            for trial in self.trials
            if trial.samples == samples and trial.loss == loss
        ]
        finite = [error for error in errors if error is not None]
        if not finite or len(finite) < len(errors):
            return None
        return Spread(min(finite), statistics.median(finite), max(finite))

    def lines(self) -> list[TableRow]:
        """Return the table: a row for each tensor and number of samples."""
        return [
            TableRow(tensor, count, {loss: self.spread(tensor, count, loss) for loss in self.losses})
            for tensor in self.tensors
            for count in self.counts
        ]

    def halved(self) -> list[tuple[int, dict[str, float]]]:
        """Compare n samples with derivatives to 2 n without, where both were fitted.

        Returns:
            n, and by tensor how many times smaller the median error of n is.
        """
        without, with_ = LOSSES
        ratios: list[tuple[int, dict[str, float]]] = []
        for count in (count for count in self.counts if 2 * count in self.counts):
            spreads = {
                tensor: (self.spread(tensor, count, with_), self.spread(tensor, 2 * count, without))
                for tensor in self.tensors
            }
            finite = {tensor: more.median / few.median for tensor, (few, more) in spreads.items() if few and more}
            if finite:
                ratios.append((count, finite))
        return ratios

    def save(self, to: str | Path) -> list[Path]:
        """Write ``study.csv`` (a row a fit and tensor), ``study.json``, ``study.png`` and the page ``study.html``.

        Args:
            to: the directory; it is made, and files of these names in it are overwritten.

        Returns:
            The files.

        Raises:
            PackageError: the directory cannot be written.
        """
        to = Path(to)
        plot = learning_curve_plot(self._curves(), measure=self.measure, seeds=self.settings["seeds"])
        files = save([plot], to)
        try:
            self._write_table(to / TABLE)
            (to / RECORD).write_text(strict_json(asdict(self)), encoding="utf-8")
        except OSError as error:
            raise PackageError(f"cannot write {to}: {error.strerror}; give another place") from error
        content = {"study": self, "svg": Markup(plot.svg()), "caption": plot.caption}  # noqa: S704 - drawn here
        return [to / TABLE, to / RECORD, *files, write_page(to / PAGE, TEMPLATE, content)]

    def _curves(self) -> dict[str, dict[str, list[tuple[int, float, float, float]]]]:
        return {
            tensor: {
                loss: [
                    (count, spread.low, spread.median, spread.high)
                    for count in self.counts
                    if (spread := self.spread(tensor, count, loss)) is not None
                ]
                for loss in self.losses
            }
            for tensor in self.tensors
        }

    def _write_table(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["problem", "loss", "samples", "seed", "seconds", "status", "tensor", "max", "rmse"])
            for trial in self.trials:
                start = (self.problem, trial.loss, trial.samples, trial.seed, f"{trial.seconds:.3f}", trial.status)
                for tensor, errors in trial.errors.items():
                    writer.writerow([*start, tensor, errors["max"], errors["rmse"]])


def study(
    problem: Problem,
    *,
    samples: Sequence[int],
    losses: Sequence[str] = LOSSES,
    seeds: int = SEEDS,
    spacing: str | None = None,
    measure: Measure | None = None,
    optimizer: str | Optimizer = Auto.name,
    dtype: str = DTYPE,
    steps: int | None = None,
    seconds: float | None = None,
    callback: Callback | None = None,
) -> Study:
    """Fit a problem to several numbers of samples, with derivatives and without, from several seeds.

    Args:
        problem: what is fitted.
        samples: numbers of samples.
        losses: names, of those that the problem has.
        seeds: how many fits of each kind: seeds 0, 1, …
        spacing: of the samples; the problem's own by default.
        measure: ``"max"`` or ``"rmse"``: by default the largest error of a function of a scalar, the rmse of any other.
        optimizer: of every fit; ``"auto"`` is what suits the problem.
        dtype: of the fitted models.
        steps: of every fit, at most; the optimiser's own number by default.
        seconds: of every fit, at most; no limit by default.
        callback: called before each fit.

    Returns:
        The study.

    Raises:
        UsageError: no samples, no seeds, or anything that ``fit`` or the problem refuses.
    """
    if not samples or min(samples) < 1 or seeds < 1:
        raise UsageError(f"samples {list(samples)} and {seeds} seeds, expected 1 or more of each")
    runs = [(count, loss, seed) for count in sorted(set(samples)) for loss in losses for seed in range(seeds)]
    trials: list[Trial] = []
    for done, (count, loss, seed) in enumerate(runs):
        if callback is not None:
            callback(done, len(runs), f"{loss}, {count} samples, seed {seed}")
        points = problem.samples(count, spacing=spacing, seed=seed)
        result = fit(
            problem.network(seed=seed, samples=points),
            points,
            loss=problem.loss(loss),
            optimizer=problem.optimizer(count) if optimizer == Auto.name else optimizer,
            steps=problem.steps if optimizer == Auto.name and steps is None else steps,
            seconds=seconds,
            seed=seed,
            dtype=dtype,
        )
        if result.status == "interrupted":
            raise KeyboardInterrupt
        errors = {name: entry for name, entry in result.errors.items() if isinstance(entry, dict)}
        trials.append(Trial(loss, count, seed, result.seconds, result.status, errors))
    limits = {"steps": steps, "seconds": seconds}
    return Study(
        problem=problem.name,
        formula=problem.truth.formula,
        measure=measure or ("max" if problem.truth.is_curve else "rmse"),
        settings={
            "optimizer": optimizer if isinstance(optimizer, str) else optimizer.name,
            "dtype": dtype,
            "seeds": seeds,
            "spacing": spacing or problem.spacing,
            **{name: limit for name, limit in limits.items() if limit is not None},
        },
        trials=tuple(trials),
    )
