"""Tables in files as named columns of numbers; pyarrow is imported when a file is opened."""

from gradwire._tables.cells import number_of
from gradwire._tables.lines import read_lines
from gradwire._tables.numbers import EXTRA, numbers_of, numbers_of_objects, require_numeric
from gradwire._tables.table import (
    FORMATS,
    SUFFIXES,
    Table,
    check_decimal,
    is_columnar,
    open_mapping,
    open_table,
    reading,
    require_distinct,
    to_arrow,
)
from gradwire._tables.vectors import Elements, column_names, elements_of, join, joined

__all__ = [
    "EXTRA",
    "FORMATS",
    "SUFFIXES",
    "Elements",
    "Table",
    "check_decimal",
    "column_names",
    "elements_of",
    "is_columnar",
    "join",
    "joined",
    "number_of",
    "numbers_of",
    "numbers_of_objects",
    "open_mapping",
    "open_table",
    "read_lines",
    "reading",
    "require_distinct",
    "require_numeric",
    "to_arrow",
]
