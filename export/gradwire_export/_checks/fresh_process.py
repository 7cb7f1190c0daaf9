"""Runs a package the way Serving does: restored into a Session of a process that has never seen the model.

``run_fresh`` starts ``python -m gradwire_export._checks.fresh_process PACKAGE REQUESTS RESPONSES``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from gradwire._errors import GradwireError, PackageError

Arrays: TypeAlias = dict[str, np.ndarray]  # by the names of a signature's tensors

FAILURE: Final = "!"  # key of the text of a request that failed; no output can have this name


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
        command = [sys.executable, "-m", __spec__.name, str(package), str(request_file), str(response_file)]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own module, no shell
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise PackageError(f"{package} does not load in a fresh process: {reason}")
        return read_responses(response_file, len(requests))


def write_requests(path: Path, requests: Sequence[Request]) -> None:
    """Write a .npz file of requests for ``main``, of ``index/signature/input`` arrays."""
    arrays = {
        f"{index}/{request.signature}/{name}": array
        for index, request in enumerate(requests)
        for name, array in request.inputs.items()
    }
    np.savez(path, allow_pickle=False, **arrays)


def read_responses(path: Path, count: int) -> list[Response]:
    """Read the responses that ``main`` wrote: ``index/output`` arrays, or ``index/!`` with the reason of a failure."""
    by_request: list[Arrays] = [{} for _ in range(count)]
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, name = key.split("/", 1)
            by_request[int(index)][name] = arrays[key]
    return [
        Response({}, str(outputs[FAILURE])) if FAILURE in outputs else Response(outputs, None) for outputs in by_request
    ]


def main(package: Path, request_file: Path, response_file: Path) -> None:
    """Run every request of a file and write the responses."""
    from gradwire_serving import Servable

    requests: dict[int, Request] = {}
    with np.load(request_file, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, signature, name = key.split("/", 2)
            requests.setdefault(int(index), Request(signature, {})).inputs[name] = arrays[key]
    servable = Servable.load(package)
    responses: Arrays = {}
    for index, request in requests.items():
        try:
            outputs = servable.run(request.signature, request.inputs)
        except Exception as error:  # noqa: BLE001 - whatever TensorFlow raises is the response to report
            outputs = {FAILURE: np.array(str(error))}
        for name, array in outputs.items():
            responses[f"{index}/{name}"] = array.astype(np.bytes_) if array.dtype == object else array
    servable.close()
    np.savez(response_file, allow_pickle=False, **responses)


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except GradwireError as error:
        sys.exit(str(error))
