"""``gradwire train``: fits a problem that comes along, or a file of samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gradwire._cli.choices import Activation, DType, Loss, OptimizerName, Spacing
from gradwire._cli.console import note, number, say
from gradwire._cli.io import read_units
from gradwire._cli.lazy_imports import heavy
from gradwire._cli.progress import progress
from gradwire._cli.train import (
    Wish,
    from_file,
    from_problem,
    is_file,
    read_widths,
    show_outcome,
    show_problems,
)
from gradwire._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gradwire._cli.train import Task

NAME: Final = "train"
OF_PROBLEM: Final = "Of a problem"
OF_FILE: Final = "Of a file"
HOLDOUT: Final = 0.2  # enough to measure by, and four fifths of the labels are left to learn from


def command(
    what: Annotated[
        str,
        typer.Argument(metavar="PROBLEM|FILE", help="A problem, such as log; or a file: data.parquet, data.csv."),
    ],
    to: Annotated[Path, typer.Option("--to", help="Directory of the result; one that is there is replaced.")],
    loss: Annotated[
        Loss | None,
        typer.Option(help="What is fitted: values, derivatives, or both; as much as there is, by default."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="How many; the problem's own number by default.", rich_help_panel=OF_PROBLEM),
    ] = None,
    spacing: Annotated[
        Spacing | None,
        typer.Option(
            help="How the samples lie in the domain; the problem's own by default.",
            rich_help_panel=OF_PROBLEM,
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="True labels also for a problem that simulates them.", rich_help_panel=OF_PROBLEM),
    ] = False,
    noise: Annotated[
        float,
        typer.Option(min=0, help="Gaussian, added to the labels: share of their spread.", rich_help_panel=OF_PROBLEM),
    ] = 0.0,
    network: Annotated[
        str | None, typer.Option(help="Units of the hidden layers, such as 20,20; the problem's by default.")
    ] = None,
    activation: Annotated[
        Activation | None, typer.Option(help="Of the hidden layers; the problem's own by default.")
    ] = None,
    value_weight: Annotated[float | None, typer.Option(help="Of sobolev: of values; balanced by default.")] = None,
    derivative_weight: Annotated[
        float | None, typer.Option(help="Of sobolev: of derivatives; balanced by default.")
    ] = None,
    optimizer: Annotated[
        OptimizerName,
        typer.Option(help="auto is the problem's own, or picks by the problem's size, and says what."),
    ] = OptimizerName.AUTO,
    steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="The optimiser's own number by default.")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--max-seconds", help="No limit by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and of random samples.")] = 0,
    dtype: Annotated[DType, typer.Option(help="Of the package.")] = DType.FLOAT32,
    inputs: Annotated[
        str | None,
        typer.Option(help="The columns that are inputs, such as spot,vol.", rich_help_panel=OF_FILE),
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option(help="The columns that are outputs, such as price.", rich_help_panel=OF_FILE),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option(help="NAME=UNIT, such as spot=USD,vol=1: for the card.", rich_help_panel=OF_FILE),
    ] = None,
    holdout: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="The share of rows to measure on.", rich_help_panel=OF_FILE),
    ] = HOLDOUT,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Of adam: rows a step; all, or 1,024 of many, by default.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a fit that was killed.")] = False,
    _list: Annotated[
        bool, typer.Option("--list", callback=show_problems, is_eager=True, help="Show the problems.")
    ] = False,
) -> None:
    """Fit a network to values and derivatives; Ctrl-C keeps the best weights so far.

    Examples: [bold]gradwire train log --loss sobolev --samples 19 --seed 0 --to build/log[/bold]

    [bold]gradwire train data.parquet --inputs spot,vol --outputs price --units spot=USD --to build/price[/bold]
    """
    training = heavy("gradwire_training")
    wish = Wish(read_widths(network), activation, value_weight, derivative_weight)
    if is_file(what):
        _refuse_foreign(
            what,
            {"--samples": samples, "--spacing": spacing, "--exact": exact, "--noise": noise},
            whose="a problem",
        )
        task = from_file(
            training,
            Path(what),
            wish=wish,
            inputs=_names(inputs),
            outputs=_names(outputs),
            units=read_units(units or []),
            holdout=holdout,
            seed=seed,
            loss=loss,
        )
    else:
        _refuse_foreign(what, {"--inputs": inputs, "--outputs": outputs, "--units": units}, whose="a file")
        task = from_problem(
            training,
            what,
            wish=wish,
            count=samples,
            spacing=spacing,
            noise=noise,
            seed=seed,
            loss=loss,
            exact=exact,
        )
    training.require_target(to)
    checkpoint = _checkpoint(to, resume=resume)
    task.model.summary(print_fn=say, line_length=72)
    with progress("steps") as report:
        result = training.fit(
            task.model,
            task.samples,
            loss=task.loss,
            optimizer=_optimizer(training, optimizer, batch_size, task),
            steps=task.steps if steps is None and optimizer is OptimizerName.AUTO else steps,
            seconds=seconds,
            seed=seed,
            dtype=dtype.value,
            callbacks=[_reporter(report)],
            validation=task.validation,
            checkpoint=checkpoint,
            resume=resume,
        )
    result.save(to)
    if checkpoint.exists():
        note(f"{checkpoint} is kept: the same command with --resume goes on from it")
    show_outcome(training.report(result, to=to), to=to)
    note(f"next: gradwire export {to} --to models/{task.name}")


def _optimizer(training: Any, name: OptimizerName, batch_size: int | None, task: Task) -> Any:
    """Gives the optimiser; mini-batches are adam's, and auto leaves it to the problem."""
    if batch_size is None:
        return task.optimizer if name is OptimizerName.AUTO else name.value
    if name not in (OptimizerName.AUTO, OptimizerName.ADAM):
        raise UsageError(f"--batch-size is adam's, and the optimizer is {name.value}: leave one of them out")
    return training.optimizers.Adam(batch_size=batch_size)


def _refuse_foreign(what: str, given: Mapping[str, object], *, whose: str) -> None:
    """Refuses options that would not be looked at."""
    if names := [name for name, value in given.items() if value]:
        raise UsageError(f"{names[0]} is for {whose}, and {what} is none: leave it out")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _checkpoint(to: Path, *, resume: bool) -> Path:
    """Gives the file beside the result in which a fit leaves its state."""
    path = to.with_name(f"{to.name}.checkpoint")
    if resume and not path.exists():
        note(f"no checkpoint at {path}: the fit begins at its start")
    if not resume and path.exists():
        note(f"{path} is of a fit that did not end: it will be replaced; --resume would go on with it")
    return path


def _reporter(report: Callable[[int, int, str], None]) -> Callable[[Any], None]:
    def show(now: Any) -> None:
        report(now.step, now.steps, f"{now.optimizer}: loss {number(now.loss)}, mae {number(now.mae)}")

    return show
