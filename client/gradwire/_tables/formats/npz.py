"""NumPy's archives: an array for each column, ``(rows, *row shape)``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import DataError
from gradwire._tables.table import ArrayTable, Table, reading


def open_file(path: Path, decimal: str) -> Table:
    """Open an archive; nothing in it is run."""
    del decimal
    if not zipfile.is_zipfile(path):
        raise DataError(f"cannot read {path}: it is not a NumPy archive, as np.savez writes it")

    def load(name: str) -> NDArray[Any]:
        with reading(path), np.load(path, allow_pickle=False) as file:
            return file[name]

    with np.load(path, allow_pickle=False) as file:
        return ArrayTable(path, list(file.files), load)
