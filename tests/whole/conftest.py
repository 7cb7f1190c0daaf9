"""A trained, exported and served logarithm, made once by the commands that a user types."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from gradwire._cli.main import main

COMMAND = Path(sys.executable).with_name("gradwire")
STOP_SECONDS = 60


def run_command(*arguments, cwd, expect=0, **kwargs) -> subprocess.CompletedProcess[str]:
    """Run the command; fail the test with its output when the exit code differs."""
    words = [str(COMMAND), *(str(argument) for argument in arguments)]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == expect, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@contextmanager
def run_server(*arguments, cwd):
    """Run `gradwire serve` on a free port; yield the process with its address, and stop it as Ctrl-C would."""
    words = [str(COMMAND), "serve", *(str(a) for a in arguments), "--engine", "embedded", "--port", "0"]
    server = subprocess.Popen(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if match := re.search(r"serving on (\S+), by the embedded server: .*, not for production", line):
                server.address = match[1]
                break
        else:
            pytest.fail(f"the server did not start:\n{''.join(lines)}")
        yield server
    finally:
        if server.poll() is None:
            os.kill(server.pid, signal.SIGINT)
        server.rest, _ = server.communicate(timeout=STOP_SECONDS)


@pytest.fixture(scope="session")
def gradwire():
    """The command, as a function."""
    return run_command


@pytest.fixture
def gradwire_here(capfd, monkeypatch):
    """The command, as a function, in this process: seconds less than one that has to import TensorFlow first."""

    def run(*arguments, cwd, expect=0):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["gradwire", *(str(argument) for argument in arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        shown = capfd.readouterr()
        assert code == expect, f"{arguments}: exit {code}\n{shown.out}\n{shown.err}"
        return subprocess.CompletedProcess(arguments, code, shown.out, shown.err)

    return run


@pytest.fixture(scope="session")
def serve():
    """`gradwire serve`, as a context manager."""
    return run_server


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A directory with build/log (trained) and models/log/1 (exported)."""
    place = tmp_path_factory.mktemp("workplace")
    run_command("train", "log", "--loss", "sobolev", "--samples", 19, "--seed", 0, "--to", "build/log", cwd=place)
    run_command("export", "build/log", "--to", "models/log", cwd=place)
    return place


@pytest.fixture(scope="session")
def address(workplace):
    """Where the package is served."""
    with run_server("models", cwd=workplace) as server:
        yield server.address
