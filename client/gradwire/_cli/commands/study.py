"""``gradwire study``: error against number of samples, with and without derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gradwire._cli.choices import DType, Loss, Measure, OptimizerName, Spacing
from gradwire._cli.console import note, number, say, table
from gradwire._cli.io import read_counts
from gradwire._cli.lazy_imports import import_heavy
from gradwire._cli.progress import progress

NAME: Final = "study"
SEEDS: Final = 3  # the fewest with a median and a range
COUNTS: Final = "5,10,19,50"
LOSSES: Final = (Loss.VALUE, Loss.SOBOLEV)


def command(
    problem: Annotated[str, typer.Argument(help="Built-in problem, such as log.")],
    to: Annotated[Path, typer.Option("--to", help="Directory for the table, the figure and the report.")],
    samples: Annotated[str, typer.Option(help="Numbers of samples, separated by commas.")] = COUNTS,
    seeds: Annotated[int, typer.Option(min=1, help="Fits per loss and number of samples, with seeds 0, 1, …")] = SEEDS,
    loss: Annotated[
        list[Loss] | None, typer.Option(help="Loss to fit; repeatable. Default: value and sobolev.")
    ] = None,
    spacing: Annotated[
        Spacing | None, typer.Option(help="Spread of the samples over the domain. Default: the problem's.")
    ] = None,
    optimizer: Annotated[OptimizerName, typer.Option(help="Optimizer of every fit.")] = OptimizerName.AUTO,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Most optimizer steps of a fit.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Time limit of a fit, in seconds.")] = None,
    measure: Annotated[
        Measure | None, typer.Option(help="Error to show. Default: max for one input element, rmse for more.")
    ] = None,
    dtype: Annotated[DType, typer.Option(help="Dtype of the models.")] = DType.FLOAT32,
) -> None:
    """Plot error against number of samples, with and without derivatives.

    Example: [bold]gradwire study log --samples 5,10,19,50 --to build/study[/bold]
    """
    counts = read_counts("samples", samples)
    training = import_heavy("gradwire_training")
    with progress("fits") as report:
        study = training.study(
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
    files = study.save(to)
    title = f"{study.measure} error of {problem}: median of {seeds} seeds (minimum to maximum)"
    table(title, ("error of", "samples", *study.losses, "gain"), _rows(study))
    for count, ratios in study.halved():
        gains = ", ".join(f"{tensor} {number(ratio)}" for tensor, ratio in ratios.items())
        note(f"error ratio, {2 * count} samples without derivatives to {count} with: {gains}")
    note(f"see {', '.join(str(file) for file in files if file.suffix in ('.png', '.html'))}")
    say(str(to))


def _rows(study: Any) -> Iterator[tuple[str, ...]]:
    for line in study.lines():
        spreads = (str(line.spreads[loss] or "-") for loss in study.losses)
        yield line.tensor, f"{line.samples:,}", *spreads, number(line.gain)
