"""The files of a source: a file, a directory, a glob, or a list of them, on this machine or wherever fsspec reaches."""

from __future__ import annotations

import glob
import io
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final, final

from gradwire._errors import DataError
from gradwire._extras import import_extra
from gradwire._tables import EXTRA

HIDDEN: Final = (".", "_")  # begin names that hold no rows, as in Hive, Spark and pyarrow.dataset
TEXT: Final = (".csv", ".tsv")
COPIES: Final = 4  # of files that lie elsewhere; two units are read at once, and each looks at its file twice
MAGIC: Final = "*?["
# What changes with a file in the listings of file systems that have no time of modification, the best first.
STAMPS: Final = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "generation",
    "mtime",
    "LastModified",
    "last_modified",
    "created",
)


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of rows.

    Attributes:
        address: a path, or a URL such as ``s3://bucket/points.parquet``.
        name: its path within the source, for messages and for the names of results.
        size: bytes.
        stamp: what is another when the file was written again: its time of modification, or its entity tag.
    """

    address: str
    name: str
    size: int
    stamp: str

    @property
    def suffix(self) -> str:
        """The end of its name, which says the format: ``.parquet``."""
        return Path(self.name).suffix.lower()

    @property
    def is_text(self) -> bool:
        """Whether its numbers are text, so that one word makes text of a column."""
        return self.suffix in TEXT

    def require_unchanged(self) -> None:
        """Raise if the file is another than when the job was planned.

        Raises:
            DataError: it is, or it is gone.
        """
        now = _describe(self.address, self.name)
        if now != self:
            raise DataError(f"{self.name} was changed while the job ran: let it be written first, then start again")

    def open(self) -> BinaryIO:
        """Open it for reading at any place.

        Raises:
            DataError: it is gone.
        """
        try:
            return _open(self.address)
        except OSError as error:
            raise DataError(f"cannot read {self.address}: {error.strerror or error}") from error

    def local(self) -> Path:
        """Return a path of it on this machine: its own, or that of a copy, which is removed when this process ends."""
        return _copy(self) if is_url(self.address) else Path(self.address)


def is_url(address: str) -> bool:
    """Whether an address is one of fsspec's, ``memory://points.parquet``, and no path."""
    return "://" in address or "::" in address


def file_system(address: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it.

    Raises:
        DataError: there is none of that scheme.
        MissingExtra: fsspec, or the package that knows the scheme, is not installed.
    """
    fsspec = import_extra("fsspec", EXTRA)
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise DataError(f"cannot reach {address}: {error}") from error
    return RemoteSystem(system), path


@final
class RemoteSystem:
    """A file system of fsspec's, whose failures are OSErrors: of a store's own library they may be anything.

    Args:
        system: fsspec's.
    """

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._system, name)
        if not callable(value):
            return value

        def careful(*args: Any, **options: Any) -> Any:
            with reaching():
                return value(*args, **options)

        return careful


@contextmanager
def reaching() -> Generator[None]:
    """Raise what a store's library raises, such as for want of credentials, as an OSError of one line."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("builtins", __name__.partition(".")[0]):
            raise
        raise OSError(f"{' '.join(str(error).split())} ({type(error).__name__})") from error


def find_files(source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> tuple[InputFile, ...]:
    """Find the files of a source, in the order of their names.

    Args:
        source: a file, a directory with everything below it, a glob, or several of these in the order in which they
            are to be read. What begins with a point or an underscore in a directory is left out.

    Raises:
        DataError: there is none, or two have the same name.
        MissingExtra: fsspec is not installed, and an address needs it.
    """
    sources = [source] if isinstance(source, str | os.PathLike) else list(source)
    files = [file for each in sources for file in _find(os.fspath(each))]
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the source has two files named {twice}: give their common directory, or a glob")
    if not files:
        raise DataError(f"{', '.join(map(str, sources)) or 'the source'} has no files: give at least one file of rows")
    return tuple(files)


def _find(address: str) -> list[InputFile]:
    system, path = file_system(address) if is_url(address) else (None, address)
    if system is None:
        return _find_in(address, None, path)
    try:
        return _find_in(address, system, path)
    except OSError as error:
        raise DataError(f"cannot read {address}: {error.strerror or error}") from error


def _find_in(address: str, system: Any, path: str) -> list[InputFile]:
    if system is None:
        is_directory, exists = Path(path).is_dir(), Path(path).exists()
    else:
        exists, is_directory = system.exists(path), system.isdir(path)
    if is_directory:
        return _below(address, system, path)
    if exists:
        return [_describe(address, path.rstrip("/").rpartition("/")[2])]
    if not set(MAGIC) & set(path):
        raise DataError(f"cannot read {address}: there is no such file or directory")
    base = path[: min(path.index(mark) for mark in MAGIC if mark in path)].rpartition("/")[0]
    base = base or ("/" if path.startswith("/") else "")
    matches = glob.glob(path, recursive=True) if system is None else system.glob(path)  # noqa: PTH207 - any path
    files = sorted(
        each for each in map(str, matches) if (Path(each).is_file() if system is None else system.isfile(each))
    )
    if not files:
        raise DataError(f"no file matches {address}: give a file, a directory, or a glob in quotes")
    return [_describe(_address(system, each), each[len(base) :].lstrip("/")) for each in files]


def _below(address: str, system: Any, path: str) -> list[InputFile]:
    base = path.rstrip("/")
    if system is None:
        paths = [os.path.join(folder, name) for folder, _, names in os.walk(base or "/") for name in names]  # noqa: PTH118 - names are text here
    else:
        paths = [str(each) for each in system.find(path)]
    names = {each[len(base) :].lstrip("/"): each for each in paths}
    shown = {name: each for name, each in names.items() if not any(part.startswith(HIDDEN) for part in name.split("/"))}
    if not shown:
        raise DataError(f"{address} has no files of rows: give a directory that has some")
    return [_describe(_address(system, shown[name]), name) for name in sorted(shown)]


def _address(system: Any, path: str) -> str:
    return path if system is None else str(system.unstrip_protocol(path))


def _describe(address: str, name: str) -> InputFile:
    try:
        if not is_url(address):
            stat = Path(address).stat()
            return InputFile(address, name, stat.st_size, str(stat.st_mtime_ns))
        system, path = file_system(address)
        system.invalidate_cache()
        info: Mapping[str, Any] = system.info(path)
    except OSError as error:
        raise DataError(f"cannot read {address}: {error.strerror or error}") from error
    stamp = next((str(info[key]) for key in STAMPS if info.get(key) is not None), "")
    return InputFile(address, name, int(info["size"]), stamp)


def _open(address: str) -> BinaryIO:
    if not is_url(address):
        return Path(address).open("rb")
    system, path = file_system(address)
    if "memory" in system.protocol:
        return io.BytesIO(system.store[path].getvalue())  # its files have one position for all who read
    return system.open(path, "rb")


_copying = threading.Lock()
_copies: OrderedDict[InputFile, Path] = OrderedDict()


def _copy(file: InputFile) -> Path:
    with _copying:
        if file in _copies:
            _copies.move_to_end(file)
            return _copies[file]
        descriptor, name = tempfile.mkstemp(suffix=file.suffix, dir=_folder().name)
        os.close(descriptor)
        system, path = file_system(file.address)
        try:
            system.get_file(path, name)
        except OSError as error:
            Path(name).unlink()
            raise DataError(f"cannot copy {file.address}: {error.strerror or error}") from error
        _copies[file] = Path(name)
        if len(_copies) > COPIES:
            _copies.popitem(last=False)[1].unlink()
        return Path(name)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gradwire-batch-")
