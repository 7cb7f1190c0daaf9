"""The HTTP server of REST: its port, its limits, and its threads.

waitress reads requests in a thread of its own and hands whole ones to its workers, so a client that sends slowly holds
none of them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any, Final, final

from typing_extensions import override
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer

from gradwire_serving._config import ANY_PORT, ServerOptions, address_text, bind
from gradwire_serving._core import ConcurrencyLimit, Manager, Memory, Resolver
from gradwire_serving._metrics import Metrics
from gradwire_serving._rest.application import MAX_BODY_BYTES, Application

MAX_HEADER_BYTES: Final = 2**16
MAX_CONNECTIONS: Final = 1000
IDLE_SECONDS: Final = 120  # a connection without a request is closed after that long
RECEIVE_SECONDS: Final = 60.0  # a request has to be whole within that time of its first byte
POLL_SECONDS: Final = 1  # between two looks at who is idle or slow
LINGER: Final = 0.25  # seconds that a stop has at least, for responses that are computed
WRITE_SECONDS: Final = 0.01  # between two looks at whether they are written
FLAG: Final = "--rest_api_port"


@final
class RestFrontEnd:
    """Serves TensorFlow Serving's REST API, and the page of metrics where the options have one."""

    def __init__(
        self, resolver: Resolver, manager: Manager, metrics: Metrics | None, memory: Memory, options: ServerOptions
    ) -> None:
        self._host = options.host
        self._port = 0 if options.rest_api_port == ANY_PORT else options.rest_api_port
        self._threads = options.rest_threads
        self._limit = ConcurrencyLimit(self._threads)
        self._application = Application(resolver, manager, metrics, self._limit, memory, options)
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The TCP port, once started."""
        return self._port

    @property
    def address(self) -> str:
        """The address that clients connect to, once started."""
        return address_text(self._host, self._port)

    def check(self) -> None:
        """Raise if the port cannot be opened; models may take minutes to load, and this need not wait for them."""
        bind(self._host, self._port, FLAG).close()

    def start(self) -> None:
        """Open the port."""
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a call that waits for a thread is no fault
        bound = bind(self._host, self._port, FLAG)
        self._port = bound.getsockname()[1]
        settings = Adjustments(
            sockets=[bound],
            threads=self._threads,
            ident=None,
            connection_limit=MAX_CONNECTIONS,
            asyncore_use_poll=True,  # or the descriptors of a thousand connections would be too many for select()
            asyncore_loop_timeout=POLL_SECONDS,
            cleanup_interval=POLL_SECONDS,
            channel_timeout=IDLE_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            log_socket_errors=False,
        )
        where = (bound.family, bound.type, bound.proto, bound.getsockname())
        self._server = _Server(self._application, {}, _sock=bound, bind_socket=False, adj=settings, sockinfo=where)
        threading.Thread(target=self._server.run, name="gradwire-rest", daemon=True).start()

    def stop(self, grace: float) -> None:
        """Refuse new calls, let the running ones end within ``grace`` seconds, and close the port."""
        deadline = time.monotonic() + grace
        self._limit.close(grace)
        if self._server is not None:
            self._server.stop(max(LINGER, deadline - time.monotonic()))


@final
class _Channel(HTTPChannel):
    """A connection that knows when the request that is on its way began to come."""

    request_began = 0.0

    @override
    def received(self, data: bytes) -> bool:
        if self.request is None:
            self.request_began = time.time()
        return super().received(data)


@final
class _Server(TcpWSGIServer):
    """waitress's server, with a limit on how long a request may take to come, and a way to stop it."""

    channel_class = _Channel

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self._stopped = threading.Event()
        super().__init__(*arguments, **settings)

    @override
    def run(self) -> None:
        super().run()
        self._stopped.set()

    def stop(self, grace: float) -> None:
        """Let responses be written within ``grace`` seconds, close every connection, and end the threads."""
        deadline = time.monotonic() + grace
        self.task_dispatcher.shutdown(timeout=math.ceil(grace))
        while time.monotonic() < deadline and any(c.total_outbufs_len for c in list(self.active_channels.values())):
            time.sleep(WRITE_SECONDS)
        self.trigger.pull_trigger(lambda: wasyncore.close_all(self._map))  # ends run(), which then watches nothing
        self._stopped.wait()

    @override
    def maintenance(self, now: float) -> None:
        super().maintenance(int(now))
        for channel in self.active_channels.values():
            if channel.request is not None and now - channel.request_began > RECEIVE_SECONDS:
                channel.will_close = True
