"""The page's HTTP server, on 127.0.0.1 unless told otherwise."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any, Final, final

from gradwire._cli.explore.application import Application
from gradwire._errors import UsageError
from gradwire._extras import import_extra

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8600
EXTRA: Final = "explore"
STOP_SECONDS: Final = 1
THREADS: Final = 8  # a page has a view, a poll and a proof under way; a server that is gone holds each for a while


@final
class PageServer:
    """Serves an application; the port is open once it is made.

    Args:
        application: answers.
        host: to listen at.
        port: to listen on; 0 for any free one.

    Raises:
        MissingExtra: waitress is not installed.
        UsageError: nothing can listen there.
    """

    def __init__(self, application: Application, host: str, port: int) -> None:
        waitress = import_extra("waitress", EXTRA)
        logging.getLogger("waitress").setLevel(logging.ERROR)  # a request that waits for a thread is no fault
        self._map: dict[int, Any] = {}
        self._server: Any = waitress.create_server(
            application, map=self._map, sockets=[_bind(host.strip("[]"), port)], threads=THREADS, ident=None
        )
        self._thread = threading.Thread(target=self._server.run, name="gradwire-explore", daemon=True)
        self.url = f"http://{host}:{self._server.effective_port}"

    def run(self) -> None:
        """Serve until Ctrl-C, and close the port."""
        self._server.run()
        self._server.close()

    def start(self) -> None:
        """Serve in a thread, until ``stop`` or the end of the process."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection, and wait for the thread that ``start`` made."""
        wasyncore = import_extra("waitress.wasyncore", EXTRA)
        self._server.task_dispatcher.shutdown(timeout=STOP_SECONDS)
        # In the thread that watches the connections, which ends when it has none left.
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._map))
        self._thread.join()


def _bind(host: str, port: int) -> socket.socket:
    """Open a port; waitress would leave a socket behind where that fails."""
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise UsageError(
            f"the page cannot be served at {host}:{port} ({error.strerror}): choose another host"
        ) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
    except OSError as error:
        bound.close()
        raise UsageError(
            f"the page cannot be served at {host}:{port} ({error.strerror}): choose another port, or 0"
        ) from error
    return bound
