"""The options of ``gradwire train``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, final

import typer

from gradwire._cli.choices import Activation, DType, Loss, OptimizerName, Spacing
from gradwire._cli.train.tables import show_problems
from gradwire._errors import UsageError

OF_PROBLEM: Final = "For a built-in problem"
OF_FILE: Final = "For a file"
AUTO: Final = "auto"  # of ``--network`` and ``--reduce``: what held-out rows, or derivatives, choose
ATOMS: Final = "atoms"  # the network of ``--network atoms``
HOLDOUT: Final = 0.2  # enough to measure errors on, and four fifths of the labels are left to learn from


def _of_problem(help: str, *names: str, **constraints: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(*names, help=help, rich_help_panel=OF_PROBLEM, **constraints)


def _of_file(help: str, **constraints: Any) -> Any:  # noqa: A002 - typer's own word
    return typer.Option(help=help, rich_help_panel=OF_FILE, **constraints)


@final
@dataclass(frozen=True)
class TrainOptions:
    """The options of ``gradwire train``; None leaves the choice to the problem or to the file."""

    source: Annotated[
        str,
        typer.Argument(metavar="PROBLEM|FILE", help="Built-in problem, such as log; or file, such as data.parquet."),
    ]
    to: Annotated[Path, typer.Option("--to", help="Directory for the result; an earlier result there is replaced.")]
    loss: Annotated[
        Loss | None, typer.Option(help="Labels to fit: values, derivatives, or both. Default: all that there are.")
    ] = None
    samples: Annotated[int | None, _of_problem("Number of samples. Default: the problem's.", min=1)] = None
    spacing: Annotated[
        Spacing | None, _of_problem("Spread of the samples over the domain. Default: the problem's.")
    ] = None
    exact: Annotated[bool, _of_problem("Exact labels for a problem that simulates its labels.", "--exact")] = False
    noise: Annotated[
        float, _of_problem("Gaussian noise added to the labels, in standard deviations of each label.", min=0)
    ] = 0.0
    network: Annotated[
        str | None,
        typer.Option(
            help="Units of the hidden layers, such as 20,20; or atoms, for a file whose input is (atoms, 3). "
            "Default: auto, the problem's own, or for a file one that held-out rows choose."
        ),
    ] = None
    species: Annotated[
        str | None,
        _of_file("Species of every atom for --network atoms, such as O,H,H. Default: the file's, or all alike."),
    ] = None
    activation: Annotated[
        Activation | None,
        typer.Option(
            help="Activation of the hidden layers. Default: the problem's; for a file sigmoid, or --network's auto."
        ),
    ] = None
    reduce: Annotated[
        str | None,
        typer.Option(
            metavar="auto|N",
            help="Principal components of the inputs that the network sees, by the derivatives: N of them, or as many "
            "as carry 99.99 % of the gradient. Default: all inputs.",
        ),
    ] = None
    stages: Annotated[
        int,
        typer.Option(
            min=1, max=2, help="2: fit a second network to what the first leaves of clean labels, in float64."
        ),
    ] = 1
    huber: Annotated[
        float | None,
        typer.Option(
            help="Errors beyond it count linearly, against outliers, in spreads of the label. Default: none do."
        ),
    ] = None
    relative: Annotated[
        float | None,
        typer.Option(
            help="Divide errors by their label, or by this where that is smaller, in spreads of it. Default: absolute errors."
        ),
    ] = None
    monotone: Annotated[
        str | None,
        typer.Option(
            help="Signs of derivatives, such as 'px:S0+, px:T-': px rises with S0 and falls with T. Trained by penalties, "
            "proven nowhere. Default: none."
        ),
    ] = None
    bounds: Annotated[
        str | None, typer.Option(help="Bounds of outputs, such as 'px>=0, px<=1', likewise. Default: none.")
    ] = None
    value_weight: Annotated[
        float | None, typer.Option(help="Weight of values in the sobolev loss. Default: balanced.")
    ] = None
    derivative_weight: Annotated[
        float | None, typer.Option(help="Weight of derivatives in the sobolev loss. Default: balanced.")
    ] = None
    optimizer: Annotated[
        OptimizerName, typer.Option(help="auto: the problem's own, or one selected by the size of the problem.")
    ] = OptimizerName.AUTO
    steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="Most optimizer steps. Default: the optimizer's.")
    ] = None
    seconds: Annotated[float | None, typer.Option("--max-seconds", help="Time limit. Default: none.")] = None
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Seed of the initial weights, random samples and rows held out. Default: 0, or --from's."
        ),
    ] = None
    dtype: Annotated[
        DType | None, typer.Option(help="Dtype of the exported package. Default: float32, or --from's.")
    ] = None
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Start from an earlier fit: its directory, or a package such as models/wing. Network, weights, scaling "
            "and settings are those, unless they are given.",
        ),
    ] = None
    add: Annotated[
        list[Path] | None,
        _of_file("Files of further rows, with the same columns; rows are held out of each file by itself."),
    ] = None
    inputs: Annotated[
        str | None, _of_file("Columns that are inputs, such as spot,vol; mach='Mach number' names them anew.")
    ] = None
    outputs: Annotated[str | None, _of_file("Columns that are outputs, such as price, likewise.")] = None
    derivatives: Annotated[
        str | None,
        _of_file("NAME=OUTPUT:INPUT,…: columns of derivatives, such as delta=px:S0, forces=-energy:positions."),
    ] = None
    ignore: Annotated[str | None, _of_file("Columns to leave out, such as run,date.")] = None
    weight_column: Annotated[
        str | None,
        _of_file("Column of how much each row counts in the loss and in errors; 0 leaves it out. Default: all alike."),
    ] = None
    decimal: Annotated[str, _of_file("Decimal mark of CSV, '.' or ','.")] = "."
    units: Annotated[list[str] | None, _of_file("NAME=UNIT for the card, such as spot=USD,vol=1.")] = None
    holdout: Annotated[float, _of_file("Fraction of the rows to hold out, to measure errors on.", min=0, max=0.9)] = (
        HOLDOUT
    )
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows per step of adam. Default: all rows, or 1,024 of many.")
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Resume a fit that was killed.")] = False
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the layers of the network.")] = False
    list_problems: Annotated[
        bool, typer.Option("--list", callback=show_problems, is_eager=True, help="List the built-in problems and exit.")
    ] = False

    @property
    def is_file(self) -> bool:
        """Whether the source is a file: names of problems have no dot or slash."""
        return bool(Path(self.source).suffix) or "/" in self.source or "\\" in self.source

    @property
    def is_of_atoms(self) -> bool:
        """Whether the network is that of atoms."""
        return self.network == ATOMS

    @property
    def is_chosen(self) -> bool:
        """Whether rows of the file choose the network: its size, and its activation unless that is given."""
        return self.is_file and self.network in (None, AUTO) and self.start is None

    @property
    def checkpoint(self) -> Path:
        """The file beside the result in which a fit leaves its state."""
        return self.to.with_name(f"{self.to.name}.checkpoint")

    @property
    def layers(self) -> dict[str, Any]:
        """Overrides of the network, as arguments of ``gradwire_training.mlp`` or ``networks.atoms``.

        Raises:
            UsageError: ``--network`` is not a list of positive integers, or ``--reduce`` is neither auto nor a number.
        """
        layers: dict[str, Any] = {}
        if self.network not in (None, AUTO, ATOMS):
            parts = [part.strip() for part in self.network.split(",")]
            if not all(part.isdecimal() and int(part) > 0 for part in parts):
                raise UsageError(
                    f"--network {self.network!r}, expected the number of units of each hidden layer, such as 20,20, "
                    f"{AUTO}, or {ATOMS}"
                )
            layers["widths"] = tuple(map(int, parts))
        if self.activation is not None:
            layers["activation"] = self.activation.value
        if self.reduce is not None:
            if self.reduce != AUTO and not self.reduce.isdecimal():
                raise UsageError(f"--reduce {self.reduce!r}, expected {AUTO} or a number of components, such as 2")
            layers["reduce"] = self.reduce if self.reduce == AUTO else int(self.reduce)
        return layers

    def check(self) -> None:
        """Raise if an option would be ignored.

        Raises:
            UsageError: an option of problems for a file, or of files for a problem; or a batch size for an optimizer
                without mini-batches.
        """
        if self.is_file:
            kind, foreign = "file", ("samples", "spacing", "exact", "noise")
        else:
            kind, foreign = (
                "built-in problem",
                ("inputs", "outputs", "derivatives", "ignore", "weight_column", "units", "species", "add"),
            )
        for name in foreign:
            if getattr(self, name):
                option = name.replace("_", "-")
                raise UsageError(f"--{option} does not apply to {self.source}, a {kind}: leave it out")
        if self.decimal != "." and not self.is_file:
            raise UsageError(f"--decimal does not apply to {self.source}, a {kind}: leave it out")
        self._check_network()
        if self.batch_size is not None and self.optimizer not in (OptimizerName.AUTO, OptimizerName.ADAM):
            raise UsageError(f"--batch-size is for adam, and the optimizer is {self.optimizer.value}: leave one out")

    def _check_network(self) -> None:
        if self.is_of_atoms and not self.is_file:
            raise UsageError(f"--network {ATOMS} is for a file; {self.source} has a network of its own: leave it out")
        if self.is_of_atoms and self.reduce is not None:
            raise UsageError(f"--reduce does not apply to --network {ATOMS}, which sees distances: leave it out")
        if self.stages > 1 and self.dtype is not DType.FLOAT64:
            raise UsageError(
                f"--stages {self.stages} needs --dtype float64: the rounding of float32 is above what a second stage gains"
            )
        if self.species is not None and not self.is_of_atoms:
            raise UsageError(f"--species is for --network {ATOMS}: give both, or leave it out")
        if self.start is not None:
            for name in ("network", "activation", "reduce"):
                if getattr(self, name) is not None:
                    raise UsageError(
                        f"--{name} does not apply, the network is that of --from {self.start}: leave it out"
                    )

    def loss_settings(self, loss: str, accepted: Collection[str]) -> dict[str, float | str]:
        """Return what was given of a loss, as its settings.

        Args:
            loss: its name.
            accepted: the settings that it has.

        Raises:
            UsageError: a setting that the loss does not have.
        """
        chosen = {
            "value_weight": self.value_weight,
            "derivative_weight": self.derivative_weight,
            "huber": self.huber,
            "relative": self.relative,
            "monotone": self.monotone,
            "bounds": self.bounds,
        }
        settings = {name: value for name, value in chosen.items() if value is not None}
        if unknown := [f"--{name.replace('_', '-')}" for name in settings if name not in accepted]:
            raise UsageError(f"{unknown[0]} does not apply to --loss {loss}: leave it out")
        return settings
