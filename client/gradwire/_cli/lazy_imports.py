"""Lazy imports of the heavy packages, without TensorFlow's log lines on the terminal."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any, Final

from gradwire._extras import import_extra
from gradwire._fresh_process import start_ahead

# TF_CPP_MIN_LOG_LEVEL silences TensorFlow's C++ log from the end of its import on. Two or three lines ("I0000
# 00:00:1795401342.973865  2807 port.cc:153] …", with a notice above them) are written while its libraries load, before
# that setting is read (TensorFlow 2.21), so standard error is held back for as long as the import takes.
CHATTER: Final = re.compile(rb"^([IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\] |WARNING: All log messages before absl)")
STDERR: Final = 2

EXTRAS: Final = {
    "gradwire_training": "train",
    "gradwire_export": "train",
    "gradwire_serving": "serve",
}


# What the import of TensorFlow brings in where it is installed, and the command does not use then: of a server Keras, a
# third of the time, of the others what Keras plots and reads with, a quarter.
UNUSED: Final = {
    "gradwire_training": ("matplotlib", "pandas"),
    "gradwire_export": ("matplotlib", "pandas"),
    "gradwire_serving": ("keras",),
}


def import_heavy(name: str) -> Any:
    """Import one of the heavy packages.

    Export will run what it writes in a fresh process, which imports TensorFlow meanwhile.

    Raises:
        MissingExtra: a dependency of the package is not installed; the message names the extra to install.
    """
    if name == "gradwire_export" and "tensorflow" not in sys.modules:
        start_ahead()
    with quiet_tensorflow():
        with _hidden(UNUSED[name]), suppress(ImportError):  # which is named below
            importlib.import_module("tensorflow")
        return import_extra(name, EXTRAS[name])


@contextmanager
def _hidden(names: Iterable[str]) -> Generator[None]:
    """Have modules count as not installed; those that are imported already stay."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # pyright: ignore[reportArgumentType] - what None means there is in the language
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def quiet_tensorflow() -> Generator[None]:
    """Keep TensorFlow's log lines off the terminal, if it is imported within and afterwards."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's Python log ("Assets written to …") repeats what the command reports itself.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    with _chatter_dropped():
        yield


@contextmanager
def _chatter_dropped() -> Generator[None]:
    """Hold standard error back in a file, and write what is not TensorFlow's chatter afterwards."""
    sys.stderr.flush()
    terminal = os.dup(STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, STDERR)
            os.close(terminal)
            held.seek(0)
            os.write(STDERR, b"".join(line for line in held if not CHATTER.match(line)))
