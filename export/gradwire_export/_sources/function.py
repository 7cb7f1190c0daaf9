"""The function that is exported, whatever its source: of named, batched tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, cast

import keras
import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire._package import Domain, Names, check_names, own_names
from gradwire_export._derivatives import TensorFunction, Tensors
from gradwire_export._reasons import refused
from gradwire_export._sources.keras_model import (
    call_subclass,
    has_symbolic_inputs,
    inputs_of_subclass,
    require_full_precision,
)
from gradwire_export._sources.normalization import normalized_domains
from gradwire_export._sources.saved_model import SavedFunction
from gradwire_export._sources.tables import tables_behind

Pair: TypeAlias = tuple[str, str]  # an output and an input

DEFAULT_INPUT: Final = "x"
DEFAULT_OUTPUT: Final = "f"
OPEN_SIZE: Final = 12  # that stands in an example for a size that is not known
GENERATED_NAMES: Final = ("keras_tensor", "input_layer", "input_")  # Keras's names for inputs that have none


@dataclass(frozen=True)
class Function:
    """A function of named tensors with the batch as their first axis."""

    call: TensorFunction
    inputs: dict[str, tf.TensorSpec]  # in the model's order, batch axis None
    outputs: dict[str, tf.TensorSpec]  # in the model's order, batch axis None
    # The inputs that it is differentiated with respect to, in the model's order; the others are parameters.
    wrt: tuple[str, ...]
    variables: tuple[tf.Variable, ...]  # that the function reads, sorted by name
    resources: tf.Module | None = None  # an object that owns further resources (tables), or None
    domain: Mapping[str, Domain] = field(default_factory=dict)  # of inputs, as far as the source itself knows


@dataclass(frozen=True)
class OutputNames:
    """The names of a source's outputs, and which of them a package has."""

    own: Sequence[str] | None  # the source's names for a sequence, or None
    # The caller's, in the package's order: some of the source's names, or a new name for each that is to be there;
    # where the source has none, or they are generated, new ones for all.
    requested: Names | None
    generated: bool = False  # Keras derived the source's names from its layers'
    recorded: bool = False  # they are those of a fit, whose order is the package's

    def label(self, result: Any) -> Tensors:
        """Name what a function returned (a tensor, sequence or dict), without the outputs that are not requested."""
        if isinstance(result, Mapping):
            return self._select(self._recorded({str(name): tensor for name, tensor in result.items()}))
        tensors = list(result) if isinstance(result, (list, tuple)) else [result]
        own = list(self.own or ())
        renames = isinstance(self.requested, Sequence) and not set(self.requested) & set(own)
        if own and not (self.generated and (renames or (self.requested is None and len(tensors) == 1))):
            return self._select(dict(zip(own, tensors, strict=True)))
        if isinstance(self.requested, Mapping):
            raise UsageError(
                f"outputs is {dict(self.requested)}, and the function's outputs have no names: list new ones"
            )
        names = list(self.requested or ([DEFAULT_OUTPUT] if len(tensors) == 1 else []))
        if len(names) != len(tensors):
            raise UsageError(f"the function has {len(tensors)} outputs and {len(names)} names {names}: name each")
        return dict(zip(names, tensors, strict=True))

    def _recorded(self, named: Tensors) -> Tensors:
        """Order a dict as the record does; a single output has the record's name whatever the model calls it."""
        if not (self.recorded and self.own):
            return named
        if len(named) == len(self.own) == 1:
            return dict(zip(self.own, named.values(), strict=True))
        return {name: named[name] for name in self.own} if set(self.own) == set(named) else named

    def _select(self, named: Tensors) -> Tensors:
        if self.requested is None:
            return named
        requested = own_names(self.requested)
        if not requested or set(requested.values()) - set(named):
            raise UsageError(
                f"outputs names {list(requested.values())}, and the function's own are {list(named)}: choose some of those"
            )
        return {name: named[own] for name, own in requested.items()}


def has_specs(inputs: Mapping[str, Any] | Sequence[str] | None) -> bool:
    """Whether the inputs that a caller gave are specs by name, and not names."""
    return isinstance(inputs, Mapping) and any(not isinstance(own, str) for own in inputs.values())


def row_shape(spec: tf.TensorSpec) -> tuple[int, ...]:
    """Return the sizes of one row, which are always known in a Function's specs."""
    return tuple(size or 0 for size in spec.shape.as_list()[1:])


