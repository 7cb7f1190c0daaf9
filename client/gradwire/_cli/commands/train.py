"""``gradwire train``: fit a built-in problem or a file of samples."""

from __future__ import annotations

from typing import Any, Final

from gradwire._cli.arguments import expand_options
from gradwire._cli.choices import OptimizerName
from gradwire._cli.console import note, say
from gradwire._cli.lazy_imports import import_heavy
from gradwire._cli.progress import progress
from gradwire._cli.train import Task, TrainOptions, read_start, read_task, reporter, show_summary

NAME: Final = "train"


@expand_options
def command(options: TrainOptions) -> None:
    """Fit a network to values and derivatives; Ctrl-C stops and keeps the best weights so far.

    Example: [bold]gradwire train log --loss sobolev --samples 19 --seed 0 --to build/log[/bold]

    Example: [bold]gradwire train data.parquet --inputs spot,vol --outputs price --to build/price[/bold]

    Example: [bold]gradwire train data.parquet --add new.parquet --from models/price --to build/price-2[/bold]
    """
    training = import_heavy("gradwire_training")
    start, options = read_start(training, options)
    training.require_target(options.to)
    _note_checkpoint(options)
    task = read_task(training, options, start)
    if options.verbose:
        task.network.summary(print_fn=say, line_length=72)
    else:
        whose = "" if start is None else f", and they are those of {start.source}"
        note(f"network of {task.network.count_params():,} weights{whose}; --verbose shows its layers")
    result = _fit(training, task, options)
    if options.stages > 1:
        with progress("steps of the second stage") as report:
            result = training.refine(result, callbacks=[reporter(report)])
    result.save(options.to)
    if options.checkpoint.exists():
        note(f"{options.checkpoint} is kept: the same command with --resume continues from it")
    show_summary(training.report(result, to=options.to), to=options.to)
    note(f"next: gradwire export {options.to} --to models/{task.name}")


def _note_checkpoint(options: TrainOptions) -> None:
    """Say what becomes of the state that an unfinished fit left, or that there is none."""
    path = options.checkpoint
    if options.resume and not path.exists():
        note(f"no checkpoint at {path}: the fit starts from the beginning")
    if not options.resume and path.exists():
        note(f"{path} belongs to an unfinished fit and will be replaced; --resume would continue that fit")


def _fit(training: Any, task: Task, options: TrainOptions) -> Any:
    is_auto = options.optimizer is OptimizerName.AUTO
    if options.batch_size is not None:
        optimizer = training.optimizers.Adam(batch_size=options.batch_size)
    else:
        optimizer = task.optimizer if is_auto else options.optimizer.value
    with progress("steps") as report:
        return training.fit(
            task.model,
            task.samples,
            loss=task.loss,
            optimizer=optimizer,
            steps=task.steps if options.steps is None and is_auto else options.steps,
            seconds=options.seconds,
            seed=options.seed,
            dtype=None if options.dtype is None else options.dtype.value,
            callbacks=[reporter(report)],
            validation=task.validation,
            checkpoint=options.checkpoint,
            resume=options.resume,
        )
