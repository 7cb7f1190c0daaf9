"""A package behind TensorFlow Serving's gRPC services."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final, final

import grpc

from gradwire import _proto
from gradwire._address import TLS
from gradwire._chunks import IN_FLIGHT, MESSAGE_LIMIT, blocks_of, fly
from gradwire._errors import ServerError, UsageError
from gradwire._grpc_errors import translate
from gradwire._messages import Whole, fill_spec, parse, predict_request, read_outputs
from gradwire._signatures import read_signatures
from gradwire._transport import Transport, VersionStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from gradwire._address import Address
    from gradwire._chunks import Block
    from gradwire._contract import Signature

    _Method = grpc.UnaryUnaryMultiCallable[bytes, bytes]  # a generic for type checkers alone

# Before, every call in the child fails as if the server were gone, unless gRPC was told to expect forks
# (tried: 1.63, 1.68, 1.74, 1.76 and 1.78 fail; 1.80 and 1.85 work).
_FORK_SAFE: Final = (1, 80)
_FORK_SUPPORT: Final = "GRPC_ENABLE_FORK_SUPPORT"
_STATES: Final = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_CODES: Final[dict[int, str]] = {code.value[0]: code.name for code in grpc.StatusCode}
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),  # an answer larger than estimated is better than none
    ("grpc.max_send_message_length", -1),  # a single row may be larger than the limit of a chunk
    ("grpc.max_reconnect_backoff_ms", 2_000),  # finds a restarted server so soon, not in gRPC's 2 minutes
)


@final
class GrpcTransport(Transport):
    """Calls a model over gRPC.

    Args:
        address: which model, and where.
        message_limit: bytes; larger calls are cut into several.
        in_flight: how many pieces of one call are under way at once.

    Raises:
        UsageError: the files of ``address.tls`` cannot be read.
    """

    def __init__(
        self, address: Address, *, message_limit: int = MESSAGE_LIMIT, in_flight: int = IN_FLIGHT
    ) -> None:
        self._address = address
        self._message_limit = message_limit
        self._in_flight = in_flight
        self._inherited: list[_Line] = []
        self._line: _Line | None = _Line(address)

    @property
    def address(self) -> str:
        """The model and its server, for people."""
        return str(self._address)

    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Asks for the signatures; see ``Transport``."""
        request = _proto.MetadataRequest(metadata_field=[_proto.SIGNATURE_DEF])
        fill_spec(request.model_spec, self._address)
        answer = parse(_proto.MetadataResponse, self._call(self._open().metadata, request, timeout))
        if _proto.SIGNATURE_DEF not in answer.metadata:
            raise ServerError(f"{self._address} answers no signatures, expected some", code="INTERNAL")
        found = parse(_proto.SignatureDefMap, answer.metadata[_proto.SIGNATURE_DEF].value)
        return read_signatures(found.signature_def)

    def predict(
        self,
        signature: Signature,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout: float,
    ) -> Mapping[str, NDArray[Any]]:
        """Runs a signature; see ``Transport``.

        A call over the message limit travels in pieces, several at once, within the one timeout.
        """
        blocks = blocks_of(signature, inputs, outputs, self._message_limit)
        if len(blocks) == 1:
            request = predict_request(signature, inputs, outputs)
            fill_spec(request.model_spec, self._address)
            return read_outputs(
                parse(_proto.PredictResponse, self._call(self._open().predict, request, timeout))
            )

        def request_for(block: Block) -> Any:
            piece = {name: array[block.start : block.stop] for name, array in inputs.items()}
            return predict_request(signature, piece, outputs)

        return self._in_pieces(blocks, request_for, timeout)

    def status(self, *, timeout: float) -> list[VersionStatus]:
        """Asks for the state of every version; see ``Transport``."""
        request = _proto.StatusRequest()
        fill_spec(request.model_spec, self._address)
        answer = parse(_proto.StatusResponse, self._call(self._open().status, request, timeout))
        return [
            VersionStatus(
                version=entry.version,
                state=_STATES.get(entry.state, str(entry.state)),
                error=_shown(entry.status),
            )
            for entry in answer.model_version_status
        ]

    def close(self) -> None:
        """Closes the channel of this process."""
        line, self._line = self._line, None
        if line is not None and line.pid == os.getpid():
            line.channel.close()

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (self._address, self._message_limit, self._in_flight)

    def _open(self) -> _Line:
        """The line of this process: a channel does not outlive a fork, so the child makes its own."""
        line = self._line
        if line is None:
            raise UsageError(f"{self._address} was closed: connect again")
        if line.pid != os.getpid():
            _check_fork()
            self._inherited.append(line)  # kept, not closed: closing could wait for threads of the parent
            line = self._line = _Line(self._address)
        return line

    def _call(self, method: _Method, request: Any, timeout: float) -> bytes:
        try:
            return method(request.SerializeToString(), timeout=timeout)
        except grpc.RpcError as error:
            raise translate(error, self._address, timeout) from error

    def _in_pieces(
        self, blocks: Sequence[Block], request_for: Callable[[Block], Any], timeout: float
    ) -> Mapping[str, NDArray[Any]]:
        method, deadline = self._open().predict, time.monotonic() + timeout

        def fetch(version: int | None) -> Whole:
            whole = Whole(blocks[-1].stop)

            def start(block: Block) -> grpc.Future[bytes]:
                request = request_for(block)
                fill_spec(request.model_spec, self._address, version)
                left = max(0.0, deadline - time.monotonic())  # none left: gRPC says so itself
                return method.future(request.SerializeToString(), timeout=left)

            try:
                fly(blocks, start, whole.put, in_flight=self._in_flight)
            except grpc.RpcError as error:
                raise translate(error, self._address, timeout) from error
            return whole

        whole = fetch(None)
        if len(whole.versions) > 1:  # a new version came between two pieces: never a mixture
            whole = fetch(max(whole.versions))
        return whole.arrays


def _shown(status: Any) -> str:
    code = _CODES.get(status.error_code, str(status.error_code))
    return f"{code}: {status.error_message}" if status.error_code else ""


def _restore(address: Address, message_limit: int, in_flight: int) -> GrpcTransport:
    return GrpcTransport(address, message_limit=message_limit, in_flight=in_flight)


def _check_fork() -> None:
    major, minor = (int(part) for part in grpc.__version__.split(".")[:2])
    told = os.environ.get(_FORK_SUPPORT, "0").lower() not in ("", "0", "false", "no")
    if (major, minor) < _FORK_SAFE and not told:
        needed = ".".join(str(part) for part in _FORK_SAFE)
        raise UsageError(
            f"grpcio {grpc.__version__} does not survive a fork, expected {needed} or newer: get it, set "
            f"{_FORK_SUPPORT}=1 before Python starts, or start processes with 'spawn'"
        )


@final
class _Line:
    """A channel, its methods, and the process that they belong to."""

    def __init__(self, address: Address) -> None:
        self.pid = os.getpid()
        self.channel = _channel(address)
        self.predict: _Method = self.channel.unary_unary(_proto.PREDICT)
        self.metadata: _Method = self.channel.unary_unary(_proto.GET_MODEL_METADATA)
        self.status: _Method = self.channel.unary_unary(_proto.GET_MODEL_STATUS)


def _channel(address: Address) -> grpc.Channel:
    match address.tls:
        case None | False:
            return grpc.insecure_channel(address.target, _OPTIONS)
        case True:
            return grpc.secure_channel(address.target, grpc.ssl_channel_credentials(), _OPTIONS)
        case TLS() as files:
            return grpc.secure_channel(address.target, grpc.ssl_channel_credentials(*files.read()), _OPTIONS)
