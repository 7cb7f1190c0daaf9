"""One signature of a loaded model: which names it takes and gives, and what is said of wrong ones.

The texts are those of TensorFlow Serving (``predict_util.cc``, recorded in tests/conformance), letter for letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import tensorflow as tf

from gradwire._errors import ServerError
from gradwire_serving._core.status import status_of
from gradwire_serving._wire import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from tensorflow.core.protobuf import meta_graph_pb2

    from gradwire_serving._core.session import LoadedSession

DEADLINE_EXCEEDED: Final = "Deadline Exceeded"


@final
class SignatureCall:
    """A signature bound to its session.

    Args:
        signature: its definition.
        session: where it runs.

    Raises:
        ServerError: INVALID_ARGUMENT, a tensor of the signature is not in the graph.
    """

    __slots__ = ("_defaults", "_fetches", "_inputs", "_names", "_session")

    def __init__(self, signature: meta_graph_pb2.SignatureDef, session: LoadedSession) -> None:
        self._session = session
        self._names = {alias: info.name for alias, info in sorted(signature.inputs.items())}
        self._inputs = {alias: _output(session, name) for alias, name in self._names.items()}
        self._fetches = {alias: _output(session, info.name) for alias, info in sorted(signature.outputs.items())}
        self._defaults = {alias: decode(tensor, alias) for alias, tensor in sorted(signature.defaults.items())}

    def check_inputs(self, sent: Iterable[str]) -> None:
        """Checks the names of the inputs.

        Raises:
            ServerError: INVALID_ARGUMENT, names are missing or unknown.
        """
        names = sorted(sent)
        if len(names) > len(self._inputs) or (len(names) < len(self._inputs) and not self._defaults):
            extra, missing = sorted(set(names) - set(self._inputs)), sorted(set(self._inputs) - set(names))
            raise _invalid(
                f"input size does not match signature: {len(names)}!={len(self._inputs)} len({{{','.join(names)}}}) != "
                f"len({{{','.join(self._inputs)}}}). Sent extra: {{{','.join(extra)}}}. "
                f"Missing but required: {{{','.join(missing)}}}."
            )
        for alias in self._inputs:
            if alias not in names and alias not in self._defaults:
                raise _invalid(
                    f"Signature input alias: {alias}(feed name: {self._names[alias]}) not found in request and no "
                    f"default value provided. Inputs expected to be in the request {{{','.join(names)}}}, or default "
                    f"input alias set: {','.join(self._defaults)}"
                )
        used = [name for name in names if name in self._inputs]
        if len(used) < len(names):
            raise _invalid(
                f"Inputs contains invalid name. Used request inputs: {','.join(used)}, request input: {','.join(names)}"
            )

    def select_outputs(self, wanted: Sequence[str] | None) -> list[str]:
        """Checks a filter of outputs; an empty one stands for all.

        Raises:
            ServerError: INVALID_ARGUMENT, a name is unknown or given twice.
        """
        if not wanted:
            return list(self._fetches)
        for position, alias in enumerate(wanted):
            if alias not in self._fetches:
                raise _invalid(
                    f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                    f"{{{','.join(self._fetches)}}}."
                )
            if alias in wanted[:position]:
                raise _invalid(f"duplicate output tensor alias: {alias}")
        return list(wanted)

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str], timeout: float | None
    ) -> dict[str, np.ndarray]:
        """Computes outputs from inputs whose names have been checked.

        Args:
            inputs: raw arrays by name; absent ones take the signature's default.
            outputs: checked names.
            timeout: seconds; None for no limit.

        Raises:
            ServerError: with the code and the text that the runtime gives.
        """
        feeds = {self._inputs[alias]: array for alias, array in (self._defaults | dict(inputs)).items()}
        try:
            results = self._session.run(feeds, [self._fetches[alias] for alias in outputs], timeout)
        except tf.errors.DeadlineExceededError as error:
            # In gRPC's words, which the caller sees when its own clock is a little earlier than this one.
            raise ServerError(DEADLINE_EXCEEDED, code="DEADLINE_EXCEEDED") from error
        except tf.errors.OpError as error:
            status = status_of(error)
            raise ServerError(status.message, code=status.code) from error
        return dict(zip(outputs, results, strict=True))


def _output(session: LoadedSession, tensor_name: str) -> Any:
    try:
        return session.output(tensor_name)
    except (KeyError, ValueError) as error:
        raise _invalid(f"Tensor {tensor_name!r} of the signature was not found in the graph") from error


def _invalid(message: str) -> ServerError:
    return ServerError(message, code="INVALID_ARGUMENT")
