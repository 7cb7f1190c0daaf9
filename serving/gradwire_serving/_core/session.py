"""The only file that touches TensorFlow's private Session functions.

The reason, measured on two cores for a call of one row: ``Session.run`` 127 µs, ``TF_SessionRun_wrapper`` 19 µs. And
``Session.run`` casts every array to the signature's dtype and refuses shapes that TensorFlow Serving lets pass, so
neither the responses nor the error texts would be Serving's. ``_make_callable_from_options`` takes 14 µs, but
reports a wrong dtype in other words and fixes its timeout when it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.client import pywrap_tf_session

c_api: Final[Any] = pywrap_tf_session  # Any: its stub denies the None that its functions take and Session passes

SERVE_TAG: Final = "serve"

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

    def run(
        self, feeds: dict[Any, np.ndarray], fetches: Sequence[Any], timeout: float | None = None
    ) -> list[np.ndarray]:
        """Run the graph on raw arrays, neither cast nor checked; safe to call from many threads at once.

        Strings are object arrays of bytes. The computation is stopped after ``timeout`` seconds.
        """
        session = self._session._session  # noqa: SLF001 - the C session
        if timeout is None:
            return _arrays(c_api.TF_SessionRun_wrapper(session, None, feeds, list(fetches), [], None))
        milliseconds = max(1, int(timeout * 1000))  # 0 would mean no limit
        serialized = config_pb2.RunOptions(timeout_in_ms=milliseconds).SerializeToString()
        options = c_api.TF_NewBufferFromString(serialized)
        try:
            return _arrays(c_api.TF_SessionRun_wrapper(session, options, feeds, list(fetches), [], None))
        finally:
            c_api.TF_DeleteBuffer(options)

    def close(self) -> None:
        """Release the graph's variables and the session."""
        self._session.close()


def _arrays(results: list[Any]) -> list[np.ndarray]:
    # A result of rank 0 comes as a NumPy scalar, a string as bytes, whose own dtype would drop trailing zero bytes.
    return [
        result if isinstance(result, np.ndarray) else np.array(result, object if isinstance(result, bytes) else None)
        for result in results
    ]
