"""What a study found: errors by number of samples, with derivatives and without."""

from __future__ import annotations

import csv
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, final

from markupsafe import Markup

from gradwire._errors import PackageError
from gradwire._package import strict_json
from gradwire_training._objective import Sobolev, Value
from gradwire_training._report.figures import efficiency_picture, save
from gradwire_training._report.report import render

LOSSES: Final = (Value.name, Sobolev.name)  # without derivatives, and with them
TABLE: Final = "study.csv"
RECORD: Final = "study.json"
PAGE: Final = "study.html"
TEMPLATE: Final = "study.html.jinja"

Measure: TypeAlias = Literal["max", "rmse"]


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """One fit of a study.

    Attributes:
        loss: its name.
        samples: how many rows it was fitted to.
        seed: of the initial weights, and of scattered samples.
        seconds: that the fit took.
        status: of the fit.
        errors: by tensor: ``{"max": …, "rmse": …}``, None where an answer is not finite.
    """

    loss: str
    samples: int
    seed: int
    seconds: float
    status: str
    errors: dict[str, dict[str, float | None]]


@final
@dataclass(frozen=True, slots=True)
class Spread:
    """What several seeds gave.

    Attributes:
        low: the smallest.
        median: the middle one.
        high: the largest.
    """

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2g} ({self.low:.2g} to {self.high:.2g})"


@final
@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: a tensor and a number of samples.

    Attributes:
        tensor: name of an output or a derivative.
        samples: how many.
        spreads: by loss; None where a fit's answers were not finite.
    """

    tensor: str
    samples: int
    spreads: dict[str, Spread | None]

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
        measure: which error its table and picture show.
        settings: optimiser, dtype and the like, as they were asked for.
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

    def spread(self, tensor: str, samples: int, loss: str) -> Spread | None:
        """Gives the errors of one tensor over the seeds; None where an answer was not finite."""
        errors = [
            trial.errors[tensor][self.measure]
            for trial in self.trials
            if trial.samples == samples and trial.loss == loss
        ]
        known = [error for error in errors if error is not None]
        if not known or len(known) < len(errors):
            return None
        return Spread(min(known), statistics.median(known), max(known))

    def lines(self) -> list[Line]:
        """Gives the table: a line for each tensor and number of samples."""
        counts = sorted({trial.samples for trial in self.trials})
        return [
            Line(tensor, count, {loss: self.spread(tensor, count, loss) for loss in self.losses})
            for tensor in self.tensors
            for count in counts
        ]

    def halved(self) -> list[tuple[int, dict[str, float]]]:
        """Compares n samples with derivatives to 2 n without, where both were fitted.

        Returns:
            n, and by tensor how many times smaller the median error of n is.
        """
        without, with_ = LOSSES
        counts = {trial.samples for trial in self.trials}
        ratios: list[tuple[int, dict[str, float]]] = []
        for count in sorted(count for count in counts if 2 * count in counts):
            pairs = {
                tensor: (self.spread(tensor, count, with_), self.spread(tensor, 2 * count, without))
                for tensor in self.tensors
            }
            known = {tensor: more.median / few.median for tensor, (few, more) in pairs.items() if few and more}
            if known:
                ratios.append((count, known))
        return ratios

    def save(self, to: str | Path) -> list[Path]:
        """Writes ``study.csv`` (a row a fit and tensor), ``study.json``, ``study.png`` and the page ``study.html``.

        Args:
            to: the directory; it is made, and files of these names in it are overwritten.

        Returns:
            The files.

        Raises:
            PackageError: the directory cannot be written.
        """
        to = Path(to)
        picture = efficiency_picture(self)
        files = save([picture], to)
        page = render(
            TEMPLATE,
            {"study": self, "svg": Markup(picture.svg()), "caption": picture.caption},  # noqa: S704 - drawn here
        )
        try:
            _write_table(self, to / TABLE)
            (to / RECORD).write_text(strict_json(asdict(self)), encoding="utf-8")
            (to / PAGE).write_text(page, encoding="utf-8")
        except OSError as error:
            raise PackageError(f"cannot write {to}: {error.strerror}; give another place") from error
        return [to / TABLE, to / RECORD, *files, to / PAGE]


def _write_table(study: Study, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["problem", "loss", "samples", "seed", "seconds", "status", "tensor", "max", "rmse"])
        for trial in study.trials:
            start = [
                study.problem,
                trial.loss,
                trial.samples,
                trial.seed,
                f"{trial.seconds:.3f}",
                trial.status,
            ]
            for tensor, sizes in trial.errors.items():
                writer.writerow([*start, tensor, sizes["max"], sizes["rmse"]])
