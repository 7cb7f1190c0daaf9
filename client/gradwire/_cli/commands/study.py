"""``gradwire study``: how the error falls with the number of samples, with derivatives and without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gradwire._cli.choices import DType, Loss, Measure, OptimizerName, Spacing
from gradwire._cli.console import note, number, say, table
from gradwire._cli.lazy_imports import heavy
from gradwire._cli.progress import progress
from gradwire._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "study"
SEEDS: Final = 3  # the least that has a median and a range
COUNTS: Final = "5,10,19,50"
LOSSES: Final = (Loss.VALUE, Loss.SOBOLEV)


def command(
    problem: Annotated[str, typer.Argument(help="A problem, such as log.")],
    to: Annotated[Path, typer.Option("--to", help="Directory of the table, the picture and the page.")],
    samples: Annotated[str, typer.Option(help="Numbers of samples, separated by commas.")] = COUNTS,
    seeds: Annotated[int, typer.Option(min=1, help="Fits of each kind, from seeds 0, 1, ...")] = SEEDS,
    loss: Annotated[list[Loss] | None, typer.Option(help="Once for each; value and sobolev by default.")] = None,
    spacing: Annotated[
        Spacing | None, typer.Option(help="How the samples lie; the problem's own way by default.")
    ] = None,
    optimizer: Annotated[OptimizerName, typer.Option(help="Of every fit.")] = OptimizerName.AUTO,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Of every fit.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Of every fit.")] = None,
    measure: Annotated[
        Measure | None, typer.Option(help="The error shown: max for a curve, else rmse, by default.")
    ] = None,
    dtype: Annotated[DType, typer.Option(help="Of the models.")] = DType.FLOAT32,
) -> None:
    """Draw error against number of samples, with derivatives and without.

    Example: [bold]gradwire study log --samples 5,10,19,50 --to build/study[/bold]
    """
    counts = _counts(samples)
    training = heavy("gradwire_training")
    with progress("fits") as report:
        found = training.study(
            training.problems.get(problem),
            samples=counts,
            losses=[word.value for word in loss or LOSSES],
            seeds=seeds,
            spacing=None if spacing is None else spacing.value,
            measure=None if measure is None else measure.value,
            optimizer=optimizer.value,
            dtype=dtype.value,
            callback=report,
            steps=max_steps,
            seconds=max_seconds,
        )
    files = found.save(to)
    title = f"{found.measure} error of {problem}: median of {seeds} seeds (smallest to largest)"
    table(title, ("error of", "samples", *found.losses, "gain"), _rows(found))
    for count, ratios in found.halved():
        told = ", ".join(f"{tensor} {number(ratio)}" for tensor, ratio in ratios.items())
        note(f"{count} samples with derivatives against {2 * count} without, times smaller: {told}")
    note(f"look at {', '.join(str(file) for file in files if file.suffix in ('.png', '.html'))}")
    say(str(to))


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise UsageError(f"--samples {text!r}: expected whole numbers and commas, such as {COUNTS}") from error
    if not counts or min(counts) < 1:
        raise UsageError(f"--samples {text!r}: expected numbers of 1 or more, such as {COUNTS}")
    return counts


def _rows(found: Any) -> Iterator[tuple[str, ...]]:
    for line in found.lines():
        spreads = (str(line.spreads[loss] or "-") for loss in found.losses)
        yield line.tensor, f"{line.samples:,}", *spreads, number(line.gain)
