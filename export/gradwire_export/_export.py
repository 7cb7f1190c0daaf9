"""Writes a package: a function and its derivatives, checked, in a numbered version directory."""

from __future__ import annotations

import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

import numpy as np
import tensorflow as tf

from gradwire._errors import CheckFailed, PackageError, UsageError
from gradwire._package import (
    CARD_FILE,
    SERVING_DEFAULT,
    SIGNATURES,
    UNCERTAINTY,
    Alias,
    Box,
    Card,
    CardTensor,
    Domain,
    Names,
    StagedPath,
    boxes_of,
    check_aliases,
    derivative_name,
    read_alias,
    std_name,
    version_directories,
)
from gradwire_export._analysis import DerivativeWarning
from gradwire_export._checks import CheckRows, check_package, complete_card, drawn_text, write_card
from gradwire_export._gate import Gate, Verdict
from gradwire_export._gradients import right_gradients
from gradwire_export._package import (
    XLA,
    PackageModule,
    PackageSpec,
    compiled_entry,
    make_canonical,
    package_spec,
    require_same_contract,
    signature_body,
    solve_specs,
    trace_signatures,
    warmup_requests,
    write_batching,
    write_network,
    write_warmup,
)
from gradwire_export._reasons import refused
from gradwire_export._sources import (
    ErrorBars,
    Function,
    JaxFunction,
    Pair,
    Source,
    function_of,
    has_specs,
    read_source,
    row_shape,
)

