"""A package's kernels as a library of this machine, compared with the package before anyone calls it."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from gradwire._errors import ConversionError, MissingExtra
from gradwire._package import KERNELS_FILE, KERNELS_LIBRARY, SERVING_DEFAULT, Signature, find_package
from gradwire_export._checks import Arrays
from gradwire_export._conversion import Draws, Run, agreement
from gradwire_export._native.kernels import Kernels
from gradwire_serving import Servable

# -ffast-math would be faster still, and lose NaN; contraction into fused multiply-adds only rounds less.
FLAGS: Final = ("-std=gnu99", "-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared", "-w")
COMPILERS: Final = ("cc", "gcc", "clang")
COMPILER_SECONDS: Final = 300.0
ROWS: Final = 4096  # of the call by which the two are compared
CALLS: Final = 7


def build_library(package: Path, directory: Path) -> None:
    """Compile a package's kernels into a directory, with a file that says what they are.

    Args:
        package: its version directory.
        directory: where they go; it is there.

    Raises:
        MissingExtra: there is no compiler.
        PackageError: the package is none, or is not what its card describes.
        ConversionError: it is no dense network, or the compiler refuses.
        CheckFailed: the kernels do not agree with the package.
    """
    package = find_package(package)
    kernels = Kernels.read(package)
    source = directory / "kernels.c"
    source.write_text(kernels.for_lanes(), encoding="utf-8")
    compile_library(source, directory / KERNELS_LIBRARY)
    library = ctypes.CDLL(str(directory / KERNELS_LIBRARY))
    signatures, draws = kernels.signatures, Draws.of(kernels.card)
    runners = {name: runner(library[name], signature) for name, signature in signatures.items()}
    about = {
        "signatures": list(signatures),
        "ulp": agreement(package, runners, signatures, draws, "compiled"),
        "speedup": _speedup(package, runners[SERVING_DEFAULT], draws.inputs(signatures[SERVING_DEFAULT], ROWS)),
    }
    (directory / KERNELS_FILE).write_text(json.dumps(about), encoding="utf-8")


def compile_library(source: Path, library: Path, flags: tuple[str, ...] = FLAGS) -> None:
    """Compile C into a shared library, with the compiler that CC names, or the first of ``COMPILERS``.

    Raises:
        MissingExtra: there is none.
        ConversionError: it refuses.
    """
    named = shlex.split(os.environ.get("CC", ""))
    command = named or [path for path in map(shutil.which, COMPILERS) if path][:1]
    if not command or shutil.which(command[0]) is None:
        raise MissingExtra(f"this needs a C compiler, one of {', '.join(COMPILERS)}: install one, or name it in CC")
    result = subprocess.run(  # noqa: S603 - the user's own compiler
        [*command, *flags, str(source), "-o", str(library), "-lm"],
        capture_output=True,
        text=True,
        check=False,
        timeout=COMPILER_SECONDS,
    )
    if result.returncode:
        raise ConversionError(f"{command[0]} does not compile the kernels: {result.stderr.strip()[:500]}")


def runner(function: Callable[..., None], signature: Signature, *, by_row: bool = False) -> Run:
    """Return what runs a compiled routine on arrays.

    Args:
        function: of the library.
        signature: what it takes and returns.
        by_row: whether it takes one row, each tensor as an argument, or all rows.
    """

    def run(inputs: Arrays) -> Arrays:
        arrays = [np.ascontiguousarray(inputs[name]) for name in signature.inputs]
        rows = len(arrays[0])
        outputs = {
            name: np.empty((rows, *spec.least_row_shape), spec.dtype) for name, spec in signature.outputs.items()
        }
        if by_row:
            for row in range(rows):
                function(*(ctypes.c_void_p(each[row:].ctypes.data) for each in (*arrays, *outputs.values())))
        else:
            function(ctypes.c_long(rows), _pointers(arrays), _pointers(list(outputs.values())))
        return outputs

    return run


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def _speedup(package: Path, run: Run, inputs: Arrays) -> float:
    """Return TensorFlow's time for value and derivatives divided by that of the kernels, on one thread."""
    servable = Servable.load(package)
    try:
        theirs = _seconds(lambda: servable.run(SERVING_DEFAULT, inputs, None, COMPILER_SECONDS))
    finally:
        servable.close()
    return round(theirs / _seconds(lambda: run(inputs)), 2)


def _seconds(call: Callable[[], object]) -> float:
    call()
    best = float("inf")
    for _ in range(CALLS):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best
