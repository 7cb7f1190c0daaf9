"""Run a planned server in the foreground until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from gradwire_serving._config import ServerOptions
from gradwire_serving._core import SIGNAL_INTERVAL, JsonFormatter, TextFormatter, log
from gradwire_serving._launch.command import plan
from gradwire_serving._launch.engines import EMBEDDED
from gradwire_serving._launch.process import Started, run
from gradwire_serving._server import DEFAULT_GRACE, EmbeddedServer

STOP_MARGIN: Final = 1.0  # seconds beyond the grace, for the port and the models to be closed
OVERDUE: Final = 1  # exit code of a server that was cut off


def launch(
    engine: str,
    options: ServerOptions,
    *,
    say: Callable[[str], None],
    ready: Callable[[Started], None] = lambda _server: None,
    grace: float = DEFAULT_GRACE,
) -> int:
    """Run a server in the foreground until it ends; call it from the main thread.

    The embedded server runs until SIGINT or SIGTERM, and then drains. Any other engine is a process of its own, which
    gets the signals of this one.

    Args:
        engine: one of ``ENGINES``, such as ``find_engine`` returns.
        options: what to serve, and how.
        say: shows a line to the user.
        ready: called with the server once every model has an available version.
        grace: seconds that calls in flight have when the embedded server stops.

    Returns:
        Its exit code.

    Raises:
        UsageError: the options cannot be used, the port is in use, or the program is not on the PATH.
        PackageError: the embedded server could not load a version.
    """
    if engine == EMBEDDED:
        with _log_to_stderr(options.log_format):
            _serve(EmbeddedServer(options), say, ready, grace)
        return 0
    planned = plan(engine, options)
    planned.write_files()
    if planned.notice:
        say(planned.notice)
    say(planned.shell_text())
    return run(planned, options, ready)


def _serve(server: EmbeddedServer, say: Callable[[str], None], ready: Callable[[Started], None], grace: float) -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: drain, then end
    try:
        server.start()
        ready(server)
        while True:
            time.sleep(SIGNAL_INTERVAL)
    except KeyboardInterrupt:
        say(f"stopping: calls in flight have {grace:g} s to end")
        _end_within(grace + STOP_MARGIN)
    finally:
        server.stop(grace)
        signal.signal(signal.SIGTERM, before)


def _end_within(seconds: float) -> None:
    """End the process after that time, whatever still runs: a computation cannot be interrupted from outside."""
    timer = threading.Timer(seconds, os._exit, (OVERDUE,))
    timer.daemon = True
    timer.start()


@contextmanager
def _log_to_stderr(log_format: str) -> Iterator[None]:
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
