"""The result of a fit, and its record as plain data."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, final

import keras
from numpy.typing import NDArray

from gradwire._package import CardTensor, Domain, sorted_distances
from gradwire_export import MODEL_FILE, RECORD_FORMAT
from gradwire_training._data import Samples
from gradwire_training._fit import record
from gradwire_training._fit.evaluation import Comparison
from gradwire_training._fit.invariance import feels_distances_alone
from gradwire_training._fit.request import Request
from gradwire_training._fit.uncertainty import uncertainty_of
from gradwire_training._fit.violations import Violation
from gradwire_training._models import BoundTensor, IoBinding, Reduction
from gradwire_training._objective import Weights
from gradwire_training._progress import Status
from gradwire_training._uncertainty import NoUncertainty, Uncertainty

SOFTWARE: Final = ("gradwire", "tensorflow", "keras", "numpy", "scipy")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of a fit.

    Attributes:
        status: ``"completed"`` (the model has the last step's weights), or ``"stopped"`` by a callback,
            ``"interrupted"`` by Ctrl-C, ``"diverged"`` (it then has the best weights that were seen).
        message: the status in a sentence.
        steps: steps taken.
        seconds: from the call to the last step, compilation and the choice of the network included.
        loss: of the model's weights, in the precision of the fit; not finite if no weights gave a finite one.
        history: by step: ``step`` from 1, ``loss``, ``mae``, and the ``optimizer`` at work. Loss and mae are those
            before the step's update, but after it for Levenberg-Marquardt and L-BFGS, which try several updates.
        comparison: the model's values and derivatives beside those that it should have.
        model: a Keras model in the dtype of the package; the model given to ``fit`` is left as it was.
        request: the settings of the fit.
        binding: how names of samples and model match.
        start: the weights that the fit started from.
        origin: where the model was from that ``load`` returned, ``{"source", "name", "digest"}``; None for a new model.
        before: that model on the same rows; None likewise.
        xla: whether XLA compiled every step.
        selection_reason: what ``networks.choose`` and ``auto`` chose and why, in a line; empty where the caller chose.
        chosen_network: what ``networks.choose`` returned, but for the model, as plain data; None for other networks.
        notes: what was done about layers that compute one thing in training and another when exported, and which inputs
            the package's dtype rounds noticeably, a line each.
        reduction: how many directions of its inputs the network sees, where it sees principal components; else None.
        violations: how often the signs that the loss was to keep are violated; empty without any.
        stages: how many networks the model is the sum of: 2 after ``refine``.
    """

    status: Status
    message: str
    steps: int
    seconds: float
    loss: float
    history: dict[str, NDArray[Any]]
    comparison: Comparison
    model: keras.Model
    request: Request
    binding: IoBinding
    start: Weights
    xla: bool
    origin: dict[str, str] | None = None
    before: Comparison | None = None
    selection_reason: str = ""
    chosen_network: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    reduction: Reduction | None = None
    violations: tuple[Violation, ...] = ()
    stages: int = 1
    _bars: list[Uncertainty | NoUncertainty] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def errors(self) -> dict[str, Any]:
        """Errors of the model's values and derivatives on held-out rows, or against the problem's truth.

        ``{tensor: {"max", "rmse", "training_rmse", "labels"}, "points", "against", "second_derivatives"}``: the
        ``training_rmse`` is over the labels that were fitted, at most 10,000 rows of them, so that overfitting shows;
        ``rmse_before``, of the model that ``load`` returned, is there for a fit that started from one;
        ``labels`` tells whether the tensor's were ``"fitted"``, known ``"along directions"`` alone, ``"not fitted"``
        (measured alone), or the tensor was ``"never labelled"``: no error of it is known, as of second derivatives.

        An error is None where no label is known, where a prediction is not finite, or where the model has no such
        derivative.
        """
        errors = self.comparison.errors()
        for tensor in () if self.before is None else self.before.tensors:
            errors[tensor.name]["rmse_before"] = tensor.rmse
        return errors

    def uncertainty(self) -> Uncertainty | NoUncertainty:
        """Estimate how sure the model is: its error bars, or why there are none; at the first call, in some seconds."""
        if not self._bars:
            self._bars.append(uncertainty_of(self.model, self.binding, self.request))
        return self._bars[0]

    def save(self, path: str | Path) -> Path:
        """Write the result as a directory.

        It holds ``model.keras``, ``fit.json`` (how it was trained, and how well), ``history.csv``, ``samples.npz``
        and ``start.npz`` (the initial weights): all that ``repeat`` needs; and ``uncertainty.keras``, the error bars,
        where rows were held out to calibrate them on.

        It is written beside its place and renamed into it when complete. A result that is there already is replaced.

        Args:
            path: the directory.

        Returns:
            The directory.

        Raises:
            PackageError: something else is there, or it cannot be written.
        """
        request, path = self.request, Path(path)
        rows = {"": request.samples, record.PINS: request.loss.pins, record.HELD_OUT: request.validation}
        bars = self.uncertainty()
        return record.write(
            path,
            record_of(self, path.name) | {"uncertainty": bars.record},
            model=self.model,
            history=self.history,
            rows=rows,
            start=self.start,
            stds=bars.model if isinstance(bars, Uncertainty) else None,
        )


