"""TensorFlow's log lines are dropped while it is imported; everything else on standard error arrives."""

from __future__ import annotations

import os

import pytest

from gradwire._cli.lazy_imports import _chatter_dropped

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
