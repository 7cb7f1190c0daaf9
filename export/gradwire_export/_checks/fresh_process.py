"""Runs a package the way Serving does: restored into a Session of a process that has never seen the model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from gradwire._errors import PackageError
from gradwire._fresh_process import fresh_process
from gradwire_serving._fresh_process import FAILURE

Arrays: TypeAlias = dict[str, np.ndarray]  # by the names of a signature's tensors


@dataclass(frozen=True)
class Request:
    """One run of one signature."""

    signature: str
    inputs: Arrays


@dataclass(frozen=True)
class Response:
    """The result of a request: its outputs, strings as NumPy bytes, or the reason why it failed."""

    outputs: Arrays
    failure: str | None


def run_fresh(package: Path, requests: Sequence[Request]) -> list[Response]:
    """Load a package in a fresh process and run it; PackageError where it does not load."""
    with tempfile.TemporaryDirectory(prefix="gradwire-check-") as directory:
        request_file, response_file = Path(directory, "requests.npz"), Path(directory, "responses.npz")
        write_requests(request_file, requests)
        with fresh_process() as process:
            _, log = process.communicate(json.dumps([str(package), str(request_file), str(response_file)]) + "\n")
        if process.returncode != 0:
            reason = (log.strip().splitlines() or ["no message"])[-1]
            raise PackageError(f"{package} does not load in a fresh process: {reason}")
        return read_responses(response_file, len(requests))


def write_requests(path: Path, requests: Sequence[Request]) -> None:
    """Write a .npz file of requests, of ``index/signature/input`` arrays."""
    arrays = {
        f"{index}/{request.signature}/{name}": array
        for index, request in enumerate(requests)
        for name, array in request.inputs.items()
    }
    np.savez(path, allow_pickle=False, **arrays)


def read_responses(path: Path, count: int) -> list[Response]:
    """Read the responses of such a process: ``index/output`` arrays, or ``index/!`` with the reason of a failure."""
    by_request: list[Arrays] = [{} for _ in range(count)]
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, name = key.split("/", 1)
            by_request[int(index)][name] = arrays[key]
    return [
        Response({}, str(outputs[FAILURE])) if FAILURE in outputs else Response(outputs, None) for outputs in by_request
    ]
