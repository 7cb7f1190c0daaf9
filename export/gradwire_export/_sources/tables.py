"""Tables that a function reads without being a module that holds them: those of Keras's lookup layers, of a closure."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

_TrackableResource = tf.saved_model.experimental.TrackableResource


class Tables(tf.Module):
    """Holds tables, so that they are saved; the names of its attributes are saved too."""

    def __init__(self, tables: Sequence[Any]) -> None:
        super().__init__(name="tables")
        self.tables = list(tables)


def tables_behind(captured: Iterable[Any], variables: Iterable[tf.Variable]) -> Tables | None:
    """Return what holds the tables whose handles a function captured, or None where it captured variables alone.

    A function knows the handle of a table, and not the table, which has to be saved with it.
    """
    known = {id(variable.handle) for variable in variables}
    handles = [tensor for tensor in captured if tensor.dtype == tf.resource and id(tensor) not in known]
    if not handles:
        return None
    owners = {
        id(owner._resource_handle): owner  # noqa: SLF001 - the property would make a handle where there is none
        for owner in gc.get_objects()
        if issubclass(type(owner), _TrackableResource) and hasattr(owner, "_resource_handle")
    }
    return Tables([owners[id(handle)] for handle in handles if id(handle) in owners])
