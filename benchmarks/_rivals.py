"""The rivals: each in an environment of its own, behind a driver that speaks JSON (benchmarks/rivals/_driver.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DRIVERS = ROOT / "benchmarks" / "rivals"
ENVIRONMENTS = ROOT / ".venv-rivals"
ANSWER_SECONDS = 180  # the first answer of a loss waits for whatever compiles
BOTH = ("value", "sobolev")


@dataclass(frozen=True)
class Rival:
    """A rival: its name in tables, its driver, its environment (None for the project's own), what it can fit."""

    label: str
    driver: str
    environment: str | None
    losses: tuple[str, ...] = BOTH

    @property
    def python(self) -> Path:
        if self.environment is None:
            return Path(sys.executable)
        return ENVIRONMENTS / self.environment / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        return self.python.exists() and (self.environment is None or self._stamp.exists())

    @property
    def _stamp(self) -> Path:
        return ENVIRONMENTS / str(self.environment) / ".installed"


RIVALS = (
    Rival("reference training: keras model.fit, SGD 0.1", "keras", None, ("value",)),
    Rival("jenn", "jenn", "jenn"),
    Rival("smt GENN", "smt", "smt"),
    Rival("scikit-learn MLPRegressor, L-BFGS", "sklearn", "sklearn", ("value",)),
    Rival("DeepXDE, Adam + L-BFGS", "deepxde", "torch"),
    Rival("PyTorch L-BFGS, float64", "torch", "torch"),
    Rival("JAX optax.lbfgs, float64", "jax", "jax"),
)

# Their drivers serve log x over the wire, and call it (benchmarks/rivals/_wire.py). The first is the yardstick, the
# second is ours.
WIRE_RIVALS = (
    Rival("bare gRPC echo", "echo", None, ()),
    Rival("gradwire", "gradwire", None, ()),
    Rival("tensorflow-serving-api, embedded server", "serving", None, ()),
    Rival("Tesseract, HTTP", "tesseract", "tesseract", ()),
    Rival("UM-Bridge, HTTP", "umbridge", "umbridge", ()),
    Rival("Philote-MDO, gRPC", "philote", "philote", ()),
    Rival("PyTriton, gRPC", "pytriton", "pytriton", ()),
)

# Its driver is a program that reads files and writes files.
FILE_RIVAL = Rival("d. Beam RunInference, start of the pipeline included", "beam", "beam", ())
CHEBYSHEV = Rival("PyChebyshev tensor train", "pychebyshev", "pychebyshev", ())  # of benchmarks/chebyshev.py


class Driver:
    """A running driver; ``ask`` sends a request and waits for its response."""

    def __init__(self, rival: Rival) -> None:
        self.rival = rival
        self.failure = ""
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._place = tempfile.TemporaryDirectory(prefix="gradwire-rival-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [rival.python, DRIVERS / f"{rival.driver}_driver.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=self._place.name,  # some write logs where they run
        )
        self.versions: dict[str, str] = self._read() or {}

    def ask(self, **request: Any) -> dict[str, Any] | None:
        """Return the driver's response, or None once it has failed; ``failure`` then says how."""
        if self.failure:
            return None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError:
            self.failure = self._ended()
            return None
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._place.cleanup()

    def _read(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        patience = threading.Timer(ANSWER_SECONDS, self._process.kill)
        patience.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):  # libraries print to standard output while they are imported
                    return json.loads(line)
        finally:
            patience.cancel()
        self.failure = self._ended()
        return None

    def _ended(self) -> str:
        return f"failed: its driver ended with exit code {self._process.wait()}"


def started(rivals: Sequence[Rival]) -> dict[str, Driver]:
    """Start the drivers of the rivals that are installed, by label."""
    return {rival.label: Driver(rival) for rival in rivals if rival.is_installed}
