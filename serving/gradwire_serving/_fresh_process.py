"""What a process does that has never seen a model: it runs the requests of a file, as Serving would.

``gradwire._fresh_process`` starts it; it reads the paths of the package, the requests and the responses, a JSON list on
one line, from standard input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import numpy as np

from gradwire._errors import GradwireError
from gradwire_serving._core import Servable

FAILURE: Final = "!"  # key of the text of a request that failed; no output can have this name


def run_requests(package: Path, request_file: Path, response_file: Path) -> None:
    """Run every request of a file and write the responses.

    Requests are the ``index/signature/input`` arrays of an .npz file; the responses are ``index/output`` arrays,
    strings as NumPy bytes, or ``index/!`` with the reason of a failure.
    """
    requests: dict[int, tuple[str, dict[str, np.ndarray]]] = {}
    with np.load(request_file, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, signature, name = key.split("/", 2)
            requests.setdefault(int(index), (signature, {}))[1][name] = arrays[key]
    servable = Servable.load(package)
    responses: dict[str, np.ndarray] = {}
    for index, (signature, inputs) in requests.items():
        try:
            outputs = servable.run(signature, inputs)
        except Exception as error:  # noqa: BLE001 - whatever TensorFlow raises is the response to report
            outputs = {FAILURE: np.array(str(error))}
        for name, array in outputs.items():
            responses[f"{index}/{name}"] = array.astype(np.bytes_) if array.dtype == object else array
    servable.close()
    np.savez(response_file, allow_pickle=False, **responses)


def main() -> None:
    """Wait for the line, and run what it says; without one there is nothing to do."""
    line = sys.stdin.readline()
    if line:
        try:
            run_requests(*map(Path, json.loads(line)))
        except GradwireError as error:
            sys.exit(str(error))
