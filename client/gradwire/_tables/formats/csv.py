"""CSV and TSV: cells separated by commas, semicolons or tabs; UTF-8, with or without a byte order mark."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

from gradwire._extras import import_extra
from gradwire._tables.cells import MISSING, SNIFFED, separator_of
from gradwire._tables.numbers import EXTRA
from gradwire._tables.table import Table, in_memory

QUOTE: Final = '"'


def open_file(path: Path, decimal: str) -> Table:
    """Read a file of cells: a column is of numbers if every cell is one, of text otherwise."""
    pa, reader = (import_extra(name, EXTRA) for name in ("pyarrow", "pyarrow.csv"))
    with path.open(encoding="utf-8-sig", newline="") as stream:
        sample = [line for line, _ in zip(stream, range(SNIFFED), strict=False)]
        separator = separator_of(sample, decimal)
        stream.seek(0)
        header = csv.reader(stream, delimiter=separator)
        names = next((row for row in header if row), [])
        lines = header.line_num
    columns = [str(index) for index in range(len(names))]
    if len(sample) < SNIFFED and not any(line.strip() for line in sample[lines:]):
        return in_memory(path, pa.table({name.strip(): pa.nulls(0) for name in names}), decimal)

    def read(**options: Any) -> Any:
        return reader.read_csv(
            path,
            read_options=reader.ReadOptions(column_names=columns, skip_rows=lines),
            parse_options=reader.ParseOptions(
                delimiter=separator, newlines_in_values=any(QUOTE in line for line in sample)
            ),
            convert_options=reader.ConvertOptions(
                null_values=list(MISSING), strings_can_be_null=True, decimal_point=decimal, **options
            ),
        )

    table = read()
    names = [name.strip() for name in names]
    kinds = dict(zip(columns, table.schema.types, strict=True))
    # A guess at truth values and dates is none of ours: they stay the text that they are.
    others = [name for name, kind in kinds.items() if kind not in (pa.int64(), pa.float64(), pa.null())]
    text = read(include_columns=others, column_types=dict.fromkeys(others, pa.string())) if others else table
    arrays = [_typed(text.column(name), decimal) if name in others else table.column(name) for name in columns]
    return in_memory(path, pa.Table.from_arrays(arrays, names=names), decimal)


def _typed(column: Any, decimal: str) -> Any:
    """Return a column of cells as whole numbers, else as numbers, else as it is."""
    pa, compute = (import_extra(name, EXTRA) for name in ("pyarrow", "pyarrow.compute"))
    cells = compute.replace_substring_regex(compute.utf8_trim_whitespace(column), r"^\+", "")
    cells = compute.if_else(compute.is_in(cells, pa.array(MISSING)), pa.scalar(None, pa.string()), cells)
    if decimal == ",":
        if compute.any(compute.match_substring(cells, ".")).as_py():
            return column
        cells = compute.replace_substring(cells, ",", ".")
    for kind in (pa.int64(), pa.float64()):
        try:
            return compute.cast(cells, kind)
        except pa.ArrowInvalid:
            continue
    return column
