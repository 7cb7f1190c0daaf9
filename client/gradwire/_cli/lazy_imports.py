"""The heavy folders, imported when a subcommand needs them, without TensorFlow's chatter."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from typing import Any, Final

from gradwire._extras import import_extra

# Lines of TensorFlow's C++ log ("I0000 00:00:1795401342.973865  2807 port.cc:153] …"), which it writes before any
# setting of its own could silence it; and the notice that it does so.
CHATTER: Final = re.compile(rb"^([IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\] |WARNING: All log messages before absl)")
STDERR: Final = 2

EXTRAS: Final = {
    "gradwire_training": "train",
    "gradwire_export": "train",
    "gradwire_serving": "serve",
}


def heavy(name: str) -> Any:
    """Imports one of the heavy packages.

    Args:
        name: of the package.

    Returns:
        The module.

    Raises:
        MissingExtra: something that it needs is not installed; says what to install.
    """
    _silence_tensorflow()
    # TensorFlow's Python log ("Assets written to …") says nothing that the command does not say itself.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    return import_extra(name, EXTRAS[name])


_silenced: list[int] = []


def _silence_tensorflow() -> None:
    """Filters TensorFlow's own log lines out of standard error; everything else still gets there."""
    if _silenced:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    real = os.dup(STDERR)
    read_end, write_end = os.pipe()
    os.dup2(write_end, STDERR)
    os.close(write_end)
    _silenced.append(real)
    # Python's own writes go past the filter, so that progress bars and prompts are not held up by it.
    sys.stderr = os.fdopen(os.dup(real), "w", buffering=1, errors="replace")
    threading.Thread(target=_filter, args=(read_end, real), daemon=True, name="gradwire-stderr").start()


def _filter(read_end: int, real: int) -> None:
    with os.fdopen(read_end, "rb") as lines:
        for line in lines:
            if not CHATTER.match(line):
                os.write(real, line)


def restore_stderr() -> None:
    """Undoes the filter, before another program takes over the process."""
    while _silenced:
        os.dup2(_silenced.pop(), STDERR)
