"""One signature of a loaded model: its names, and the messages about wrong ones.

The texts are those of TensorFlow Serving (``predict_util.cc``, recorded in tests/conformance), letter for letter.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from gradwire_serving._core.batching import Batchable, Batcher
from gradwire_serving._core.floating_point import CAN_FLUSH
from gradwire_serving._core.session import LoadedSession, timeout_in_ms
from gradwire_serving._core.status import StatusError, deadline_exceeded, invalid_argument, status_of

# Rows up to which a call is computed in the caller's thread: a package runs those in one block, whatever its network.
# Measured: 0.4 times the time in TensorFlow's threads for 1 row, 0.6 to 0.8 for 256, no difference from 4,096 on.
SMALL: Final = 256


@final
class BoundSignature:
    """A signature bound to its session."""

    __slots__ = (
        "_batcher",
        "_defaults",
        "_everything",
        "_fetches",
        "_input_shapes",
        "_inputs",
        "_is_stoppable",
        "_name",
        "_names",
        "_rows",
        "_session",
    )

    def __init__(
        self, name: str, signature: meta_graph_pb2.SignatureDef, session: LoadedSession, batcher: Batcher | None
    ) -> None:
        self._name = name
        self._session = session
        self._batcher = batcher
        self._input_shapes = {alias: _shape(info) for alias, info in signature.inputs.items()}
        self._rows = {alias: (_shape(info) or (-1,))[:1] for alias, info in signature.outputs.items()}
        self._names = {alias: info.name for alias, info in sorted(signature.inputs.items())}
        self._inputs = {alias: _handle(session, name) for alias, name in self._names.items()}
        fetched = {alias: info.name for alias, info in sorted(signature.outputs.items())}
        self._fetches = {alias: _handle(session, name) for alias, name in fetched.items()}
        self._everything = tuple(self._fetches)
        self._is_stoppable = session.has_loops(fetched.values())
        self._defaults = {alias: _default(tensor, alias) for alias, tensor in sorted(signature.defaults.items())}

    def start(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None, deadline: float | None
    ) -> dict[str, np.ndarray] | Future[dict[str, np.ndarray]]:
        """Check a call as TensorFlow Serving does, in its order, and compute it, at once or in a batch.

        See ``Servable.start``.
        """
        if inputs.keys() != self._inputs.keys():
            self._check_inputs(inputs)
        arrays = self._defaults | dict(inputs)  # decodes, where the mapping does
        selected = tuple(self._select_outputs(outputs)) if outputs else self._everything
        if self._batcher is None:
            return self._compute(arrays, selected, None if deadline is None else deadline - time.monotonic())
        what = Batchable(
            lambda batch, timeout: self._compute(batch, selected, timeout),
            self._input_shapes,
            fixed_outputs=any(self._rows[alias] != (-1,) for alias in selected),
        )
        return self._batcher.submit(self._name, what, selected, arrays, deadline)

    def _check_inputs(self, sent: Iterable[str]) -> None:
        names = sorted(sent)
        if len(names) > len(self._inputs) or (len(names) < len(self._inputs) and not self._defaults):
            extra, missing = sorted(set(names) - set(self._inputs)), sorted(set(self._inputs) - set(names))
            raise invalid_argument(
                f"input size does not match signature: {len(names)}!={len(self._inputs)} len({{{','.join(names)}}}) != "
                f"len({{{','.join(self._inputs)}}}). Sent extra: {{{','.join(extra)}}}. "
                f"Missing but required: {{{','.join(missing)}}}."
            )
        for alias in self._inputs:
            if alias not in names and alias not in self._defaults:
                raise invalid_argument(
                    f"Signature input alias: {alias}(feed name: {self._names[alias]}) not found in request and no "
                    f"default value provided. Inputs expected to be in the request {{{','.join(names)}}}, or default "
                    f"input alias set: {','.join(self._defaults)}"
                )
        used = [name for name in names if name in self._inputs]
        if len(used) < len(names):
            raise invalid_argument(
                f"Inputs contains invalid name. Used request inputs: {','.join(used)}, request input: {','.join(names)}"
            )

    def _select_outputs(self, output_filter: Sequence[str]) -> list[str]:
        for position, alias in enumerate(output_filter):
            if alias not in self._fetches:
                raise invalid_argument(
                    f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                    f"{{{','.join(self._fetches)}}}."
                )
            if alias in output_filter[:position]:
                raise invalid_argument(f"duplicate output tensor alias: {alias}")
        return list(output_filter)

    # Every computation of the server comes through here, checked and with complete inputs.
    def _compute(
        self, arrays: Mapping[str, np.ndarray], outputs: Sequence[str], timeout: float | None
    ) -> dict[str, np.ndarray]:
        feeds: dict[Any, np.ndarray] = {}
        is_small = CAN_FLUSH and not self._is_stoppable
        for alias, array in arrays.items():
            feeds[self._inputs[alias]] = array
            is_small = is_small and (array.ndim == 0 or len(array) <= SMALL)
        fetches = [self._fetches[alias] for alias in outputs]
        began = time.monotonic()
        try:
            results = self._session.run(feeds, fetches, timeout, in_callers_thread=is_small)
        except tf.errors.DeadlineExceededError as error:
            raise deadline_exceeded() from error
        except tf.errors.OpError as error:
            status = status_of(error)
            raise StatusError(status.code, status.message) from error
        if is_small and timeout is not None and 1000 * (time.monotonic() - began) > timeout_in_ms(timeout):
            raise deadline_exceeded()  # as TensorFlow answers where it could stop nothing
        return dict(zip(outputs, results, strict=True))


def _handle(session: LoadedSession, tensor_name: str) -> Any:
    try:
        return session.output(tensor_name)
    except (KeyError, ValueError) as error:
        raise invalid_argument(f"Tensor {tensor_name!r} of the signature was not found in the graph") from error


def _default(tensor: tensor_pb2.TensorProto, alias: str) -> np.ndarray:
    try:
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid_argument(f"tensor parsing error: {alias}") from error


def _shape(info: meta_graph_pb2.TensorInfo) -> tuple[int, ...] | None:
    return None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
