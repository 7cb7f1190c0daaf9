"""A signature of an existing SavedModel as a function that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from gradwire._errors import PackageError, UsageError
from gradwire_export._derivatives import Tensors
from gradwire_export._reasons import reason
from gradwire_export._sources.frozen_graph import FrozenGraph
from gradwire_export._sources.meta_graph import needs_freezing, nodes_of, read_meta_graph

CALLS: Final = ("PartitionedCall", "StatefulPartitionedCall")
CONTROL_FLOW: Final = frozenset({"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"})


class SavedFunction(tf.Module):
    """A signature of a SavedModel, called with one tensor for each input in the order of ``specs``.

    Where its loops read variables it is frozen first, the variables turned into constants: a loop that was loaded does
    not find them again when it is differentiated ("variable without handle data", a Keras GRU). The names of its
    attributes are saved with a package: other names are another digest. A graph of TensorFlow 1 with reference
    variables or tables, which TensorFlow 2 would load and not save again, is frozen too.
    """

    def __init__(self, path: Path, signature: str, tags: Collection[str] | None = None) -> None:
        super().__init__(name="saved")
        meta_graph = read_meta_graph(path, tags)
        if needs_freezing(path, meta_graph):
            frozen = FrozenGraph(path, signature, meta_graph.meta_info_def.tags)
            self.specs, self._called, self.read, self.tables = frozen.specs, frozen.__call__, [], frozen.tables
            return
        loaded = _load(path, meta_graph.meta_info_def.tags)
        if signature not in loaded.signatures:
            raise UsageError(f"{path} has no signature {signature!r}, expected one of {sorted(loaded.signatures)}")
        function = loaded.signatures[signature]
        named = function.structured_input_signature[1]
        order = _input_order(function)
        self.specs = {name: tf.TensorSpec(named[name].shape, named[name].dtype, name=name) for name in order}
        called = _frozen(function) if _loops_read_variables(function) else function.__call__
        self._called = _in_order(called, _output_order(function))
        # Attributes stay alive, and are saved: the variables; all of the model only where it has tables.
        self.read = list(function.graph.variables)
        handles = {id(variable.handle) for variable in self.read}
        self.tables = loaded if any(id(tensor) not in handles for tensor in function.captured_inputs) else None

    def __call__(self, *tensors: Any) -> Tensors:
        """Return the outputs by name."""
        return self._called(**dict(zip(self.specs, tensors, strict=True)))


def _load(path: Path, tags: Collection[str]) -> Any:
    try:
        return tf.saved_model.load(str(path), tags=list(tags))
    except Exception as error:  # TensorFlow's loader raises all kinds of errors for a bad graph
        raise PackageError(f"cannot load {path} as a SavedModel: {reason(error)}") from error


def _input_order(function: Any) -> list[str]:
    """Name a signature's inputs in the order in which the function behind it takes them.

    A signature itself has no order: TensorFlow stores its names in maps, which come back in another order in every
    process. It calls one function, whose arguments have theirs; where it does not, names are sorted.
    """
    names = _placeholders(function)
    call = _called_function(function)
    taken = [names[tensor.op.name] for tensor in call.inputs if tensor.op.name in names] if call is not None else []
    return taken if len(set(taken)) == len(taken) == len(names) else list(names.values())


def _placeholders(function: Any) -> dict[str, str]:
    """Return a signature's inputs by the operation that stands for each, which need not have its name."""
    names = sorted(function.structured_input_signature[1])  # as TensorFlow flattens a dict
    return {tensor.op.name: name for name, tensor in zip(names, function.inputs, strict=False)}


def _output_order(function: Any) -> list[str]:
    """Name a signature's outputs in the order in which the function behind it returns them, else sorted."""
    names = sorted(function.structured_outputs)
    call = _called_function(function)
    if call is None:
        return names
    places = [(_place_in(call, tensor), name) for name, tensor in zip(names, function.outputs, strict=True)]
    return [name for _, name in sorted(places)] if all(place >= 0 for place, _ in places) else names


def _in_order(called: Callable[..., Tensors], names: list[str]) -> Callable[..., Tensors]:
    def call(**tensors: Any) -> Tensors:
        outputs = called(**tensors)
        return {name: outputs[name] for name in names}

    return call


def _called_function(function: Any) -> Any:
    """Return the one operation through which a signature calls the function that it was made of, or None."""
    calls = [op for op in function.graph.get_operations() if op.type in CALLS]
    return calls[0] if len(calls) == 1 else None


def _place_in(call: Any, tensor: Any) -> int:
    """Return which result of a call a tensor is, behind operations that hand it on; -1 for anything else."""
    while tensor.op is not call:
        if tensor.op.type != "Identity":
            return -1
        tensor = tensor.op.inputs[0]
    return tensor.value_index


def _frozen(function: Any) -> Callable[..., Tensors]:
    constant = convert_variables_to_constants_v2(function, lower_control_flow=False)
    names = _placeholders(function)
    arguments = [tensor.op.name for tensor in constant.inputs]
    captured = function.inputs[len(names) :]
    tables = {tensor.op.name: handle for tensor, handle in zip(captured, function.captured_inputs, strict=True)}
    outputs = sorted(function.structured_outputs)  # as TensorFlow flattens a dict

    def call(**tensors: Any) -> Tensors:
        taken = [tensors[names[name]] if name in names else tables[name] for name in arguments]
        flat = tf.nest.flatten(constant(*taken))
        for tensor, name in zip(flat, outputs, strict=True):
            tensor.set_shape(function.structured_outputs[name].shape)  # which is not known behind a table
        return dict(zip(outputs, flat, strict=True))

    return call


def _loops_read_variables(function: Any) -> bool:
    return any(
        node.op in CONTROL_FLOW and types_pb2.DT_RESOURCE in [*node.attr["T"].list.type, *node.attr["Tin"].list.type]
        for node in nodes_of(function.graph.as_graph_def())
    )