def function_of(
    source: Callable[..., Any],
    *,
    inputs: Mapping[str, tf.TensorSpec] | Names | None = None,
    outputs: Names | None = None,
    wrt: Sequence[str] | None = None,
    named: Sequence[str] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Function:
    """Return the Function of a Keras model or a SavedModel, or of a callable of one tensor for each input, in order.

    The arguments are those of ``export``; ``named`` has the names of outputs that the source returns as a sequence.
    """
    domain: dict[str, Domain] = {}
    if isinstance(source, keras.Model):
        require_full_precision(source)
    if isinstance(source, keras.Model) and not has_specs(inputs):
        called, specs, domain = _keras_function(source, cast("Names | None", inputs))
        names = OutputNames(named or _output_layers(source), outputs, generated=named is None, recorded=bool(named))
    elif isinstance(source, SavedFunction) and not has_specs(inputs):
        called, specs = _saved_function(source, cast("Names | None", inputs))
        names = OutputNames(named, outputs)
    elif isinstance(inputs, Mapping):
        specs = _callable_specs(cast("Mapping[str, tf.TensorSpec]", inputs))
        called = _called_with(source, list(specs))
        names = OutputNames(named, outputs)
    else:
        raise UsageError(
            f"export of {source!r} needs inputs, such as "
            'inputs={"x": tf.TensorSpec((None, 1), tf.float32)}: only Keras models and SavedModels know their own'
        )
    specs = _sized(specs, shapes or {})
    check_names(specs, ())
    _require_no_strings(specs)
    resources = source if isinstance(source, tf.Module) else None
    return replace(_trace(called, specs, names, _differentiated(specs, wrt), resources), domain=domain)


def _called_with(source: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """Return a callable of one tensor for each input."""
    if not isinstance(source, keras.Model) or has_symbolic_inputs(source):
        return source
    return lambda *tensors: call_subclass(source, names, tensors)


def _output_layers(model: keras.Model) -> list[str] | None:
    if not has_symbolic_inputs(model):
        return None
    return [model.layers[-1].name] if isinstance(model, keras.Sequential) else list(model.output_names)


def _differentiated(specs: Mapping[str, tf.TensorSpec], wrt: Sequence[str] | None) -> tuple[str, ...]:
    if wrt is None:
        return tuple(specs)
    if not wrt or set(wrt) - set(specs):
        raise UsageError(f"wrt names {list(wrt)}, expected one or more of the inputs {list(specs)}")
    return tuple(name for name in specs if name in wrt)


def _trace(
    source: Callable[..., Any],
    specs: dict[str, tf.TensorSpec],
    names: OutputNames,
    wrt: tuple[str, ...],
    resources: tf.Module | None,
) -> Function:
    def ordered(tensors: Tensors) -> Any:
        return source(*(tensors[name] for name in specs))

    def call(tensors: Tensors) -> Tensors:
        return names.label(ordered(tensors))

    with refused(f"the function cannot be traced with inputs {_brief(specs)}"):
        traced = tf.function(ordered).get_concrete_function(specs)
    outputs = {name: _output_spec(name, tensor) for name, tensor in names.label(traced.structured_outputs).items()}
    check_names(specs, outputs, wrt)
    # The variables come from a set; sorted, two exports of one model write them in the same order. Equal names are
    # ordered as the function reads them.
    order = {id(captured): index for index, captured in enumerate(traced.captured_inputs)}
    variables = sorted(traced.graph.variables, key=lambda variable: (variable.name, order[id(variable.handle)]))
    resources = resources or tables_behind(traced.captured_inputs, variables)
    return Function(call, specs, outputs, wrt, tuple(variables), resources)


def _callable_specs(inputs: Mapping[str, tf.TensorSpec]) -> dict[str, tf.TensorSpec]:
    if not inputs:
        raise UsageError("export got no inputs: a derivative needs at least one")
    for name, spec in inputs.items():
        if spec.shape.rank in (None, 0) or spec.shape[0] is not None:
            raise UsageError(
                f"input {name!r} has shape {spec.shape}, expected (None, …): the batch comes first, any size"
            )
    return {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()}


def _sized(specs: Mapping[str, tf.TensorSpec], shapes: Mapping[str, Sequence[int]]) -> dict[str, tf.TensorSpec]:
    """Return specs of rows of known shape, with the shapes that a caller gave in place of sizes that are open."""
    if unknown := sorted(set(shapes) - set(specs)):
        raise UsageError(f"shapes names input {unknown[0]!r}, expected one of {list(specs)}")
    sized: dict[str, tf.TensorSpec] = {}
    for name, spec in specs.items():
        shape = tf.TensorShape((None, *shapes[name])) if name in shapes else spec.shape
        if not spec.shape.is_compatible_with(shape):
            raise UsageError(
                f"shapes gives input {name!r} rows of shape {tuple(shapes[name])}, expected one that fits {spec.shape}"
            )
        if not shape[1:].is_fully_defined():
            sizes = tuple(OPEN_SIZE if size is None else size for size in shape[1:])
            raise ConversionError(
                f"input {name!r} has shape {shape}: sizes after the batch must be known, for the shape of its derivative "
                f"depends on them; say which, such as --shape {name}={','.join(map(str, sizes))} (shapes={{{name!r}: "
                f"{sizes}}})"
            )
        sized[name] = tf.TensorSpec(shape, spec.dtype, name=name)
    return sized


def _require_no_strings(specs: Mapping[str, tf.TensorSpec]) -> None:
    for name, spec in specs.items():
        if spec.dtype == tf.string:
            raise ConversionError(
                f"input {name!r} is string, and a package takes numbers: look the strings up before the call, and export the "
                "model behind the lookup, whose integers are a parameter (docs/sources.md)"
            )


def _saved_function(
    source: SavedFunction, requested: Names | None
) -> tuple[Callable[..., Any], dict[str, tf.TensorSpec]]:
    """Return a SavedModel's signature as a callable in the package's order, and its specs by the package's names."""
    names = _input_names(list(source.specs), requested)

    def call(*tensors: tf.Tensor) -> Any:
        by_own = dict(zip(names.values(), tensors, strict=True))
        return source(*(by_own[own] for own in source.specs))

    return call, _callable_specs({name: source.specs[own] for name, own in names.items()})


def _keras_function(
    model: keras.Model, requested: Names | None
) -> tuple[Callable[..., Any], dict[str, tf.TensorSpec], dict[str, Domain]]:
    """Return the model as a callable of one tensor for each input, the inputs' specs in the same order, and domains."""
    structure = (
        inputs_of_subclass(model)
        if not has_symbolic_inputs(model)
        else model.inputs[0]
        if isinstance(model, keras.Sequential)
        else model.input
    )
    own = _keras_inputs(structure)
    if requested is None and len(own) == 1 and next(iter(own)).startswith(GENERATED_NAMES):
        requested = [DEFAULT_INPUT]
    names = _input_names(list(own), requested)

    def call(*tensors: tf.Tensor) -> Any:
        by_own = dict(zip(names.values(), tensors, strict=True))
        if isinstance(structure, Mapping):
            return model(by_own, training=False)
        several = isinstance(structure, (list, tuple))
        return model([by_own[name] for name in own] if several else tensors[0], training=False)

    specs = {
        name: tf.TensorSpec(tf.TensorShape((None, *own[key].shape[1:])), own[key].dtype, name=name)
        for name, key in names.items()
    }
    domain = (
        normalized_domains(model, {name: own[key] for name, key in names.items()}) if has_symbolic_inputs(model) else {}
    )
    return call, specs, domain


def _keras_inputs(structure: Any) -> dict[str, Any]:
    """Return the symbolic inputs by the model's own names: the keys of its dict of inputs, else the tensors' names."""
    if isinstance(structure, Mapping):
        return dict(structure)
    tensors = structure if isinstance(structure, (list, tuple)) else [structure]
    return {tensor.name: tensor for tensor in tensors}


def _input_names(own: list[str], requested: Names | None) -> dict[str, str]:
    """Return ``{name in the package: the source's own}`` in the package's order; a lone input may be renamed."""
    if requested is None:
        return {name: name for name in own}
    names = own_names(requested)
    if len(own) == len(names) == 1 and isinstance(requested, Sequence):
        return dict(zip(names, own, strict=True))
    if len(names) != len(own) or set(names.values()) != set(own):
        raise UsageError(
            f"inputs names {list(names.values())}, and the model's own are {own}: name each of those once, in any order, "
            'as {name in the package: the model\'s own} to rename them (--inputs "mach=Mach number")'
        )
    return names


def _output_spec(name: str, tensor: Any) -> tf.TensorSpec:
    if not isinstance(tensor, tf.Tensor):
        raise ConversionError(
            f"output {name!r} is of type {type(tensor).__name__}, expected a dense tensor: return a tensor, a sequence of "
            "tensors, or a dict of tensors by name"
        )
    if tensor.shape.rank in (None, 0) or tensor.shape[0] is not None:
        raise ConversionError(
            f"output {name!r} has shape {tensor.shape}, expected (None, …): every output needs the batch first, "
            "or a server that batches refuses it; return one row of it for each row of the inputs"
        )
    if not tensor.shape[1:].is_fully_defined():
        raise ConversionError(
            f"output {name!r} has shape {tensor.shape}: sizes after the batch must be known, for the shape of its "
            "derivative depends on them; fix them with tf.ensure_shape"
        )
    return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)


def _brief(specs: Mapping[str, tf.TensorSpec]) -> str:
    return ", ".join(f"{name} {spec.shape} {spec.dtype.name}" for name, spec in specs.items())
