"""CSV: a line of names, numbers with all their digits, a column for each element of a row."""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

from typing import Any, BinaryIO, final

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA, column_names


@final
class _CsvWriter:
    def __init__(self, stream: BinaryIO, schema: Any) -> None:
        self._pa, csv = import_extra("pyarrow", EXTRA), import_extra("pyarrow.csv", EXTRA)
        empty = schema.empty_table().to_batches()
        flat = self._flat(empty[0] if empty else self._pa.RecordBatch.from_pylist([], schema=schema))
        self._writer = csv.CSVWriter(stream, flat.schema)

    def write(self, batch: Any) -> None:
        self._writer.write_batch(self._flat(batch))

    def close(self) -> None:
        self._writer.close()

    def _flat(self, batch: Any) -> Any:
        """Return a batch with a column for each element."""
        pa, columns = self._pa, dict[str, Any]()
        for field, column in zip(batch.schema, batch.columns, strict=True):
            kind, shape = field.type, []
            while pa.types.is_fixed_size_list(kind):
                shape.append(kind.list_size)
                kind = kind.value_type
            if pa.types.is_nested(kind):
                raise DataError(
                    f"column {field.name!r} holds {field.type}, which CSV cannot hold: write Parquet, or drop the column"
                )
            columns |= zip(column_names(field.name, shape), self._elements(column, shape), strict=True)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def _elements(self, column: Any, shape: list[int]) -> list[Any]:
        compute = import_extra("pyarrow.compute", EXTRA)
        columns = [column]
        for size in shape:
            columns = [compute.list_element(each, index) for each in columns for index in range(size)]
        return columns


open_writer = _CsvWriter
