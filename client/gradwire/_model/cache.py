"""Cached responses, keyed by the exact bytes of the request."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, final

from numpy.typing import NDArray

from gradwire._model.request import Arrays, PreparedRequest
from gradwire._wire import Prediction


@final
class ResponseCache:
    """The last responses, all of one version of the model; safe to use from several threads.

    A key is the signature, the outputs, and every input's name, dtype, shape and bytes; keys are compared as they are,
    not by a hash of them, so that no two requests can be taken for each other. Minus zero and zero are two requests,
    and so are two NaNs of different payloads.

    Args:
        size: how many responses to hold; the one that was used longest ago goes first. 0 for none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._version: int | None = None
        self._responses: OrderedDict[Hashable, Arrays] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, request: PreparedRequest) -> Hashable:
        """Return the key of a request; None where nothing is cached."""
        if not self._size:
            return None
        call = request.call
        inputs = tuple((name, array.dtype.str, array.shape, _bytes(array)) for name, array in call.inputs.items())
        return call.signature.name, request.outputs, inputs

    def get(self, key: Hashable) -> Arrays | None:
        """Return the response to a request, in read-only arrays; None where there is none."""
        with self._lock:
            if key not in self._responses:
                return None
            self._responses.move_to_end(key)
            return self._responses[key]

    def put(self, key: Hashable, response: Mapping[str, NDArray[Any]], arrays: Arrays) -> None:
        """Add a response; where it is of another version than those before, they go.

        Args:
            key: of the request, not None.
            response: as it came, with its version.
            arrays: of the response, checked.
        """
        version = response.version if isinstance(response, Prediction) else None
        with self._lock:
            if version != self._version:
                self._responses.clear()
                self._version = version
            self._responses[key] = _copy(arrays)
            while len(self._responses) > self._size:
                self._responses.popitem(last=False)


def _bytes(array: NDArray[Any]) -> Hashable:
    return tuple(array.reshape(-1).tolist()) if array.dtype == object else array.tobytes()


def _copy(arrays: Arrays) -> Arrays:
    copies = {name: array.copy() for name, array in arrays.items()}
    for array in copies.values():
        array.flags.writeable = False
    return copies
