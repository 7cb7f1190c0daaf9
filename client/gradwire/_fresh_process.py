"""A process that has never seen a model, in which export runs what it wrote.

Most of its time goes into importing TensorFlow. A command that knows it will need one has it started before it imports
TensorFlow itself, and both import at once.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from typing import Final

# Keras, which TensorFlow imports with itself if it is there, is a third of the import, and Serving has none.
PROGRAM: Final = """
import sys
sys.modules["keras"] = None
from gradwire_serving._fresh_process import main
main()
"""
ENVIRONMENT: Final = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

_started: list[subprocess.Popen[str]] = []


def start_ahead() -> None:
    """Start the process that the next ``fresh_process`` is to return; it ends with this one if nobody takes it."""
    process = _start()
    _started.append(process)
    atexit.register(_end, process)


def fresh_process() -> subprocess.Popen[str]:
    """Return a process that reads one line, as ``gradwire_serving._fresh_process`` has it, and does what it says."""
    return _started.pop() if _started else _start()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own module, no shell
        [sys.executable, "-c", PROGRAM],
        env=os.environ | ENVIRONMENT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.communicate()
