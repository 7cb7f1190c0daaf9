"""Run a planned server in the foreground until it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from gradwire._errors import UsageError
from gradwire_serving._config import ServerOptions
from gradwire_serving._core import SIGNAL_INTERVAL
from gradwire_serving._launch.command import plan
from gradwire_serving._launch.engines import EMBEDDED
from gradwire_serving._server import DEFAULT_GRACE, EmbeddedServer


def launch(
    engine: str,
    options: ServerOptions,
    *,
    say: Callable[[str], None],
    ready: Callable[[EmbeddedServer], None] = lambda _server: None,
    grace: float = DEFAULT_GRACE,
) -> None:
    """Run a server in the foreground; call it from the main thread.

    The embedded server runs until SIGINT or SIGTERM, and then drains. Any other engine takes this process's place, so
    that signals, output and exit code are its own, and the call does not return.

    Args:
        engine: one of ``ENGINES``, such as ``find_engine`` returns.
        options: what to serve, and how.
        say: shows a line to the user.
        ready: called with the embedded server once it serves.
        grace: seconds that calls in flight have when the embedded server stops.

    Raises:
        UsageError: the options cannot be used, the port is in use, or the program is not on the PATH.
        PackageError: the embedded server could not load a version.
    """
    if engine == EMBEDDED:
        _serve(EmbeddedServer(options), say, ready, grace)
        return
    planned = plan(engine, options)
    planned.write_config()
    if planned.notice:
        say(planned.notice)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(planned.argv[0], planned.argv)  # noqa: S606 - without a shell; the arguments are ours
    except FileNotFoundError as error:
        raise UsageError(f"{planned.argv[0]} is not on the PATH; install it, or use --engine embedded") from error


def _serve(
    server: EmbeddedServer, say: Callable[[str], None], ready: Callable[[EmbeddedServer], None], grace: float
) -> None:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: drain, then end
    try:
        server.start()
        ready(server)
        while True:
            time.sleep(SIGNAL_INTERVAL)
    except KeyboardInterrupt:
        say(f"stopping: calls in flight have {grace:g} s to end")
    finally:
        server.stop(grace)
        signal.signal(signal.SIGTERM, before)
