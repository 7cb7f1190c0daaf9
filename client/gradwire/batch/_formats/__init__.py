"""Formats of results, one a module that is named by the suffix of its files: ``parquet.py`` writes ``*.parquet``.

To add a format, add its module, with ``open_sink``.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Final, Protocol, cast

from gradwire.batch._run import Sink

SUFFIXES: Final = frozenset(module.name for module in pkgutil.iter_modules(__path__))
_DEFAULT: Final = "parquet"  # of files with any other suffix, or none


class _Format(Protocol):
    def open_sink(self, path: Path, *, overwrite: bool = False) -> Sink: ...


def open_sink(path: str | Path, *, overwrite: bool = False) -> Sink:
    """Open a file for results, in the format that its suffix names; Parquet for any other suffix.

    Args:
        path: of the file.
        overwrite: whether an existing file may be replaced.

    Raises:
        PackageError: it exists, or its directory cannot be written.
        MissingExtra: the format needs a package that is not installed.
    """
    suffix = Path(path).suffix.removeprefix(".").lower()
    name = suffix if suffix in SUFFIXES else _DEFAULT
    module = cast("_Format", importlib.import_module(f"{__name__}.{name}"))
    return module.open_sink(Path(path), overwrite=overwrite)
