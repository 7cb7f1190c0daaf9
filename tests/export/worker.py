"""One fresh process that runs what the tests export: what ``run_fresh`` does, for all packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradwire._errors import PackageError
from gradwire_export._checks.fresh_process import Request, Response, read_responses, write_requests

_WORKER = r"""
import sys
from pathlib import Path
from gradwire._errors import GradwireError
from gradwire_serving._fresh_process import run_requests

for line in sys.stdin:
    try:
        run_requests(*map(Path, line.rstrip("\n").split("\t")))
        print("done", flush=True)
    except GradwireError as error:
        print(" ".join(str(error).split()), flush=True)
"""


class Worker:
    """Runs packages in one process that has never seen their models.

    A process of its own for each package would spend most of its time on importing TensorFlow.

    Attributes:
        last: pairs of request and response of the last run.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.last: list[tuple[Request, Response]] = []

    def __call__(self, package: Path, requests: list[Request]) -> list[Response]:
        """Do what ``run_fresh`` does."""
        request_file, response_file = package.parent / ".requests.npz", package.parent / ".responses.npz"
        try:
            write_requests(request_file, requests)
            print(package, request_file, response_file, sep="\t", file=self._process.stdin, flush=True)
            status = self._process.stdout.readline().strip()
            if status != "done":
                raise PackageError(f"{package} does not load in a fresh process: {status}")
            responses = read_responses(response_file, len(requests))
        finally:
            request_file.unlink(missing_ok=True)
            response_file.unlink(missing_ok=True)
        self.last = list(zip(requests, responses, strict=True))
        return responses


@contextmanager
def started() -> Iterator[Worker]:
    """Start the process, and end it with the block."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", _WORKER], env=environment, text=True, **pipes) as process:
        yield Worker(process)
        process.stdin.close()
