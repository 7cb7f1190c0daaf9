"""Writes a package: a function and its derivatives, checked, in a numbered version directory."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from gradwire import Verification, load, verify
from gradwire import _contract as contract
from gradwire._card import Card, CardTensor, Domain
from gradwire._errors import PackageError, UsageError
from gradwire_export._check import CHECK_POINTS, check_package
from gradwire_export._derivatives import Pair, require_derivatives
from gradwire_export._digest import CARD_FILE, digest
from gradwire_export._function import Function, function_of, row_shape
from gradwire_export._points import draw_points, read_domain
from gradwire_export._signatures import PackageModule, signatures
from gradwire_export._source import Source, read_source
from gradwire_export._versions import new_version
from gradwire_export._warmup import write_warmup

POINTS_SEED: Final = 0
NEIGHBOURS_SEED: Final = 1  # another draw, so that neighbours differ
SOFTWARE: Final = ("gradwire", "tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class Exported:
    """A package that was written and checked.

    Attributes:
        path: its version directory.
        card: what it says of itself.
    """

    path: Path
    card: Card


def export(
    source: Callable[..., Any] | str | Path,
    *,
    to: str | Path,
    inputs: Mapping[str, tf.TensorSpec] | Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    name: str | None = None,
    domain: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    zeros: Collection[Pair] = (),
    version: int | None = None,
) -> Exported:
    """Writes a model, or any TensorFlow function, as a package that returns its derivatives too.

    The package is written beside its place, loaded the way Serving loads it in a fresh process, compared with the
    model in every signature, and only then renamed to its version. If anything differs, nothing is left.

    Args:
        source: a training result's directory, a .keras file, a Keras model, or a callable of one tensor an input
            that returns a tensor, a sequence, or a dict of tensors.
        to: the model's directory, such as ``models/log``; the package becomes ``models/log/1``, then 2, ….
        inputs: ``{name: tf.TensorSpec((None, …), dtype)}`` for callables; for Keras models their own
            names in the order that the package is to have (a single input may be renamed).
        outputs: names of the outputs where the source gives none; a single one is ``f``.
        name: the model's name on the card; that of ``to`` by default.
        domain: ``{input: (lower, upper)}``, where the source has none. Unknown domains are checked on [-1, 1].
        units: ``{input or output: unit}``, where the source has none.
        zeros: pairs (output, input) that are not connected and whose derivative is truly zero.
        version: number of the version; one more than the highest by default.

    Returns:
        Where the package is, and its card.

    Raises:
        ConversionError: a derivative is missing, an output is not batched, or rows depend on one another.
        CheckFailed: the package does not give what the model gives.
        PackageError: the source cannot be read, the version exists, or the target cannot be written.
        UsageError: inputs, names, domain or units do not fit the model.
    """
    found = read_source(Path(source)) if isinstance(source, (str, Path)) else Source(model=source)
    function = function_of(found.model, inputs=inputs or found.inputs, outputs=outputs or found.outputs)
    names = contract.check_names(function.inputs, function.outputs)
    require_derivatives(function, zeros)
    bounds = read_domain({**found.domain, **(domain or {})}, function.inputs)
    known_units = {**found.units, **(units or {})}
    card = Card(
        name=name or found.name or Path(to).name,
        inputs=_tensors(function.inputs, known_units, bounds),
        outputs=_tensors(function.outputs, known_units, {}),
        derivatives=names,
        signatures=(contract.SERVING_DEFAULT, contract.VALUE, contract.CARD),
        trained=found.trained,
        errors=found.errors,
        versions={package: version_of(package) for package in SOFTWARE}
        | {"python": platform.python_version()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _require_known_units(card, units or {})
    with new_version(Path(to), version) as (directory, target):
        card = _write(directory, function, card, list(zeros))
    return Exported(target, card)


def _write(directory: Path, function: Function, card: Card, zeros: list[Pair]) -> Card:
    bounds = {tensor.name: tensor.domain for tensor in card.inputs if tensor.domain is not None}
    points = draw_points(function.inputs, bounds, CHECK_POINTS, POINTS_SEED)
    neighbours = draw_points(function.inputs, bounds, CHECK_POINTS, NEIGHBOURS_SEED)
    _save(directory, function, card, zeros)
    checks = check_package(directory, function, card.derivatives, zeros, points=points, neighbours=neighbours)
    first = {name: rows[:1] for name, rows in points.items()}
    query = {contract.CARD_QUERY: np.zeros(1, np.int32)}
    write_warmup(directory, {contract.SERVING_DEFAULT: first, contract.VALUE: first, contract.CARD: query})
    with load(directory) as model:
        checks["taylor"] = _taylor(verify(model))
    card = replace(card, checks=checks, digest=digest(directory))
    (directory / CARD_FILE).write_text(card.to_json())
    return card


def _taylor(found: Verification) -> dict[str, Any]:
    """What the card keeps of a Taylor test; a failure is recorded, not raised, for kinks fail it honestly."""
    tensors = {
        check.tensor: {"slope": check.slope, "disagreement": check.disagreement} for check in found.checks
    }
    return {"passed": found.passed, "derivatives": tensors}


def _save(directory: Path, function: Function, card: Card, zeros: list[Pair]) -> None:
    with tempfile.TemporaryDirectory(prefix="gradwire-card-") as scratch:
        file = Path(scratch, CARD_FILE.name)  # SavedModel copies the asset and keeps its name
        file.write_text(card.to_json())
        module = PackageModule(function, file)
        try:
            tf.saved_model.save(
                module, str(directory), signatures=signatures(function, module, card.derivatives, zeros)
            )
        except (tf.errors.OpError, OSError) as error:
            raise PackageError(f"cannot write the package to {directory.parent}: {error}") from error


def _tensors(
    specs: Mapping[str, tf.TensorSpec], units: Mapping[str, str], domain: Mapping[str, Domain]
) -> tuple[CardTensor, ...]:
    return tuple(
        CardTensor(name, spec.dtype.name, row_shape(spec), units.get(name), domain.get(name))
        for name, spec in specs.items()
    )


def _require_known_units(card: Card, units: Mapping[str, str]) -> None:
    known = {tensor.name for tensor in (*card.inputs, *card.outputs)}
    if unknown := set(units) - known:
        raise UsageError(f"units name {sorted(unknown)}, expected some of {sorted(known)}")
