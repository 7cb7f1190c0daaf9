"""Requests to responses: the API, the page of metrics, CORS, and status codes as those of HTTP."""

from __future__ import annotations

import http
import logging
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, final

from gradwire_serving._config import ServerOptions, metrics_path, token_of
from gradwire_serving._core import (
    INTERNAL_ERROR,
    OUT_OF_MEMORY,
    Code,
    ConcurrencyLimit,
    Manager,
    Memory,
    Resolver,
    StatusError,
    event,
    invalid_argument,
    log,
)
from gradwire_serving._metrics import Metrics
from gradwire_serving._rest.json_text import parsed_size
from gradwire_serving._rest.responses import error_body
from gradwire_serving._rest.routes import API, Methods, route_of

# 64 MiB: some three million numbers, which Python parses to some 200 MiB; more is for gRPC.
MAX_BODY_BYTES: Final = 2**26
JSON: Final = ("Content-Type", "application/json")
CORS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)
CORS_WITH_TOKEN: Final = (*CORS[:-1], ("Access-Control-Allow-Headers", "Content-Type, Authorization"))
CHALLENGE: Final = ("WWW-Authenticate", "Bearer")
NOT_FOUND_PAGE: Final = (
    b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
)
TIMED_OUT: Final = "Timed out waiting for notification"

_HTTP_STATUS: Final = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}  # any other: 500

Environ: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True, slots=True)
class Response:
    """A response of HTTP."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default_factory=tuple)
    body: bytes = b""


@final
class Application:
    """The server as a WSGI application (PEP 3333)."""

    def __init__(
        self,
        resolver: Resolver,
        manager: Manager,
        metrics: Metrics | None,
        limit: ConcurrencyLimit,
        memory: Memory,
        options: ServerOptions,
    ) -> None:
        self._resolver = resolver
        self._memory = memory
        self._token = token_of(options)
        self._metrics = metrics
        self._methods = Methods(resolver, manager, metrics)
        self._limit = limit
        self._metrics_path = metrics_path(options.monitoring_config_file)
        self._timeout = options.rest_api_timeout_in_ms / 1000
        self._log_requests = options.log_requests
        cors = CORS if self._token is None else CORS_WITH_TOKEN
        self._cors = cors if options.rest_api_enable_cors_support else ()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Respond to one request."""
        response = self._respond(environ)
        headers = list(response.headers)
        head = environ["REQUEST_METHOD"] == "HEAD"
        if not head:
            headers.append(("Content-Length", str(len(response.body))))
        start_response(f"{response.status} {_phrase(response.status)}", headers)
        return [] if head else [response.body]

    def _respond(self, environ: Environ) -> Response:
        path = environ["REQUEST_URI"]
        if self._token is not None and environ["REQUEST_METHOD"] != "OPTIONS":  # browsers send those without a token
            try:
                self._token.check(environ.get("HTTP_AUTHORIZATION"))
            except StatusError as error:
                return Response(
                    _HTTP_STATUS[error.status.code],
                    (JSON, CHALLENGE, *self._cors),
                    error_body(error.status.message).encode(),
                )
        if self._metrics is not None and path == self._metrics_path:
            return Response(200, (("Content-Type", "text/plain"),), self._metrics.page())
        if not API.fullmatch(path):
            return Response(404, (("Content-Type", "text/html"),), NOT_FOUND_PAGE)
        if environ["REQUEST_METHOD"] == "OPTIONS":
            html = ("Content-Type", "text/html; charset=ISO-8859-1")
            return Response(200 if self._cors else 400, (*self._cors, html))
        return self._call(environ["REQUEST_METHOD"], path, environ)

    def _call(self, method: str, path: str, environ: Environ) -> Response:
        start = time.monotonic()
        code, model, api = Code.OK, "", ""
        try:
            with self._limit.slot():
                route = route_of(method, path)
                model, api = route.model.name, route.method
                sent = _body(environ)
                with self._memory.held(parsed_size(sent)):
                    body = self._methods.run(route, sent, start + self._timeout)
        except StatusError as error:
            code = error.status.code
            body = error_body(TIMED_OUT if code is Code.DEADLINE_EXCEEDED else error.status.message)
        except MemoryError:
            code, body = Code.RESOURCE_EXHAUSTED, error_body(OUT_OF_MEMORY)
        except Exception:  # noqa: BLE001 - whatever it is, its caller gets a status, and the log the stack
            log.exception("a call failed")
            code, body = Code.INTERNAL, error_body(INTERNAL_ERROR)
        if self._metrics is not None:
            label = self._resolver.label(model)
            self._metrics.request(label, code, time.monotonic() - start, api=api, entrypoint="REST")
        if self._log_requests:
            event(logging.INFO, "request", method=f"{method} {path}", code=code.name, seconds=time.monotonic() - start)
        content = body.encode(errors="surrogateescape")  # bytes of an output that are not UTF-8 pass as they are
        return Response(_HTTP_STATUS.get(code, 500), (JSON, *self._cors), content)


def _body(environ: Environ) -> bytes:
    body: bytes = environ["wsgi.input"].read()
    if environ.get("HTTP_CONTENT_ENCODING", "").strip().lower() != "gzip":
        return body
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: the format is gzip's
    try:
        expanded = unzip.decompress(body, MAX_BODY_BYTES)
    except zlib.error as error:
        raise invalid_argument("the body is not gzip, which its Content-Encoding says") from error
    if not unzip.eof:
        raise invalid_argument(f"the body is cut off, or more than {MAX_BODY_BYTES} bytes once it is decompressed")
    return expanded


def _phrase(status: int) -> str:
    return "Client Closed Request" if status == 499 else http.HTTPStatus(status).phrase  # noqa: PLR2004 - not in HTTP
