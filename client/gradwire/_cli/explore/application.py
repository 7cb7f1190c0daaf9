"""The page's HTTP side, as a WSGI application: files of its own, and JSON from an ``Explorer``.

It trusts no one. A page of another site must neither read nor trigger anything here: a request has to name this machine
(a site's name that is led to 127.0.0.1, DNS rebinding, does not), a POST has to be JSON of this page's own origin, and
no answer may be read from elsewhere. What a card says reaches the page as JSON, and is shown as text.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from ipaddress import ip_address
from typing import Any, Final, final
from urllib.parse import parse_qs

from gradwire._cli.explore.explorer import Explorer
from gradwire._errors import DeadlineExceeded, GradwireError, ModelNotFound, ServerUnreachable, UsageError
from gradwire._package import strict_json

FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("page", "server", "dom", "controls", "curves", "map", "numbers", "card")
    },
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/uplot/uPlot.iife.min.js": ("uplot/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    "/uplot/uPlot.min.css": ("uplot/uPlot.min.css", "text/css; charset=utf-8"),
}
# Nothing but the files above, no markup from text (trusted types), and no frame around it.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
LARGEST: Final = 2**16  # bytes of a request: a point of 48 sliders has one or two thousand
REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
STATUS: Final = (  # of errors, 502 of any other; the page waits for a server of 503
    ((ServerUnreachable, DeadlineExceeded), 503),
    (UsageError, 400),
    (ModelNotFound, 404),
)

Start = Callable[[str, list[tuple[str, str]]], Any]


@final
class Refusal(Exception):  # noqa: N818 - it says what happened
    """A request that is not answered, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@final
class Application:
    """Answers the page's requests.

    Args:
        explorer: computes.
        host: the address that the server listens at, as the user wrote it: that name may be in a request's ``Host``.
    """

    def __init__(self, explorer: Explorer, host: str) -> None:
        self._explorer = explorer
        self._hosts = {"localhost", host.lower().strip("[]")}
        if not _is_loopback(host):
            self._hosts |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        folder = resources.files("gradwire._cli.explore").joinpath("page")
        self._files = {path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in FILES.items()}

    def __call__(self, environ: Mapping[str, Any], start: Start) -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        try:
            status, kind, body = self._answer(environ)
        except Refusal as refusal:
            status, kind, body = _error(refusal.status, "Refusal", str(refusal))
        except GradwireError as error:
            code = next((code for kinds, code in STATUS if isinstance(error, kinds)), 502)
            status, kind, body = _error(code, type(error).__name__, str(error))
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *HEADERS]
        start(f"{status} {REASONS[status]}", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _answer(self, environ: Mapping[str, Any]) -> tuple[int, str, bytes]:
        host = str(environ.get("HTTP_HOST", ""))
        if not self._is_own(host):
            raise Refusal(403, f"a request for the host {host!r}, which is not this machine: open the address printed")
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if path in self._files:
            if method not in ("GET", "HEAD"):
                raise Refusal(405, f"{method} of a file, expected GET")
            body, kind = self._files[path]
            return 200, kind, body
        fields = {name: values[-1] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        answer = self._get(path, fields) if method == "GET" else self._post(path, fields, environ, host)
        return 200, "application/json", strict_json(answer).encode()

    def _get(self, path: str, fields: Mapping[str, str]) -> Any:
        model, at = fields.get("model", ""), fields.get("at", "newest")
        match path:
            case "/api/models":
                return self._explorer.models()
            case "/api/status":
                return self._explorer.status(model, fields.get("label", ""))
            case "/api/describe":
                return self._explorer.describe(model, at)
            case "/api/card":
                return self._explorer.card(model, at)
            case _:
                raise Refusal(404, f"there is no {path!r} here")

    def _post(self, path: str, fields: Mapping[str, str], environ: Mapping[str, Any], host: str) -> Any:
        if path not in ("/api/view", "/api/verify"):
            raise Refusal(
                405 if path.startswith("/api/") else 404, f"nothing at {path!r} takes {environ['REQUEST_METHOD']}"
            )
        if environ["REQUEST_METHOD"] != "POST":
            raise Refusal(405, f"{environ['REQUEST_METHOD']} of {path}, expected POST")
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin != f"http://{host}":
            raise Refusal(403, f"a request of the page {origin!r}, expected one of this page")
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip() != "application/json":
            raise Refusal(415, "a body that is not application/json")
        raw = _json(environ)
        if path == "/api/verify":
            return self._explorer.verify(fields.get("model", ""), fields.get("at", "newest"))
        return self._explorer.view(fields.get("model", ""), raw)

    def _is_own(self, host: str) -> bool:
        """Whether a ``Host`` names this machine: by an address, which no site's name is, or by a name of its own."""
        name = host.rpartition(":")[0] if host.rpartition("]")[2].count(":") else host
        name = name.lower().removeprefix("[").removesuffix("]")
        return name in self._hosts or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host.strip("[]")) and ip_address(host.strip("[]")).is_loopback)


def _json(environ: Mapping[str, Any]) -> Any:
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > LARGEST:
        raise Refusal(413, f"a body of {length} bytes, expected at most {LARGEST}")
    try:
        return json.loads(environ["wsgi.input"].read(int(length)))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"a body that is not JSON: {error}") from error


def _error(status: int, kind: str, message: str) -> tuple[int, str, bytes]:
    return status, "application/json", strict_json({"error": kind, "message": message}).encode()
