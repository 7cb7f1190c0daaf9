"""Programs compiled in both forms, lanes and one row, and run on NumPy's arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from gradwire_export._native.c_source import Routine, arrays_text, batch_text, body_text, header_text
from gradwire_export._native.library import compile_library
from gradwire_export._native.program import Program

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], dict[str, np.ndarray]]


class Compiled:
    """The routines of a program, by name."""

    def __init__(self, program: Program, routines: list[Routine], directory: Path) -> None:
        bodies = []
        for routine in routines:
            row = Routine(f"{routine.name}_row", routine.inputs, routine.outputs)
            bodies += [body_text(program, row, static=True), batch_text(program, routine, row.name)]
        source = directory / "kernels.c"
        source.write_text("\n".join([header_text(program.dtype, lanes=True), arrays_text(program, bodies), *bodies]))
        compile_library(source, directory / "kernels.so")
        self._library = ctypes.CDLL(str(directory / "kernels.so"))
        self._program, self._routines = program, {routine.name: routine for routine in routines}

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run a routine on rows, ``(rows, width)`` in and out."""
        routine = self._routines[name]
        arrays = [np.ascontiguousarray(inputs[each], self._program.dtype) for each in routine.inputs]
        rows = len(arrays[0])
        outputs = {
            each: np.full((rows, self._program.width(node)), np.nan, self._program.dtype)
            for each, node in routine.outputs.items()
        }
        pointers = [
            (ctypes.c_void_p * len(each))(*(array.ctypes.data for array in each))
            for each in (arrays, list(outputs.values()))
        ]
        self._library[name](ctypes.c_long(rows), *pointers)
        return outputs


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[Program, list[Routine]], Compiled]:
    """Compile routines of a program."""
    return lambda program, routines: Compiled(program, routines, tmp_path)
