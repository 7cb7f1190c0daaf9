"""Counting calls of PredictionService for the page of metrics, as TensorFlow Serving counts them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from gradwire_serving._core import Code, Resolver, status_of

if TYPE_CHECKING:  # a server without that page starts faster without its library
    from gradwire_serving._metrics import Metrics

ENTRYPOINT: Final = "GRPC"

Response = TypeVar("Response", bound="bytes | Future[bytes]")


@final
class RequestCounter:
    """Counts calls by model and status, and the times of those that succeed; nothing without metrics."""

    def __init__(self, resolver: Resolver, metrics: Metrics | None) -> None:
        self._resolver = resolver
        self._metrics = metrics

    def run(self, api: str, model: str, call: Callable[[], Response]) -> Response:
        """Carry out a call, and count it when its response has come."""
        metrics = self._metrics
        if metrics is None:
            return call()
        began = time.monotonic()

        def record(code: Code) -> None:
            seconds = time.monotonic() - began
            metrics.request(self._resolver.label(model), code, seconds, api=api, entrypoint=ENTRYPOINT)

        try:
            response = call()
        except Exception as error:
            record(status_of(error).code)
            raise
        if isinstance(response, Future):
            response.add_done_callback(lambda done: record(_code(done)))
        else:
            record(Code.OK)
        return response


def _code(done: Future[Any]) -> Code:
    if done.cancelled():
        return Code.CANCELLED
    error = done.exception()
    return status_of(error).code if isinstance(error, Exception) else Code.OK
