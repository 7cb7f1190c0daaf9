"""``gradwire train --from``: what an earlier fit leaves to be said again, and what it does not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradwire._cli.choices import DType, OptimizerName
from gradwire._cli.console import note
from gradwire._cli.train.options import TrainOptions
from gradwire._tables import elements_of, open_table


def read_start(training: Any, options: TrainOptions) -> tuple[Any, TrainOptions]:
    """Load what ``--from`` names, and take from it what the options leave open.

    Args:
        training: the package ``gradwire_training``.
        options: of the command.

    Returns:
        A ``gradwire_training.Start``, or None; and the options with a seed and a dtype.

    Raises:
        PackageError: it is neither a fit nor a package that holds its network.
    """
    start = None if options.start is None else training.load(options.start)
    trained: Mapping[str, Any] = {} if start is None else start.trained
    seed = trained.get("seed", 0) if options.seed is None else options.seed
    dtype = DType(trained.get("dtype", DType.FLOAT32.value)) if options.dtype is None else options.dtype
    return start, replace(options, seed=seed, dtype=dtype)


def with_names(columns: Mapping[str, Any], start: Any, path: Path, decimal: str) -> dict[str, Any]:
    """Return the arguments of ``Samples.read`` with the names of an earlier fit where the options leave them open.

    A column of weights that the file does not have, or that is to be ignored, is left out.
    """
    if start is None:
        return dict(columns)
    inputs, outputs = columns["inputs"] or list(start.inputs) or None, columns["outputs"] or list(start.outputs) or None
    derivatives, weights = columns["derivatives"], columns["weights"] or _weight_column(start)
    there: Collection[str] | None = None
    if path.is_file():
        table = open_table(path, decimal=decimal)
        there = elements_of(table.names, table.what)
    if columns["weights"] is None and weights is not None:
        if weights in columns["ignore"]:
            weights = None
        elif there is not None and weights not in there:
            note(f"{path} has no column {weights!r}, by which {start.source} weighted its rows: all count the same")
            weights = None
    if derivatives is None and there is not None:
        derivatives = {
            name: (f"{alias.factor!r}*{alias.output}", alias.input)
            for name, alias in start.aliases.items()
            if name in there
        }
    units = {**start.units, **columns["units"]}
    named = {"inputs": inputs, "outputs": outputs, "derivatives": derivatives or None, "units": units}
    return {**columns, **named, "weights": weights}


def _weight_column(start: Any) -> str | None:
    """Return the column that weighted the rows of an earlier fit."""
    samples: Mapping[str, Any] = start.trained.get("samples") or {}
    weights: Mapping[str, Any] = samples.get("weights") or {}
    return weights.get("column")


def loss_of(start: Any, samples: Any, default: str) -> tuple[str, dict[str, Any]]:
    """Return the loss of an earlier fit and its settings; the default for samples that have labels of other kinds.

    Args:
        start: the earlier fit, or None.
        samples: to be fitted.
        default: the loss that fits all their labels.
    """
    trained: Mapping[str, Any] = {} if start is None else start.trained
    loss: Mapping[str, Any] = trained.get("loss", {})
    before: Mapping[str, Any] = trained.get("samples", {})
    kinds = bool(samples.value_labels), bool(samples.derivative_labels)
    if not loss or kinds != (bool(before.get("values")), bool(before.get("derivatives"))):
        return default, {}
    return loss["name"], {name: value for name, value in loss.items() if name != "name" and value is not None}


def optimizer_of(training: Any, start: Any, default: Any, steps: int | None) -> tuple[Any, int | None]:
    """Return the optimiser of an earlier fit that was chosen by its user, and its steps; else the default's."""
    trained: Mapping[str, Any] = {} if start is None else start.trained
    settings = dict(trained.get("optimizer", {}))
    if settings.get("name", OptimizerName.AUTO.value) == OptimizerName.AUTO.value:
        return default, steps
    return training.optimizers.get(settings.pop("name"), **settings), trained.get("steps_asked")


def accepted(settings: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return the settings that a loss takes."""
    return {name: value for name, value in settings.items() if name in names}
