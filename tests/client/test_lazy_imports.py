"""TensorFlow's log lines are dropped while it is imported; everything else on standard error arrives."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

from gradwire import _fresh_process
from gradwire._cli.lazy_imports import _chatter_dropped, _hidden

CHATTER = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795401342.973865    2807 port.cc:153] oneDNN custom operations are on.\n"
    b"E0000 00:00:1795401342.973866    2807 cuda_platform.cc:52] failed call to cuInit\n"
)


def test_only_log_lines_are_dropped(capfd):
    """Other lines arrive, during the import and after it."""
    with _chatter_dropped():
        os.write(2, CHATTER + b"a library's own line\n")
        os.write(2, CHATTER)
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "a library's own line\nlater\n"


def test_a_failed_import_shows_its_output(capfd):
    """Standard error is restored whatever happens."""

    def fail():
        with _chatter_dropped():
            os.write(2, b"cannot load libfoo.so\n")
            raise ImportError

    with pytest.raises(ImportError):
        fail()
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "cannot load libfoo.so\nlater\n"


def test_hidden_modules_are_there_again_afterwards(monkeypatch):
    """What counts as not installed within the block can be imported after it; what is imported already stays."""
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with _hidden(["this", "os"]):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("this")
        assert importlib.import_module("os") is os
    assert "this" not in sys.modules
    assert sys.modules["os"] is os


def test_a_process_that_was_started_ahead_is_the_next_one(monkeypatch):
    """It waits for its line; the one after it is another. Without a line it ends, having done nothing."""
    monkeypatch.setattr(_fresh_process, "PROGRAM", "import sys; sys.exit(len(sys.stdin.readline()))")
    _fresh_process.start_ahead()
    ahead = _fresh_process._started[-1]
    codes = []
    for line in ("ab\n", ""):
        with _fresh_process.fresh_process() as process:
            assert (process is ahead) == (line != "")
            process.communicate(line)
        codes.append(process.returncode)
    assert codes == [3, 0]
