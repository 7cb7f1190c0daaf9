"""The only file that touches TensorFlow's private Session functions.

The reason, measured on two cores for a call of one row: ``Session.run`` 127 µs, ``TF_SessionRun_wrapper`` 19 µs. And
``Session.run`` casts every array to the signature's dtype and refuses shapes that TensorFlow Serving lets pass, so
neither the responses nor the error texts would be Serving's. ``_make_callable_from_options`` takes 3 µs less, but
reports a wrong dtype in other words and fixes its timeout when it is made.

A run has its operations done by TensorFlow's threads, to which one row is handed over and back several times: 125 µs
where other work is about, and 54 in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session

from gradwire._package import BLOCKS_LOOP
from gradwire_serving._core.floating_point import FlushedDenormals

c_api: Final[Any] = pywrap_tf_session  # Any: its stub denies the None that its functions take and Session passes

SERVE_TAG: Final = "serve"
IN_CALLERS_THREAD: Final = -1  # as the number of a pool of threads, by TensorFlow's own convention
# Between two rounds of these TensorFlow looks whether the time is up, from another thread; at other operations nowhere.
# ``MapDefun`` is what ``vectorized_map`` leaves of a function that it cannot vectorize.
LOOPS: Final = frozenset({"For", "LoopCond", "MapDefun", "StatelessWhile", "While"})

# The undecorated function: the decorator prints "deprecated, use tf.saved_model.load", which does not load as
# TensorFlow Serving does (through the graph's own restore op), and so proves nothing about a package.
_load: Final = tf.compat.v1.saved_model.load.__wrapped__


@final
class LoadedSession:
    """A SavedModel in a Session of its own, as TensorFlow Serving holds one.

    Where it cannot be loaded, that is an OSError, a RuntimeError (no graph tagged ``serve``) or TensorFlow's OpError.
    """

    __slots__ = ("_session", "meta_graph")

    meta_graph: meta_graph_pb2.MetaGraphDef

    def __init__(self, path: Path) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                self.meta_graph = _load(self._session, [SERVE_TAG], str(path))
            self._session._extend_graph()  # noqa: SLF001 - run() below does not, for it would lock on every call
        except BaseException:
            self._session.close()
            raise

    def output(self, tensor_name: str) -> Any:
        """Return the handle of a tensor by its name in the graph, such as ``"x:0"`` (or ``"NoOp"``: its output 0)."""
        operation_name, _, index = tensor_name.partition(":")
        handle = c_api.TF_Output()
        handle.oper = self._session.graph.get_operation_by_name(operation_name)._c_op  # noqa: SLF001 - the C handle
        handle.index = int(index or 0)
        return handle

    def has_loops(self, tensor_names: Iterable[str]) -> bool:
        """Whether tensors depend on a loop, other than the one over the blocks of a large call."""
        graph = self.meta_graph.graph_def
        functions = {function.signature.name: function.node_def for function in graph.library.function}
        nodes = {node.name: node for node in graph.node}
        pending = [nodes[_operation(name)] for name in tensor_names]
        seen: set[str] = set()  # names of nodes of the graph, and of functions
        while pending:
            node = pending.pop()
            if node.op in LOOPS and not node.name.rpartition("/")[2].startswith(BLOCKS_LOOP):
                return True
            new = {_operation(name.lstrip("^")) for name in node.input} & nodes.keys() - seen
            seen |= new
            pending += [nodes[name] for name in new]
            for name in _functions_of(node) - seen:
                seen.add(name)
                pending += functions.get(name, ())
        return False

    def run(
        self,
        feeds: dict[Any, np.ndarray],
        fetches: list[Any],
        timeout: float | None = None,
        *,
        in_callers_thread: bool = False,
    ) -> list[np.ndarray]:
        """Run the graph on raw arrays, neither cast nor checked; safe to call from many threads at once.

        Strings are object arrays of bytes. The computation is stopped after ``timeout`` seconds; in the caller's thread
        a loop is not, and it has to be one where ``CAN_FLUSH``.
        """
        session = self._session._session  # noqa: SLF001 - the C session
        options = _run_options(timeout_in_ms(timeout), in_callers_thread)
        if in_callers_thread:
            with FlushedDenormals():
                results = c_api.TF_SessionRun_wrapper(session, options.buffer, feeds, fetches, [], None)
        else:
            results = c_api.TF_SessionRun_wrapper(session, options.buffer, feeds, fetches, [], None)
        return _arrays(results)

    def close(self) -> None:
        """Release the graph's variables and the session."""
        self._session.close()


def timeout_in_ms(timeout: float | None) -> int:
    """Return a timeout as TensorFlow counts it: whole milliseconds, at least one, for 0 is no limit, and so is None."""
    return 0 if timeout is None else max(1, int(timeout * 1000))


@final
class _RunOptions:
    """Options of a run, as TensorFlow takes them: a buffer, which lives as long as this."""

    __slots__ = ("buffer",)

    def __init__(self, milliseconds: int, pool: int) -> None:
        options = config_pb2.RunOptions(timeout_in_ms=milliseconds, inter_op_thread_pool=pool)
        self.buffer = c_api.TF_NewBufferFromString(options.SerializeToString())

    def __del__(self, delete: Callable[[Any], None] = c_api.TF_DeleteBuffer) -> None:
        delete(self.buffer)


@lru_cache(maxsize=256)  # a caller's timeouts are few; those of a server's callers are not
def _run_options(milliseconds: int, in_callers_thread: bool) -> _RunOptions:
    return _RunOptions(milliseconds, IN_CALLERS_THREAD if in_callers_thread else 0)


def _operation(tensor_name: str) -> str:
    return tensor_name.partition(":")[0]


def _functions_of(node: Any) -> set[str]:
    """Return the names of the functions that a node calls; of its gradient's, which are no functions, too."""
    names = {value.func.name for value in node.attr.values() if value.HasField("func")}
    return names | {function.name for value in node.attr.values() for function in value.list.func}


def _arrays(results: list[Any]) -> list[np.ndarray]:
    # A result of rank 0 comes as a NumPy scalar, a string as bytes, whose own dtype would drop trailing zero bytes.
    return [
        result if isinstance(result, np.ndarray) else np.array(result, object if isinstance(result, bytes) else None)
        for result in results
    ]
