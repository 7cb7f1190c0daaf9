"""``gradwire train``: fits a problem that comes along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gradwire._cli._console import note, number, say, table
from gradwire._cli._heavy import heavy
from gradwire._cli._progress import progress
from gradwire._cli._words import DType, Loss, OptimizerName, Spacing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME: Final = "train"


def command(
    problem: Annotated[str, typer.Argument(help="The problem: log.")],
    to: Annotated[Path, typer.Option("--to", help="Directory of the result; one that is there is replaced.")],
    loss: Annotated[Loss, typer.Option(help="What is fitted: values, derivatives, or both.")] = Loss.SOBOLEV,
    samples: Annotated[
        int | None, typer.Option(min=1, help="How many; the problem's own number by default.")
    ] = None,
    spacing: Annotated[Spacing, typer.Option(help="How the samples lie in the domain.")] = Spacing.LINEAR,
    optimizer: Annotated[OptimizerName, typer.Option(help="auto is adam, then lbfgs.")] = OptimizerName.AUTO,
    steps: Annotated[
        int | None, typer.Option(min=1, help="At most; the optimiser's own number by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the initial weights and of random samples.")] = 0,
    dtype: Annotated[DType, typer.Option(help="Of the package.")] = DType.FLOAT32,
) -> None:
    """Fit a network to values and derivatives; Ctrl-C keeps the best weights so far.

    Example: [bold]gradwire train log --loss sobolev --samples 19 --seed 0 --to build/log[/bold]
    """
    training = heavy("gradwire_training")
    chosen = training.problems.get(problem)
    training.require_target(to)
    points = chosen.samples(samples, spacing=spacing.value, seed=seed)
    model = chosen.network(seed=seed)
    model.summary(print_fn=say, line_length=72)
    with progress("steps") as report:
        result = training.fit(
            model,
            points,
            loss=chosen.loss(loss.value),
            optimizer=optimizer.value,
            steps=steps,
            seed=seed,
            dtype=dtype.value,
            callbacks=[_reporter(report)],
        )
    result.save(to)
    if chosen.truth.is_curve:
        training.draw(result, chosen.truth, to=to)
    note(f"{result.message}, in {result.seconds:.1f} s, loss {number(result.loss)}")
    _show_errors(result.errors)
    say(str(to))
    note(f"next: gradwire export {to} --to models/{problem}")


def _reporter(report: Callable[[int, int, str], None]) -> Callable[[Any], None]:
    def show(now: Any) -> None:
        report(now.step, now.steps, f"{now.optimizer}: loss {number(now.loss)}, mae {number(now.mae)}")

    return show


def _show_errors(errors: Mapping[str, Any]) -> None:
    tensors: dict[str, dict[str, float]] = {
        name: entry for name, entry in errors.items() if isinstance(entry, dict)
    }
    rows = [(name, number(entry["max"]), number(entry["rmse"])) for name, entry in tensors.items()]
    table(f"errors against {errors['against']}", ("of", "max", "rmse"), rows)
