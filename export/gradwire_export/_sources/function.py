"""The function that is exported, whatever its source: of named, batched tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import keras
import tensorflow as tf

from gradwire._errors import ConversionError, UsageError
from gradwire._package import check_names
from gradwire_export._derivatives import TensorFunction, Tensors
from gradwire_export._reasons import refused

Pair: TypeAlias = tuple[str, str]  # an output and an input

DEFAULT_INPUT: Final = "x"
DEFAULT_OUTPUT: Final = "f"
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


@dataclass(frozen=True)
class OutputNames:
    """The names of a source's outputs, and which of them a package has."""

    own: Sequence[str] | None  # the source's names for a sequence, or None
    # The caller's: some of the source's names; where it has none, or they are generated, new ones for all.
    requested: Sequence[str] | None
    generated: bool = False  # Keras derived the source's names from its layers'

    def label(self, result: Any) -> Tensors:
        """Name what a function returned (a tensor, sequence or dict), without the outputs that are not requested."""
        if isinstance(result, Mapping):
            return self._select({str(name): tensor for name, tensor in result.items()})
        tensors = list(result) if isinstance(result, (list, tuple)) else [result]
        renames = (
            self.requested and len(self.requested) == len(tensors) and not set(self.requested) & set(self.own or ())
        )
        if self.own and not (self.generated and renames):
            return self._select(dict(zip(self.own, tensors, strict=True)))
        names = self.requested or ([DEFAULT_OUTPUT] if len(tensors) == 1 else [])
        if len(names) != len(tensors):
            raise UsageError(f"the function has {len(tensors)} outputs and {len(names)} names {list(names)}: name each")
        return dict(zip(names, tensors, strict=True))

    def _select(self, named: Tensors) -> Tensors:
        if self.requested is None:
            return named
        if not self.requested or set(self.requested) - set(named):
            raise UsageError(
                f"outputs names {list(self.requested)}, and the function's own are {list(named)}: choose some of those"
            )
        return {name: tensor for name, tensor in named.items() if name in self.requested}


def row_shape(spec: tf.TensorSpec) -> tuple[int, ...]:
    """Return the sizes of one row, which are always known in a Function's specs."""
    return tuple(size or 0 for size in spec.shape.as_list()[1:])


def function_of(
    source: Callable[..., Any],
    *,
    inputs: Mapping[str, tf.TensorSpec] | Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    wrt: Sequence[str] | None = None,
    named: Sequence[str] | None = None,
) -> Function:
    """Return the Function of a Keras model, or of a callable of one tensor for each input, in order.

    The arguments are those of ``export``; ``named`` has the names of outputs that the source returns as a sequence.
    """
    if isinstance(source, keras.Model) and source.inputs and not isinstance(inputs, Mapping):
        called, specs = _keras_function(source, inputs)
        own = named or (list(source.output_names) if len(source.outputs) > 1 else None)
        names = OutputNames(own, outputs, generated=named is None)
    elif isinstance(inputs, Mapping):
        specs = _callable_specs(inputs)
        called = source
        names = OutputNames(named, outputs)
    else:
        raise UsageError(
            f"export of {source!r} needs inputs, such as "
            'inputs={"x": tf.TensorSpec((None, 1), tf.float32)}: only Keras models know their own'
        )
    check_names(specs, ())
    resources = source if isinstance(source, tf.Module) else None
    return _trace(called, specs, names, _differentiated(specs, wrt), resources)


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
    return Function(call, specs, outputs, wrt, tuple(variables), resources)


def _callable_specs(inputs: Mapping[str, tf.TensorSpec]) -> dict[str, tf.TensorSpec]:
    if not inputs:
        raise UsageError("export got no inputs: a derivative needs at least one")
    for name, spec in inputs.items():
        if spec.shape.rank in (None, 0) or spec.shape[0] is not None:
            raise UsageError(
                f"input {name!r} has shape {spec.shape}, expected (None, …): the batch comes first, any size"
            )
        _require_known_row("input", name, spec.shape)
    return {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in inputs.items()}


def _keras_function(
    model: keras.Model, names: Sequence[str] | None
) -> tuple[Callable[..., Any], dict[str, tf.TensorSpec]]:
    """Return the model as a callable of one tensor for each input, and the inputs' specs in the same order."""
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    own = _keras_inputs(structure)
    names = _keras_names(list(own), names)
    order = names if len(names) > 1 else list(own)  # the model's own names, in the package's order

    def call(*tensors: tf.Tensor) -> Any:
        by_own = dict(zip(order, tensors, strict=True))
        if isinstance(structure, Mapping):
            return model(by_own, training=False)
        several = isinstance(structure, (list, tuple))
        return model([by_own[name] for name in own] if several else tensors[0], training=False)

    specs = {}
    for name, key in zip(names, order, strict=True):
        shape = tf.TensorShape((None, *own[key].shape[1:]))
        _require_known_row("input", name, shape)
        specs[name] = tf.TensorSpec(shape, own[key].dtype, name=name)
    return call, specs


def _keras_inputs(structure: Any) -> dict[str, Any]:
    """Return the symbolic inputs by the model's own names: the keys of its dict of inputs, else the tensors' names."""
    if isinstance(structure, Mapping):
        return dict(structure)
    tensors = structure if isinstance(structure, (list, tuple)) else [structure]
    return {tensor.name: tensor for tensor in tensors}


def _keras_names(own: list[str], names: Sequence[str] | None) -> list[str]:
    if len(own) == 1:
        generated = own[0].startswith(GENERATED_NAMES)
        names = names or ([DEFAULT_INPUT] if generated else own)
    if names is None:
        return own
    if len(names) != len(own) or (len(own) > 1 and set(names) != set(own)):
        raise UsageError(
            f"inputs names {list(names)}, and the model's own are {own}: name those, in any order; only a single input can "
            "be renamed"
        )
    return list(names)


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
    _require_known_row("output", name, tensor.shape)
    return tf.TensorSpec(tensor.shape, tensor.dtype, name=name)


def _require_known_row(role: str, name: str, shape: tf.TensorShape) -> None:
    if not shape[1:].is_fully_defined():
        raise ConversionError(
            f"{role} {name!r} has shape {shape}: sizes after the batch must be known, for the shape of its derivative "
            "depends on them; fix them in the spec or with tf.ensure_shape"
        )


def _brief(specs: Mapping[str, tf.TensorSpec]) -> str:
    return ", ".join(f"{name} {spec.shape} {spec.dtype.name}" for name, spec in specs.items())
