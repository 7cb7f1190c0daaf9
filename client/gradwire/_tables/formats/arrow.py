"""Arrow's own files, Feather among them."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from pathlib import Path
from typing import Final

from gradwire._extras import import_extra
from gradwire._tables.numbers import EXTRA
from gradwire._tables.table import Table, in_memory, open_dataset, require_distinct

FEATHER_1: Final = b"FEA1"  # begins files of the first version, which datasets do not know


def open_file(path: Path, decimal: str) -> Table:
    """Open a file of Arrow's, of either version of Feather."""
    del decimal
    with path.open("rb") as stream:
        if stream.read(len(FEATHER_1)) == FEATHER_1:
            return in_memory(path, import_extra("pyarrow.feather", EXTRA).read_table(path))
    with import_extra("pyarrow.ipc", EXTRA).open_file(path) as file:
        require_distinct(path.name, file.schema.names)
    return open_dataset(path, "ipc")
