"""A program that lets libFuzzer, by the lines that a message reaches, look for one that the server has no status for.

``python tests/serving/fuzz_guided.py MODELS CORPUS RUNS``: a directory with the models ``log`` and ``types``, one of
messages to begin with, and how many to try. The first byte of each chooses the method. Nothing is sent: the handlers
are called, so that a second is worth thousands of messages. It ends with another code than 0 where one has no status.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import atheris

with atheris.instrument_imports(include=["gradwire_serving"]):
    from gradwire_serving import EmbeddedServer, ServerOptions
    from gradwire_serving._core import Allowance
    from gradwire_serving._wire import predict

import grpc
from google.protobuf.message import DecodeError

FAULT = "the server failed"
METHODS = (
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/Predict",
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.ModelService/GetModelStatus",
)
REST_STATUSES = {"200", "400", "404", "429", "501"}


class AbortedError(Exception):
    """What gRPC raises where a handler ends a call."""


class Context:
    """As much of a call's context as handlers use."""

    def time_remaining(self) -> float:
        """Gives the time that every call has."""
        return 10.0

    def add_callback(self, _callback: Any) -> bool:
        """Says that the caller is there."""
        return True

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """Ends the call."""
        assert code not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED), details
        assert FAULT not in details, details
        raise AbortedError


def main(models: Path, corpus: Path, runs: int) -> None:
    """Look for such a message."""
    server = EmbeddedServer(ServerOptions(port=0, rest_api_port=-1, directory=models))
    server.start()
    handlers, rest = server._grpc._handlers, server._rest
    assert rest is not None

    def attempt(data: bytes) -> None:
        kind, message = (data[0] % (len(METHODS) + 1) if data else 0), bytes(data[1:])
        if kind == len(METHODS):
            _post(rest._application, message)
            return
        if kind == 0:
            _compare(message)
        with suppress(AbortedError):
            handlers[METHODS[kind]].stream_unary(iter((message,)), Context())

    atheris.Setup([sys.argv[0], f"-runs={runs}", "-max_len=256", "-seed=1", "-rss_limit_mb=8192", str(corpus)], attempt)
    atheris.Fuzz()


def _post(application: Any, body: bytes) -> None:
    statuses: list[str] = []
    environ = {"REQUEST_METHOD": "POST", "REQUEST_URI": "/v1/models/log:predict", "wsgi.input": io.BytesIO(body)}
    response = list(application(environ, lambda status, _: statuses.append(status)))
    assert statuses[0].split()[0] in REST_STATUSES, response


def _compare(message: bytes) -> None:
    """Compare the two readers of a request: by its bytes and by protobuf's objects."""
    plain = predict._read_plain(message)
    if plain is None:
        return
    try:
        other = predict._read_any(message, Allowance())
    except DecodeError as error:
        raise AssertionError("protobuf does not read it") from error
    assert list(plain.output_filter) == list(other.output_filter)
    assert plain.inputs.keys() == other.inputs.keys()
    for name, array in plain.inputs.items():
        assert (array.dtype, array.shape, array.tobytes()) == (
            other.inputs[name].dtype,
            other.inputs[name].shape,
            other.inputs[name].tobytes(),
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
