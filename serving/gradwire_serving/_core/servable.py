"""A Servable: one loaded version of a model, which answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, final

from gradwire._errors import PackageError, ServerError
from gradwire._package import SERVING_DEFAULT
from gradwire_serving._core.session import LoadedSession
from gradwire_serving._core.signature import SignatureCall
from gradwire_serving._core.status import load_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from tensorflow.core.protobuf import meta_graph_pb2


@final
class Servable:
    """A version of a model, loaded as TensorFlow Serving loads it: into a fresh graph and Session, tag ``serve``.

    Safe to use from many threads at once. Make one with ``load``.
    """

    def __init__(self, session: LoadedSession) -> None:
        self._session = session
        self._calls: dict[str, SignatureCall] = {}
        self._closing = threading.Lock()
        self._closed = False

    @classmethod
    def load(cls, path: Path) -> Servable:
        """Loads one version.

        Args:
            path: its directory, such as ``models/log/1``.

        Raises:
            PackageError: there is no SavedModel, it is corrupt, or TensorFlow cannot restore it.
        """
        try:
            return cls(LoadedSession(path))
        except Exception as error:  # TensorFlow's loader raises whatever a bad graph leads it to
            status = load_status(path, error)
            raise PackageError(
                f"cannot load {path}: {status.code}: {status.message}; expected a SavedModel tagged 'serve', as "
                "`gradwire export` writes"
            ) from error

    @property
    def signature_defs(self) -> Mapping[str, meta_graph_pb2.SignatureDef]:
        """The model's signatures, as the SavedModel declares them."""
        return self._session.meta_graph.signature_def

    def call(self, signature: str) -> SignatureCall:
        """Finds a signature.

        Args:
            signature: its name; empty for ``serving_default``.

        Raises:
            ServerError: FAILED_PRECONDITION, there is none of that name.
        """
        name = signature or SERVING_DEFAULT
        call = self._calls.get(name)
        if call is None:
            if name not in self.signature_defs:
                raise ServerError(f'Serving signature key "{name}" not found.', code="FAILED_PRECONDITION")
            call = self._calls[name] = SignatureCall(self.signature_defs[name], self._session)
        return call

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Computes a signature on raw arrays: no dtype is cast and no shape is checked.

        Args:
            signature: its name; empty for ``serving_default``.
            inputs: arrays by input name; strings as object arrays of bytes.
            outputs: names of the outputs wanted; None or empty for all.
            timeout: seconds after which the computation is stopped; None for no limit.

        Returns:
            Arrays by output name; strings as object arrays of bytes.

        Raises:
            ServerError: with the code and the text that TensorFlow Serving answers to the same request.
        """
        call = self.call(signature)
        call.check_inputs(inputs)
        return call.run(inputs, call.select_outputs(outputs), timeout)

    def close(self) -> None:
        """Frees the model; further calls fail. Closing twice does nothing."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._session.close()
