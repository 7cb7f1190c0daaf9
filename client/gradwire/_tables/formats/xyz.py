"""Extended XYZ: frames of one molecule or cell, a row each, through ASE."""

# ase has few types.
# pyright: basic

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables.table import ArrayTable, Table

EXTRA: Final = "ase"
SHOWN: Final = 12  # atoms in a message
STRUCTURE: Final = ("numbers", "positions")  # of ASE's arrays


def open_file(path: Path, decimal: str) -> Table:
    """Read all frames: positions (atoms, 3), energy, forces (atoms, 3), and what else is known of every frame."""
    del decimal
    io = import_extra("ase.io", EXTRA)
    frames = io.read(path, index=":", format="extxyz")
    if not frames:
        raise DataError(f"{path.name} has no frames: give at least one")
    first = frames[0].get_chemical_symbols()
    for index, frame in enumerate(frames):
        if (symbols := frame.get_chemical_symbols()) != first:
            raise DataError(
                f"{path.name}: frame {index} has {_formula(symbols)}, frame 0 has {_formula(first)}: give frames of "
                "the same atoms in the same order"
            )
    rows = [_row(frame) for frame in frames]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column(path, name, [row.get(name) for row in rows]) for name in names}
    return ArrayTable(path, list(columns), columns.__getitem__)


def _row(frame: Any) -> Mapping[str, Any]:
    row: dict[str, Any] = {"positions": frame.positions}
    if frame.pbc.any():
        row["cell"] = np.asarray(frame.cell)
    row |= frame.info
    row |= {name: array for name, array in frame.arrays.items() if name not in STRUCTURE}
    if frame.calc is not None:
        row |= {name: value for name, value in frame.calc.results.items() if value is not None}
    return row


def _column(path: Path, name: str, values: Sequence[Any]) -> Any:
    """Return a column; missing labels are NaN."""
    arrays = [None if value is None else np.asarray(value) for value in values]
    shapes = {array.shape for array in arrays if array is not None}
    if len(shapes) > 1:
        raise DataError(f"{path.name}: {name!r} has rows of shapes {sorted(shapes)}: give rows of one shape")
    if all(array is not None for array in arrays):
        return np.stack([array for array in arrays if array is not None])
    missing = np.full(shapes.pop(), np.nan)
    return np.stack([missing if array is None else array for array in arrays])


def _formula(symbols: Sequence[str]) -> str:
    shown = " ".join(symbols[:SHOWN]) + (" …" if len(symbols) > SHOWN else "")
    return f"{len(symbols)} atoms ({shown})"
