"""What a fit was asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from gradwire._errors import DataError, UsageError
from gradwire_training._data import Samples
from gradwire_training._models import DTYPES
from gradwire_training._objective import Loss
from gradwire_training.optimizers._optimizer import Optimizer

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    from numpy.typing import NDArray

    from gradwire_training._data import Stream
    from gradwire_training._models import IoBinding
    from gradwire_training._objective import Weights
    from gradwire_training._progress import Status


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Everything that decides how a fit goes, but for the model that it starts from.

    Attributes:
        samples: what is fitted.
        loss: what is made small.
        optimizer: how.
        steps: at most; None until the optimiser was asked for its own number.
        seconds: at most; None sets no limit.
        seed: of layers that draw random numbers.
        dtype: precision of the package.
        validation: rows that are measured and not fitted, if any.
        stream: all rows, where ``samples`` are some of them.

    Raises:
        UsageError: one of them is of the wrong kind or out of range.
    """

    samples: Samples
    loss: Loss
    optimizer: Optimizer
    steps: int | None
    seed: int
    dtype: str
    seconds: float | None = None
    validation: Samples | None = None
    stream: Stream | None = None

    def __post_init__(self) -> None:
        kinds = {"samples": Samples, "loss": Loss}
        for name, kind in kinds.items():
            if not isinstance(given := getattr(self, name), kind):
                raise UsageError(f"{name} is {given!r}, expected an instance of gradwire_training's {kind.__name__}")
        if self.validation is not None:
            self._check_validation(self.validation)
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"{self.steps} steps, expected 1 or more")
        if self.seconds is not None and not self.seconds > 0:
            raise UsageError(f"{self.seconds} seconds, expected a number above 0")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}, expected 0 or more")
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype {self.dtype!r}, expected one of {', '.join(DTYPES)}")

    def _check_validation(self, rows: Samples) -> None:
        if not isinstance(rows, Samples):
            raise UsageError(f"validation is {rows!r}, expected an instance of gradwire_training's Samples")
        ours, theirs = (
            {name: column.shape[1:] for table in (each.x, each.y) for name, column in table.items()}
            for each in (self.samples, rows)
        )
        if ours != theirs:
            raise DataError(f"validation has columns {theirs}, the samples {ours}: give the same")

    @property
    def most_steps(self) -> int:
        """How many steps may be taken; the optimiser's class says, until it was asked for its own number."""
        return self.optimizer.steps if self.steps is None else self.steps

    @property
    def precision(self) -> str:
        """The dtype that the fit computes in."""
        return self.optimizer.precision or self.dtype


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a fit.

    Attributes:
        status: ``"completed"`` (the model has the last step's weights), or ``"stopped"`` by a callback,
            ``"interrupted"`` by Ctrl-C, ``"diverged"`` (it then has the best weights that were seen).
        message: the status in a sentence.
        steps: steps done.
        seconds: from the call to the last step, compilation included.
        loss: of the model's weights, in the precision of the fit; not finite if no weights gave a finite one.
        history: by step: ``step`` from 1, ``loss``, ``mae``, and the ``optimizer`` at work. Loss and mae are
            those before the step's update, but after it for L-BFGS, whose steps try several updates.
        errors: of the model's values and derivatives, ``{tensor: {"max", "rmse"}, "points", "against"}``.
        model: a Keras model in the dtype of the package; the model given to ``fit`` is left as it was.
        request: what was asked for.
        ports: how names of samples and model match.
        start: the weights that the fit started from.
        xla: whether XLA compiled every step.
        story: what ``auto`` picked and why, in a line; empty where the optimiser was the caller's choice.
    """

    status: Status
    message: str
    steps: int
    seconds: float
    loss: float
    history: dict[str, NDArray[Any]]
    errors: dict[str, Any]
    model: keras.Model
    request: Request
    ports: IoBinding
    start: Weights
    xla: bool
    story: str = ""

    def save(self, path: str | Path) -> Path:
        """Writes the result as a directory.

        It holds ``model.keras``, ``fit.json`` (how it was trained, and how well), ``history.csv``, ``samples.npz``
        and ``start.npz`` (the initial weights): all that ``repeat`` needs.

        It is written beside its place and renamed into it when complete. A result that is there already is
        replaced.

        Args:
            path: the directory.

        Returns:
            The directory.

        Raises:
            PackageError: something else is there, or it cannot be written.
        """
        from gradwire_training._fit.record import write  # the record knows results, not the other way round

        return write(self, path)
