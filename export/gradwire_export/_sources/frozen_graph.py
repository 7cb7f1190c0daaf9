"""A signature of TensorFlow 1 as a function of TensorFlow 2: its variables become constants, its tables new ones."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import tensorflow as tf

from gradwire._errors import PackageError, UsageError
from gradwire_export._derivatives import Tensors
from gradwire_export._reasons import reason
from gradwire_export._sources.meta_graph import TABLES

# The undecorated functions: the decorators print deprecations.
_load: Final = tf.compat.v1.saved_model.load.__wrapped__
_to_constants: Final = tf.compat.v1.graph_util.convert_variables_to_constants.__wrapped__


@final
class FrozenGraph:
    """A signature, with the values that its variables and tables have after the SavedModel's own initialisation."""

    def __init__(self, path: Path, signature: str, tags: Collection[str]) -> None:
        with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
            try:
                definitions = _load(session, list(tags), str(path)).signature_def
            except Exception as error:  # TensorFlow's loader raises all kinds of errors for a bad graph
                raise PackageError(f"cannot load {path} as a SavedModel: {reason(error)}") from error
            if signature not in definitions:
                raise UsageError(f"{path} has no signature {signature!r}, expected one of {sorted(definitions)}")
            inputs, outputs = definitions[signature].inputs, definitions[signature].outputs
            self._inputs = {name: inputs[name].name for name in sorted(inputs)}  # maps have no order
            self._outputs = {name: outputs[name].name for name in sorted(outputs)}
            self._graph = _to_constants(
                session, graph.as_graph_def(), [tensor.split(":")[0] for tensor in self._outputs.values()]
            )
            self._shapes = {name: tf.TensorShape(outputs[name].tensor_shape) for name in self._outputs}
            contents = {node.name: _content(session, node) for node in self._graph.node if node.op in TABLES}
        self.specs = {
            name: tf.TensorSpec(inputs[name].tensor_shape, tf.as_dtype(inputs[name].dtype), name=name)
            for name in self._inputs
        }
        self._tables = {name: _table(*content) for name, content in contents.items()}
        self._function = tf.function(self._imported, autograph=False)

    @property
    def tables(self) -> list[Any]:
        """The tables that it reads, which have to be saved with it."""
        return list(self._tables.values())

    def __call__(self, **tensors: Any) -> Tensors:
        """Return the outputs by name."""
        return self._function(tensors)

    def _imported(self, tensors: Tensors) -> Tensors:
        handles = {f"{name}:0": tf.identity(table.resource_handle) for name, table in self._tables.items()}
        placeholders = {self._inputs[name]: tensor for name, tensor in tensors.items()}
        results = tf.graph_util.import_graph_def(
            self._graph, input_map=placeholders | handles, return_elements=list(self._outputs.values()), name=""
        )
        for result, shape in zip(results, self._shapes.values(), strict=True):
            result.set_shape(shape)  # which is not known behind a table
        return dict(zip(self._outputs, results, strict=True))


def _content(session: Any, node: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    handle = session.graph.get_tensor_by_name(f"{node.name}:0")
    dtypes = node.attr["key_dtype"].type, node.attr["value_dtype"].type
    keys, values = session.run(tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=dtypes[0], Tvalues=dtypes[1]))
    return keys, values, tf.as_dtype(dtypes[1])


def _table(keys: np.ndarray, values: np.ndarray, dtype: Any) -> Any:
    """Return a table of TensorFlow 2; what a lookup returns for other keys is in the graph."""
    missing = tf.constant("" if dtype == tf.string else 0, dtype)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values, value_dtype=dtype), missing)
