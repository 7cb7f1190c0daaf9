"""A Servable: one loaded version of a model, ready to run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Final, final

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from gradwire._errors import PackageError
from gradwire._package import GRAPH_FILE, SERVING_DEFAULT
from gradwire_serving._core.batching import Batcher, BatchingParameters, Queued
from gradwire_serving._core.session import LoadedSession
from gradwire_serving._core.signature import BoundSignature
from gradwire_serving._core.status import Code, Status, StatusError, status_of

SAVED_MODEL_FILES: Final = (GRAPH_FILE, GRAPH_FILE.with_suffix(".pbtxt"))


@final
class Servable:
    """A version of a model, loaded as TensorFlow Serving loads it: into a fresh graph and Session, tag ``serve``.

    Safe to use from many threads at once. Make one with ``load``.
    """

    def __init__(
        self, session: LoadedSession, batching: BatchingParameters | None = None, queued: Queued | None = None
    ) -> None:
        self._session = session
        self._batcher = None if batching is None else Batcher(batching, queued)
        self._signatures: dict[str, BoundSignature] = {}
        self._closing = threading.Lock()
        self._closed = False

    @classmethod
    def load(cls, path: Path) -> Servable:
        """Load one version.

        Args:
            path: its directory, such as ``models/log/1``.

        Raises:
            PackageError: there is no SavedModel, it is corrupt, or TensorFlow cannot restore it.
        """
        try:
            return load_version(path)
        except StatusError as error:
            raise PackageError(
                f"cannot load {path}: {error.status}; expected a SavedModel tagged 'serve', as `gradwire export` writes"
            ) from error

    @property
    def signature_defs(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        """The model's signatures, as the SavedModel declares them."""
        return self._session.meta_graph.signature_def

    @property
    def batches(self) -> bool:
        """Whether calls are computed in batches, on threads of their own."""
        return self._batcher is not None

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute a signature on raw arrays: no dtype is cast and no shape is checked.

        Args:
            signature: its name; empty for ``serving_default``.
            inputs: arrays by input name; strings as object arrays of bytes.
            outputs: names of the outputs to compute; None or empty for all.
            timeout: seconds after which the computation is stopped; None for no limit.

        Returns:
            Arrays by output name; strings as object arrays of bytes.

        Raises:
            ServerError: with the code and the text that TensorFlow Serving gives for the same request.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        results = self.start(signature, inputs, outputs, deadline)
        return results.result() if isinstance(results, Future) else results

    def start(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        deadline: float | None = None,
    ) -> dict[str, np.ndarray] | Future[dict[str, np.ndarray]]:
        """Compute a signature, or, where calls are batched, begin to: the arrays come when its batch has been computed.

        Args:
            signature: as for ``run``, like inputs, outputs and what is raised.
            inputs: arrays by input name.
            outputs: names of the outputs to compute.
            deadline: an instant of ``time.monotonic`` at which the computation is stopped; None for no limit.
        """
        return self._bound(signature or SERVING_DEFAULT).start(inputs, outputs, deadline)

    def close(self) -> None:
        """Release the model; further calls fail. Closing twice does nothing."""
        with self._closing:
            if not self._closed:
                self._closed = True
                if self._batcher is not None:
                    self._batcher.close()
                self._session.close()

    def _bound(self, name: str) -> BoundSignature:
        signature = self._signatures.get(name)
        if signature is None:
            if name not in self.signature_defs:
                raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
            signature = self._signatures[name] = BoundSignature(
                name, self.signature_defs[name], self._session, self._batcher
            )
        return signature


def load_version(
    path: Path,
    warm_up: Callable[[Servable, Path], None] | None = None,
    batching_of: Callable[[Path], BatchingParameters | None] | None = None,
    queued: Queued | None = None,
) -> Servable:
    """Load a version's directory, and warm it up; a StatusError is in TensorFlow Serving's words."""
    batching = None if batching_of is None else batching_of(path)
    try:
        servable = Servable(LoadedSession(path), batching, queued)
    except Exception as error:  # TensorFlow's loader raises whatever a bad graph leads it to
        status = _load_status(path, error)
        raise StatusError(status.code, status.message) from error
    try:
        if warm_up is not None:
            warm_up(servable, path)
    except BaseException:
        servable.close()
        raise
    return servable


def _load_status(path: Path, error: Exception) -> Status:
    if isinstance(error, tf.errors.OpError):
        return status_of(error)
    if not any((path / file).is_file() for file in SAVED_MODEL_FILES):
        return Status(
            Code.NOT_FOUND,
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`{GRAPH_FILE}`)\nSpecified file path: {path}",
        )
    if isinstance(error, OSError):
        return Status(Code.DATA_LOSS, f"Can't parse {path / GRAPH_FILE} as binary proto")
    return status_of(error)