def record_of(result: Result, directory: str) -> dict[str, Any]:
    """Return ``fit.json`` as plain data; a fit whose samples come from no problem has the directory's name.

    One that started from an earlier fit has the name of that.
    """
    provenance = result.request.samples.provenance
    return {
        "format": RECORD_FORMAT,
        "name": (result.origin or {}).get("name", directory) if provenance is None else provenance.truth.name,
        "inputs": [asdict(_tensor(result, tensor, _domain(result, tensor))) for tensor in result.binding.inputs],
        "outputs": [asdict(_tensor(result, tensor)) for tensor in result.binding.outputs],
        "aliases": {
            name: {"output": alias.output, "input": alias.input, "factor": alias.factor}
            for name, alias in result.request.samples.aliases.items()
        },
        "trained": _trained(result),
        "errors": result.errors,
    }


def _trained(result: Result) -> dict[str, Any]:
    request = result.request
    samples, provenance, stream = request.samples, request.samples.provenance, request.stream
    return {
        "problem": None if provenance is None else provenance.truth.name,
        "source": None if provenance is None else provenance.truth.source,
        "samples": {
            "count": samples.count,
            "spacing": None if provenance is None else provenance.spacing,
            "seed": None if provenance is None else provenance.seed,
            "simulated": None if provenance is None else provenance.simulated,
            "weights": _weights(samples),
            "values": samples.value_labels,
            "derivatives": samples.derivative_labels,
            "directional": samples.directional_labels,
            "held_out": 0 if request.validation is None else request.validation.count,
            "file": record.SAMPLES,
            # Where all rows are, if they are too many for the record: the samples beside it are some of them.
            "stream": None if stream is None else {"rows": stream.count, **stream.settings()},
        },
        "units": samples.units,
        "species": samples.species,
        "stages": result.stages,
        "network": _network(result.model) | {"chosen": result.chosen_network},
        "violations": {violation.sign: violation.to_dict() for violation in result.violations},
        "reduction": None if result.reduction is None else asdict(result.reduction),
        "loss": request.loss.settings(),
        "optimizer": {"name": request.optimizer.name, **request.optimizer.settings()},
        "seed": request.seed,
        "dtype": request.dtype,
        "training_dtype": request.precision,
        "xla": result.xla,
        "origin": result.origin,
        "start": {"file": record.START, "dtypes": sorted({str(weight.dtype) for weight in result.start})},
        "status": result.status,
        "message": result.message,
        "steps": result.steps,
        "steps_asked": request.most_steps,
        "seconds_asked": request.seconds,
        "story": result.selection_reason,
        "notes": list(result.notes),
        "seconds": round(result.seconds, 3),
        "final_loss": result.loss,
        "versions": {**{name: version(name) for name in SOFTWARE}, "python": platform.python_version()},
    }


def _weights(samples: Samples) -> dict[str, float | str | None] | None:
    """Return the range of the rows' weights, their column, and how many rows of one weight would tell as much.

    None where every row counts the same.
    """
    if (weights := samples.row_weights) is None:
        return None
    effective = float(weights.sum() ** 2 / (weights @ weights))  # Kish, Survey Sampling, 1965
    return {
        "column": samples.weight_column,
        "smallest": float(weights.min()),
        "largest": float(weights.max()),
        "effective_rows": round(effective, 1),
    }


def _network(model: keras.Model) -> dict[str, Any]:
    layers = [
        {
            "name": layer.name,
            "class": type(layer).__name__,
            "parameters": layer.count_params(),
            **{key: layer.get_config()[key] for key in ("units", "activation") if key in layer.get_config()},
        }
        for layer in model.layers
    ]
    return {"class": type(model).__name__, "parameters": model.count_params(), "layers": layers, "file": MODEL_FILE}


def _tensor(result: Result, tensor: BoundTensor, domain: Domain | None = None) -> CardTensor:
    return CardTensor(
        name=tensor.name,
        dtype=result.request.dtype if tensor.is_floating else tensor.dtype,
        shape=tensor.shape,
        unit=result.request.samples.units.get(tensor.name),
        species=None if (species := result.request.samples.species.get(tensor.name)) is None else tuple(species),
        domain=domain,
        distances=None if domain is None else _distances(result, tensor),
    )


def _distances(result: Result, tensor: BoundTensor) -> dict[str, Domain] | None:
    """Return the distances of atoms in the fitted rows, where the model feels only them; None elsewhere."""
    x = result.request.samples.x
    species = result.request.samples.species.get(tensor.name)
    if result.request.stream is not None or not feels_distances_alone(result.model, result.binding, x, tensor, species):
        return None
    by_pair = sorted_distances(x[tensor.name].reshape(-1, *tensor.shape), species)
    return {pair: Domain(each.min(axis=0).tolist(), each.max(axis=0).tolist()) for pair, each in by_pair.items()}


def _domain(result: Result, tensor: BoundTensor) -> Domain:
    """Return the box of the fitted rows."""
    if (stream := result.request.stream) is not None:
        lower, upper = (bound[tensor.name].reshape(tensor.shape) for bound in (stream.lower, stream.upper))
    else:
        column = result.request.samples.x[tensor.name].reshape(-1, *tensor.shape)
        lower, upper = column.min(axis=0), column.max(axis=0)
    return Domain(lower=lower.tolist(), upper=upper.tolist())
