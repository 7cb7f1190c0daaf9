"""Writes a package: a function and its derivatives, checked, in a numbered version directory."""

from __future__ import annotations

import platform
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from gradwire._errors import PackageError, UsageError
from gradwire._package import CARD_FILE, Card, CardTensor, Domain, contract
from gradwire_export._analysis import DerivativeWarning
from gradwire_export._checks import CHECK_POINTS, check_package, draw_points, draw_vectors, prove, read_domain
from gradwire_export._package import (
    XLA,
    PackageModule,
    Plan,
    compiled_entry,
    make_canonical,
    new_version,
    plan_of,
    row_signature,
    trace_signatures,
    warmup_requests,
    write_batching,
    write_warmup,
)
from gradwire_export._sources import JaxFunction, Pair, Source, function_of, read_source, row_shape

POINTS_SEED: Final = 0
NEIGHBOURS_SEED: Final = 1  # another draw, so that neighbours differ
# The derivatives are in the signatures; custom gradients saved beside them come in an order that differs by chance.
WITHOUT_GRADIENTS: Final = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
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
    wrt: Sequence[str] | None = None,
    signatures: Sequence[str] | None = None,
    name: str | None = None,
    domain: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    zeros: Collection[Pair] = (),
    signature: str | None = None,
    unsafe_lambda: bool = False,
    compile: str | None = None,  # noqa: A002 - the word that Keras and the command have for it
    version: int | None = None,
) -> Exported:
    """Writes a model, or any TensorFlow function, as a package that returns its derivatives too.

    The package is written beside its place, loaded the way Serving loads it in a fresh process, compared with the
    model in every signature, and only then renamed to its version. If anything differs, nothing is left.

    Args:
        source: a training result's directory, a .keras file, a SavedModel's directory, a Keras model, or a callable of
            one tensor an input that returns a tensor, a sequence, or a dict of tensors.
        to: the model's directory, such as ``models/log``; the package becomes ``models/log/1``, then 2, ….
        inputs: ``{name: tf.TensorSpec((None, …), dtype)}`` for callables; for Keras models their own
            names in the order that the package is to have (a single input may be renamed).
        outputs: names for the outputs where the source gives none, one each (a single one is ``f``); where it names
            them, those that the package is to have.
        wrt: names of the inputs to differentiate by; all by default. The others are parameters, which may be integers.
        signatures: which of ``jvp``, ``vjp``, ``hvp`` and ``hessian`` the package has besides ``serving_default``,
            ``value`` and ``card``. By default all, but ``hessian`` only where 16 numbers or fewer are differentiated by.
        name: the model's name on the card; that of ``to`` by default.
        domain: ``{input: (lower, upper)}``, where the source has none. Unknown domains are checked on [-1, 1].
        units: ``{input or output: unit}``, where the source has none.
        zeros: pairs (output, input) that are not connected and whose derivative is truly zero.
        signature: of a SavedModel, the one to export; ``serving_default`` by default.
        unsafe_lambda: run the Python code that a .keras file may hold (Lambda layers): only if you trust its author.
        compile: ``"xla"`` compiles the signatures with XLA. Quicker on large calls; a CPU server then needs
            ``--xla_cpu_compilation_enabled=true``, which `gradwire serve` sets (docs/speed.md).
        version: number of the version; one more than the highest by default.

    Returns:
        Where the package is, and its card.

    Warns:
        DerivativeWarning: derivatives leave the jumps of an operation out, or a signature had to be left out.

    Raises:
        ConversionError: a derivative is missing, an output is not batched, rows depend on one another, or XLA cannot
            compile a signature.
        CheckFailed: the package does not give what the model gives.
        PackageError: the source cannot be read, the version exists, or the target cannot be written.
        UsageError: inputs, names, domain or units do not fit the model.
    """
    found = _source(source, signature, unsafe_lambda=unsafe_lambda)
    function = function_of(found.model, inputs=inputs or found.inputs, outputs=outputs, wrt=wrt, named=found.outputs)
    plan = replace(plan_of(function, zeros, signatures), xla=_asks_for_xla(compile, found))
    for text in plan.warnings:
        warnings.warn(text, DerivativeWarning, stacklevel=2)
    bounds = read_domain({**found.domain, **(domain or {})}, function.inputs)
    known_units = {**found.units, **(units or {})}
    card = Card(
        name=name or found.name or Path(to).name,
        inputs=_tensors(function.inputs, known_units, bounds),
        outputs=_tensors(function.outputs, known_units, {}),
        derivatives=plan.names,
        signatures=plan.signatures,
        second_derivatives=plan.seconds if contract.HESSIAN in plan.signatures else {},
        trained=found.trained,
        errors=found.errors,
        compiled=_compiled(plan),
        versions={package: version_of(package) for package in SOFTWARE} | {"python": platform.python_version()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _require_known_units(card, units or {})
    with new_version(Path(to), version) as (directory, target):
        card = _write(directory, plan, card)
    return Exported(target, card)


def _source(given: Callable[..., Any] | str | Path, signature: str | None, *, unsafe_lambda: bool) -> Source:
    if isinstance(given, (str, Path)):
        return read_source(Path(given), signature=signature, unsafe_lambda=unsafe_lambda)
    if signature is not None:
        raise UsageError(f"signature names {signature!r}, and the source is no SavedModel: leave it out")
    return Source(model=given)


def _asks_for_xla(word: str | None, found: Source) -> bool:
    if word not in (None, XLA):
        raise UsageError(f"compile is {word!r}, expected {XLA!r} or nothing")
    return word == XLA or isinstance(found.model, JaxFunction)  # nothing but XLA runs what JAX wrote


def _compiled(plan: Plan) -> dict[str, Any] | None:
    if not plan.xla:
        return None
    found = row_signature(plan, contract.SERVING_DEFAULT)
    return compiled_entry(found.body, found.inputs, copies=plan.copies(contract.SERVING_DEFAULT))


def _write(directory: Path, plan: Plan, card: Card) -> Card:
    bounds = {tensor.name: tensor.domain for tensor in card.inputs if tensor.domain is not None}
    points = draw_points(plan.function.inputs, bounds, CHECK_POINTS, POINTS_SEED)
    neighbours = draw_points(plan.function.inputs, bounds, CHECK_POINTS, NEIGHBOURS_SEED)
    _save(directory, plan, card)
    vectors = draw_vectors(plan, CHECK_POINTS, POINTS_SEED)
    checks = check_package(directory, plan, points=points, neighbours=neighbours, vectors=vectors)
    sizes = card.compiled["batch_sizes"] if card.compiled else [1]
    write_warmup(directory, warmup_requests(plan, points, vectors), sizes)
    if card.compiled:
        write_batching(directory, sizes)
    return prove(directory, card, checks)


def _save(directory: Path, plan: Plan, card: Card) -> None:
    with tempfile.TemporaryDirectory(prefix="gradwire-card-") as scratch:
        file = Path(scratch, CARD_FILE.name)  # SavedModel copies the asset and keeps its name
        file.write_text(card.to_json())
        module = PackageModule(plan.function, file)
        try:
            tf.saved_model.save(
                module, str(directory), signatures=trace_signatures(plan, module), options=WITHOUT_GRADIENTS
            )
        except (tf.errors.OpError, OSError) as error:
            raise PackageError(f"cannot write the package to {directory.parent}: {error}") from error
    make_canonical(directory)


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