# The derivatives are in the signatures; custom gradients saved beside them come in an order that differs by chance.
WITHOUT_GRADIENTS: Final = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
PAIR: Final = 2  # an output and an input
SOFTWARE: Final = ("gradwire", "tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class Exported:
    """A package that was written and checked.

    Attributes:
        path: its version directory.
        card: its card.
        left_out: the signatures that the package would have, and does not have because their proof failed, with the
            reason.
        verdict: what the gate said, where there was one.
    """

    path: Path
    card: Card
    left_out: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict | None = None


@right_gradients()
def export(
    source: Callable[..., Any] | str | Path,
    *,
    to: str | Path,
    inputs: Mapping[str, tf.TensorSpec] | Names | None = None,
    outputs: Names | None = None,
    wrt: Sequence[str] | None = None,
    signatures: Sequence[str] | None = None,
    solve: Collection[tuple[str, str]] = (),
    name: str | None = None,
    domain: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    zeros: Collection[Pair] = (),
    signature: str | None = None,
    tags: Sequence[str] | None = None,
    unsafe_lambda: bool = False,
    compile: str | None = None,  # noqa: A002 - the word that Keras and the command have for it
    keep_unproven: bool = False,
    nan_guard: bool = False,
    derivatives: Mapping[str, Sequence[str]] | None = None,
    serve_aliases: bool = False,
    version: int | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    replace_contract: bool = False,
    gate: Gate | None = None,
) -> Exported:
    """Write a model, or any TensorFlow function, as a package that returns its derivatives too.

    The package is written beside its final place, loaded the way Serving loads it in a fresh process, compared with the
    model in every signature, proved (its derivatives are those of its values), and only then renamed to its version. An
    optional signature whose proof fails other than at a kink is left out. After an error nothing is left.

    Args:
        source: a training result's directory, a .keras file, a SavedModel's directory, a Keras model, or a callable of
            one tensor for each input that returns a tensor, a sequence, or a dict of tensors.
        to: the model's directory, such as ``models/log``; the package becomes ``models/log/1``, then 2, ….
        inputs: ``{name: tf.TensorSpec((None, …), dtype)}`` for callables; for models on disk and Keras models their
            own names in the order of the package, or ``{name in the package: own name}`` to rename them, such as
            ``{"mach": "Mach number"}`` (a single input may be renamed by a list, too).
        outputs: names for the outputs where the source has none, one each (a single one is ``f``); where it names them,
            those to export, in the package's order; or ``{name in the package: own name}``.
        wrt: names of the inputs to differentiate with respect to; all by default. The others are parameters, which may
            be integers.
        signatures: which of ``jvp``, ``vjp``, ``hvp``, ``hessian`` and ``uncertainty`` the package has besides
            ``serving_default``, ``value`` and ``card``. By default all, but ``hessian`` only for at most 16
            differentiated input elements, and ``uncertainty`` only for a fit with error bars; the card says why not.
        solve: pairs (input, output), such as ``("vol", "price")``: for each a signature `solve_vol_from_price` that
            finds the input, inside of its domain, at which the output has a target value, with its derivatives
            (docs/solve.md). Both are scalars.
        name: the model's name on the card; that of ``to`` by default.
        domain: ``{input: (lower, upper)}``, numbers or arrays of the input's row shape, where the source has none.
            A Keras Normalization layer knows the domain of what it normalises: mean ± 3 deviations. Unknown domains
            are checked on [-1, 1], those of integers on [0, 1]. Bounds may coincide: such an input is constant.
        units: ``{input or output: unit}``, where the source has none.
        zeros: pairs (output, input) that are not connected and whose derivative is truly zero.
        signature: of a SavedModel, the one to export; ``serving_default`` by default.
        tags: of a SavedModel, those of the graph to export; by default its only one, or that with the tag ``serve``.
        unsafe_lambda: run the Python code that a .keras file may hold (Lambda layers): only if you trust its author.
        compile: ``"xla"`` compiles the signatures with XLA. Faster for large calls; a CPU server then needs
            ``--xla_cpu_compilation_enabled=true``, which `gradwire serve` sets (docs/speed.md).
        keep_unproven: write signatures whose derivatives are not those of the values too. Only for gradients that are
            so on purpose, such as a straight-through estimator or a ``tf.stop_gradient``; the card says it.
        nan_guard: return NaN for everything in a row of which an input is NaN. A model with a ReLU otherwise returns
            numbers for such rows, because NaN > 0 is false. Other rows are unchanged, to the bit.
        derivatives: names that people have for derivatives, where the source has none: ``{"forces": ("-energy",
            "positions")}``, output and input, with a sign or a factor (``"0.01*px"``). They are the card's aliases.
        serve_aliases: ``serving_default`` returns them by those names too, beside the contract's.
        version: number of the version; one more than the highest by default.
        shapes: ``{input: row shape}`` where the source leaves sizes open, such as ``{"x": (12, 3)}`` for a recurrent
            network of any number of steps.
        replace_contract: allow other inputs, outputs, shapes, dtypes or derivatives than those of the latest version in
            ``to``, whose callers a server would give the new version unasked.
        gate: rows on which the package must be no worse than the latest version in ``to``, or than the one that the
            gate names, which must be there before anything else is done. It is compared before it has its place, so
            that no server sees a package that is refused.

    Returns:
        Where the package is, its card, which signatures were left out because their proof failed, and what the gate
        said.

    Warns:
        DerivativeWarning: derivatives omit the jumps of an operation, a signature had to be left out, or one that is
            not proved was kept.

    Raises:
        ConversionError: a derivative is missing, an output is not batched, rows depend on one another, or XLA cannot
            compile a signature.
        CheckFailed: the package's outputs are not the model's, or its first derivatives are not those of its values.
        GateRefused: it is worse than that version, and there is no reason to publish it all the same.
        PackageError: the source cannot be read, the version exists, or the target cannot be written.
        UsageError: inputs, names, domain or units do not fit the model, or the latest version in ``to`` has another
            contract.
    """
    if gate is not None:
        gate.require_baseline(Path(to))
    read = _read(source, signature, tags, unsafe_lambda=unsafe_lambda)
    names = None if has_specs(inputs) else cast("Names | None", inputs)
    read = read.renamed(names or None, outputs)
    function = function_of(
        read.model,
        inputs=read.inputs if names else inputs or read.inputs,
        outputs=outputs,
        wrt=wrt,
        named=read.outputs,
        shapes=shapes,
    )
    aliases = _aliases(function, read, derivatives or {}, serve=serve_aliases)
    bounds = _domains({**function.domain, **read.domain, **(domain or {})}, function.inputs)
    with refused("the function cannot be differentiated"):
        bars = _without_clashes(read.bars, function, aliases)
        stds = _stds(bars, function)
        spec = package_spec(function, zeros, signatures, stds=stds, no_stds=bars.record.get("reason", ""))
    spec = replace(
        spec,
        xla=_uses_xla(compile, read),
        aliases=aliases if serve_aliases else {},
        warnings=(*spec.warnings, *_constants(bounds, function.wrt)),
        nan_guard=nan_guard,
    )
    known_units = {**read.units, **(units or {})}
    distances = {name: covered for name, covered in read.distances.items() if name not in (domain or {})}
    card = Card(
        name=name or read.name or Path(to).name,
        inputs=_tensors(function.inputs, known_units, bounds, read.species, distances),
        outputs=_tensors(function.outputs, known_units, {}),
        derivatives=spec.derivatives,
        signatures=spec.signatures,
        second_derivatives=spec.second_derivatives,
        aliases=aliases,
        trained=read.trained,
        errors=read.errors,
        uncertainty=_uncertainty(bars, spec),
        compiled=_compiled(spec),
        jacobian=spec.jacobian,
        versions={package: version_of(package) for package in SOFTWARE} | {"python": platform.python_version()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    spec, card = _with_solves(spec, card, solve, bounds)
    for text in spec.warnings:
        warnings.warn(text, DerivativeWarning, stacklevel=3)  # past the decorator
    _require_known_units(card, units or {})
    target = _version_directory(Path(to), version)
    if not replace_contract:
        require_same_contract(Path(to), card)
    with StagedPath(target, is_directory=True) as staged:
        card, left_out = _write_proved(staged.path, spec, card, keep_unproven=keep_unproven)
        write_network(staged.path, read.model)
        if left_out and not replace_contract:
            require_same_contract(Path(to), card)
        verdict = None if gate is None else gate.judge(staged.path, Path(to))
        if verdict is not None:
            card = replace(card, checks={**card.checks, "gate": verdict.to_dict()})
            write_card(staged.path, card)
    for each, reason in left_out.items():
        warnings.warn(f"left out {each}, which is not proved: {reason}", DerivativeWarning, stacklevel=3)
    for each, reason in _unproven(card).items():
        warnings.warn(f"kept {each}, which is not proved: {reason}", DerivativeWarning, stacklevel=3)
    return Exported(target, card, left_out, verdict)


def _aliases(
    function: Function, source: Source, derivatives: Mapping[str, Sequence[str]], *, serve: bool
) -> dict[str, Alias]:
    """Return the aliases of the derivatives that there are: those of the source, and the caller's."""
    declared: dict[str, Alias] = {}
    for name, parts in derivatives.items():
        if isinstance(parts, str) or len(parts) != PAIR:
            raise UsageError(
                f'the derivative {name!r} is {parts!r}, expected (output, input), such as ("-energy", "x")'
            )
        declared[name] = read_alias(name, *parts)
    pairs = {(alias.output, alias.input) for alias in declared.values()}
    own = {
        name: alias
        for name, alias in source.aliases.items()
        if alias.output in function.outputs and alias.input in function.wrt and (alias.output, alias.input) not in pairs
    }
    aliases = {name: replace(alias, served=serve) for name, alias in (own | declared).items()}
    check_aliases(aliases, list(function.inputs), list(function.outputs), function.wrt)
    if serve and not aliases:
        raise UsageError(
            'serve_aliases, and no derivative has a name of its own: declare one, derivatives={"forces": …}'
        )
    return aliases


def _read(
    source: Callable[..., Any] | str | Path,
    signature: str | None,
    tags: Sequence[str] | None,
    *,
    unsafe_lambda: bool,
) -> Source:
    if isinstance(source, (str, Path)):
        return read_source(Path(source), signature=signature, tags=tags, unsafe_lambda=unsafe_lambda)
    for option, value in (("signature", signature), ("tags", tags)):
        if value is not None:
            raise UsageError(f"{option} names {value!r}, and the source is not a SavedModel: leave it out")
    return Source(model=source)


def _uses_xla(compile_: str | None, source: Source) -> bool:
    if compile_ not in (None, XLA):
        raise UsageError(f"compile is {compile_!r}, expected {XLA!r} or nothing")
    return compile_ == XLA or isinstance(source.model, JaxFunction)  # nothing but XLA runs JAX's operations


def _domains(domain: Mapping[str, Any], specs: Mapping[str, tf.TensorSpec]) -> dict[str, Domain]:
    if unknown := sorted(set(domain) - set(specs)):
        raise UsageError(f"domain names input {unknown[0]!r}, expected one of {sorted(specs)}")
    return {name: Box.read(name, bounds, row_shape(specs[name])).domain for name, bounds in domain.items()}


def _constants(domain: Mapping[str, Domain], wrt: Collection[str]) -> list[str]:
    """Return a warning for each differentiated input whose domain has no room in some of its elements."""
    texts: list[str] = []
    for name in wrt:
        if name in domain:
            fixed = np.equal(domain[name].lower, domain[name].upper)
            if fixed.any():
                what = "is constant" if fixed.all() else f"has {int(fixed.sum())} constant elements of {fixed.size}"
                texts.append(
                    f"input {name!r} {what} in its domain: derivatives with respect to that are extrapolation, and no "
                    "difference can check them"
                )
    return texts


def _with_solves(
    spec: PackageSpec, card: Card, pairs: Collection[tuple[str, str]], domain: Mapping[str, Domain]
) -> tuple[PackageSpec, Card]:
    """Add the signatures that solve to what a package holds, and to its card."""
    if not pairs:
        return spec, card
    rows = CheckRows.draw(spec, boxes_of(card, None), _unknown(card))
    with refused("the function cannot be run eagerly, to see how large its outputs are"):
        values = rows.values(spec.function)

    def scale_of(output: str) -> float:
        return float(np.abs(values[output], where=np.isfinite(values[output]), out=np.zeros_like(values[output])).max())

    solves = solve_specs(spec.function, pairs, domain, spec.zeros, scale_of)
    named = {name: each.solve for name, each in solves.items()}
    return replace(spec, solves=solves), replace(card, solves=named, signatures=(*card.signatures, *named))


def _version_directory(base: Path, version: int | None) -> Path:
    """Return where a new version goes: after the highest by default; versions are never overwritten."""
    if version is None:
        version = max(version_directories(base), default=0) + 1 if base.is_dir() else 1
    target = base / str(version)
    if target.exists():
        raise PackageError(
            f"{target} exists, and versions are never overwritten: leave the version out for the next one"
        )
    return target


def _compiled(spec: PackageSpec) -> dict[str, Any] | None:
    if not spec.xla:
        return None
    body, inputs = signature_body(spec, SERVING_DEFAULT), spec.inputs(SERVING_DEFAULT)
    return compiled_entry(body, inputs, n_repeats=spec.n_repeats(SERVING_DEFAULT))


def _write_proved(
    directory: Path, spec: PackageSpec, card: Card, *, keep_unproven: bool
) -> tuple[Card, dict[str, str]]:
    """Write a package of the signatures that can be proved; return its card, and what was left out and why."""
    left_out: dict[str, str] = {}
    while True:
        written = _write(directory, spec, card, left_out)
        unproven = _unproven(written)
        if keep_unproven or not unproven:
            return written, left_out
        if needed := [name for name in unproven if name in SIGNATURES and not SIGNATURES[name].optional]:
            raise CheckFailed(_unproven_text(needed[0], unproven[needed[0]], spec) + drawn_text(_unknown(card)))
        left_out |= unproven
        spec = spec.without(unproven)
        card = replace(
            card,
            signatures=(*spec.signatures, *spec.solves),
            second_derivatives=spec.second_derivatives,
            jacobian=spec.jacobian,
            solves={name: each.solve for name, each in spec.solves.items()},
        )
        if UNCERTAINTY in unproven:
            card = replace(card, uncertainty={"reason": f"they are not proved: {unproven[UNCERTAINTY]}"})
        for path in directory.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _unproven(card: Card) -> dict[str, str]:
    """Return the signatures of a written card whose proof failed, with the reason."""
    return dict(card.checks.get("proof", {}).get("unproven", {}))


def _unknown(card: Card) -> list[str]:
    """Return the floating-point inputs whose domain is not known."""
    return [tensor.name for tensor in card.inputs if tensor.domain is None and "int" not in tensor.dtype]


def _unproven_text(signature: str, reason: str, spec: PackageSpec) -> str:
    known = "".join(f"{text}; " for text in spec.warnings)
    return (
        f"the derivatives of {signature} are not those of its values: {reason}; {known}write the function in other "
        "operations, or restrict the domain to where it is smooth. If its gradient is so on purpose (a straight-through "
        "estimator, a stop_gradient), export it with --keep-unproven (keep_unproven=True)"
    )


def _write(directory: Path, spec: PackageSpec, card: Card, left_out: Mapping[str, str]) -> Card:
    rows = CheckRows.draw(spec, boxes_of(card, None), _unknown(card))
    _save(directory, spec, card)
    checks = check_package(directory, spec, rows) | {"left_out": dict(left_out)}
    sizes = card.compiled["batch_sizes"] if card.compiled else [1]
    write_warmup(directory, warmup_requests(spec, rows.at | rows.targets(spec)), sizes)
    if card.compiled:
        write_batching(directory, sizes)
    return complete_card(directory, card, checks)


def _save(directory: Path, spec: PackageSpec, card: Card) -> None:
    with tempfile.TemporaryDirectory(prefix="gradwire-card-") as scratch:
        file = Path(scratch, CARD_FILE.name)  # SavedModel copies the asset and keeps its name
        file.write_text(card.to_json())
        module = PackageModule(spec.function, file, spec.stds)
        traced = trace_signatures(spec, module)
        with refused("the function cannot be saved"):
            try:
                tf.saved_model.save(module, str(directory), signatures=traced, options=WITHOUT_GRADIENTS)
            except (tf.errors.OpError, OSError) as error:
                raise PackageError(f"cannot write the package: {error}; choose another directory") from error
    make_canonical(directory)


def _without_clashes(bars: ErrorBars, function: Function, aliases: Mapping[str, Alias]) -> ErrorBars:
    """Return no error bars where the model has a tensor by the name of one."""
    tensors = [*function.outputs, *(derivative_name(f, x) for f in function.outputs for x in function.wrt)]
    taken = {*function.inputs, *tensors, *aliases}
    clashes = [std_name(name) for name in tensors if std_name(name) in taken]
    if bars.model is None or not clashes:
        return bars
    return ErrorBars({"reason": f"the model has a tensor {clashes[0]!r} of its own"})


def _stds(bars: ErrorBars, function: Function) -> Function | None:
    """Return the standard deviations as a function of the package's inputs."""
    if bars.model is None:
        return None

    def call(*tensors: Any) -> Any:
        return bars(dict(zip(function.inputs, tensors, strict=True)))

    return replace(function_of(call, inputs=function.inputs, wrt=function.wrt), call=bars)


def _uncertainty(bars: ErrorBars, spec: PackageSpec) -> dict[str, Any]:
    """Return what the card says of the error bars: those of the package's tensors, or why there are none."""
    if UNCERTAINTY not in spec.signatures:
        return {"reason": bars.record.get("reason", "they were left out of the signatures")}
    names = [*spec.function.outputs, *(name for by_input in spec.derivatives.values() for name in by_input.values())]
    entry = bars.entry
    return entry | {"bars": {std_name(name): entry["bars"][std_name(name)] for name in names}}


def _tensors(
    specs: Mapping[str, tf.TensorSpec],
    units: Mapping[str, str],
    domain: Mapping[str, Domain],
    species: Mapping[str, Sequence[str]] = MappingProxyType({}),
    distances: Mapping[str, Mapping[str, Domain]] = MappingProxyType({}),
) -> tuple[CardTensor, ...]:
    return tuple(
        CardTensor(
            name,
            spec.dtype.name,
            row_shape(spec),
            units.get(name),
            domain.get(name),
            tuple(species[name]) if name in species else None,
            distances.get(name),
        )
        for name, spec in specs.items()
    )


def _require_known_units(card: Card, units: Mapping[str, str]) -> None:
    known = {tensor.name for tensor in (*card.inputs, *card.outputs)}
    if unknown := set(units) - known:
        raise UsageError(f"units name {sorted(unknown)}, expected some of {sorted(known)}")
