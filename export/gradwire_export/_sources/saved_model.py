"""A signature of an existing SavedModel as a function that can be differentiated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from gradwire._errors import PackageError, UsageError
from gradwire_export._derivatives import Tensors

CONTROL_FLOW: Final = frozenset({"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"})


class SavedFunction(tf.Module):
    """A signature of a SavedModel, called with one tensor an input in the order of ``specs``.

    Where its loops read variables it is frozen first, the variables made constants: a loop that was loaded does not
    find them again when it is differentiated ("variable without handle data", a Keras GRU).

    Args:
        path: the SavedModel's directory.
        signature: the signature's name.

    Attributes:
        specs: of its inputs, by name.

    Raises:
        PackageError: the SavedModel cannot be loaded.
        UsageError: it has no such signature.
    """

    def __init__(self, path: Path, signature: str) -> None:
        super().__init__(name="saved")
        loaded = _load(path)
        if signature not in loaded.signatures:
            raise UsageError(f"{path} has no signature {signature!r}, expected one of {sorted(loaded.signatures)}")
        found = loaded.signatures[signature]
        named = found.structured_input_signature[1]
        self.specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in named.items()}
        self._called = _frozen(found) if _loops_read_variables(found) else found.__call__
        # What is held stays alive, and is saved: the variables; all of the model only where it has tables.
        self.read = list(found.graph.variables)
        handles = {id(variable.handle) for variable in self.read}
        self.tables = loaded if any(id(held) not in handles for held in found.captured_inputs) else None

    def __call__(self, *tensors: Any) -> Tensors:
        """Gives the outputs by name."""
        return self._called(**dict(zip(self.specs, tensors, strict=True)))


def _load(path: Path) -> Any:
    try:
        return tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow's loader raises whatever a bad graph leads it to
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PackageError(f"cannot load {path} as a SavedModel: {reason}") from error


def _frozen(found: Any) -> Callable[..., Tensors]:
    constant = convert_variables_to_constants_v2(found, lower_control_flow=False)
    inputs = [tensor.op.name for tensor in constant.inputs]
    outputs = sorted(found.structured_outputs)  # as TensorFlow flattens a dict

    def call(**tensors: Any) -> Tensors:
        answers = tf.nest.flatten(constant(*(tensors[name] for name in inputs)))
        return dict(zip(outputs, answers, strict=True))

    return call


def _loops_read_variables(found: Any) -> bool:
    graph = found.graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return any(
        node.op in CONTROL_FLOW and types_pb2.DT_RESOURCE in [*node.attr["T"].list.type, *node.attr["Tin"].list.type]
        for node in nodes
    )
