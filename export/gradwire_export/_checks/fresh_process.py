"""Runs a package the way Serving does: restored into a Session of a process that has never seen the model.

``python -m gradwire_export._checks.fresh_process PACKAGE CALLS ANSWERS`` is the other side of ``run_fresh``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from gradwire._errors import GradwireError, PackageError

FAILURE: Final = "!"  # key of the text of a call that failed; no output can have this name


@dataclass(frozen=True)
class Call:
    """One run of one signature.

    Attributes:
        signature: its name.
        inputs: arrays by input name.
    """

    signature: str
    inputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Answer:
    """What a call gave.

    Attributes:
        outputs: arrays by output name; strings as NumPy bytes. Empty when it failed.
        failure: the reason, or None.
    """

    outputs: dict[str, np.ndarray]
    failure: str | None


def run_fresh(package: Path, calls: Sequence[Call]) -> list[Answer]:
    """Loads a package in a fresh process and runs it.

    Args:
        package: a version directory.
        calls: what to run, in order.

    Returns:
        An answer a call.

    Raises:
        PackageError: the package does not load.
    """
    with tempfile.TemporaryDirectory(prefix="gradwire-check-") as directory:
        asked, answered = Path(directory, "calls.npz"), Path(directory, "answers.npz")
        write_calls(asked, calls)
        command = [sys.executable, "-m", __spec__.name, str(package), str(asked), str(answered)]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own module, no shell
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise PackageError(f"{package} does not load in a fresh process: {reason}")
        return read_answers(answered, len(calls))


def write_calls(path: Path, calls: Sequence[Call]) -> None:
    """Writes what ``main`` is to run.

    Args:
        path: .npz to write, of ``index/signature/input`` arrays.
        calls: in order.
    """
    arrays = {
        f"{i}/{call.signature}/{name}": array for i, call in enumerate(calls) for name, array in call.inputs.items()
    }
    np.savez(path, allow_pickle=False, **arrays)


def read_answers(path: Path, count: int) -> list[Answer]:
    """Reads what ``main`` wrote.

    Args:
        path: .npz of ``index/output`` arrays, or ``index/failure`` texts.
        count: how many calls there were.
    """
    outputs: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, name = key.split("/", 1)
            outputs[int(index)][name] = arrays[key]
    return [Answer({}, str(found[FAILURE])) if FAILURE in found else Answer(found, None) for found in outputs]


def main(package: Path, asked: Path, answered: Path) -> None:
    """Runs every call of a file and writes the answers.

    Args:
        package: a version directory.
        asked: what ``write_calls`` wrote.
        answered: .npz to write, for ``read_answers``.
    """
    from gradwire_serving import Servable

    calls: dict[int, Call] = {}
    with np.load(asked, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, signature, name = key.split("/", 2)
            calls.setdefault(int(index), Call(signature, {})).inputs[name] = arrays[key]
    servable = Servable.load(package)
    answers: dict[str, np.ndarray] = {}
    for index, call in calls.items():
        try:
            found = servable.run(call.signature, call.inputs)
        except Exception as error:  # noqa: BLE001 - whatever TensorFlow raises here is the answer to report
            found = {FAILURE: np.array(str(error))}
        for name, array in found.items():
            answers[f"{index}/{name}"] = array.astype(np.bytes_) if array.dtype == object else array
    servable.close()
    np.savez(answered, allow_pickle=False, **answers)


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:]))
    except GradwireError as error:
        sys.exit(str(error))
