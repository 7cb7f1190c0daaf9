"""Where results are written: on this machine, or wherever fsspec reaches. What appears under a name is complete."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Self, cast, final

from typing_extensions import override

from gradwire._errors import PackageError
from gradwire.batch._files import file_system, is_url, reaching

BUFFER: Final = 1 << 20
TEMPORARY: Final = ".tmp"  # ends the names of files that are being written
OBJECTS: Final = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci"}  # stores of objects: no directories
Fill = Callable[[BinaryIO], object]


class Written(NamedTuple):
    """What was written: its number of bytes, and their SHA-256 in hexadecimal."""

    size: int
    sha256: str


class Busy(Exception):  # noqa: N818 - it says what happened
    """Another process holds the lock."""


class Staged(ABC):
    """A complete file that has no name yet; as a context manager it is gone at the end, if it has none then.

    Attributes:
        written: what it is.
    """

    written: Written

    @abstractmethod
    def publish(self, *, replaces: bool) -> None:
        """Give it its name.

        Args:
            replaces: whether what has that name is replaced.

        Raises:
            FileExistsError: something has it; between this check and the act there is no window, but where the file
                system has no exclusive creation.
        """

    @abstractmethod
    def discard(self) -> None:
        """Remove it; harmless once it has its name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.discard()


class Storage(ABC):
    """A tree of files, by their paths."""

    @abstractmethod
    def read(self, path: str) -> bytes | None:
        """Return a file's bytes; None if there is none."""

    @abstractmethod
    def open(self, path: str) -> Any:
        """Open a file for reading, as pyarrow takes it."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Return a file's size; None if there is none."""

    @abstractmethod
    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; none if there is no directory."""

    @abstractmethod
    def make_directory(self, path: str) -> list[str]:
        """Make a directory and its parents; return those that are new, the innermost first."""

    @abstractmethod
    def stage(self, path: str, fill: Fill, scratch: str) -> Staged:
        """Write a file that has no name yet, and put it on the disk.

        Args:
            path: of the file.
            fill: writes it to a stream.
            scratch: a directory for what is not complete.
        """

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it; harmless if there is none."""

    @abstractmethod
    def remove_empty(self, path: str) -> None:
        """Remove a directory, if nothing is in it."""

    @abstractmethod
    def lock(self, path: str, *, shared: bool, waits: bool = False) -> contextlib.AbstractContextManager[None]:
        """Hold a lock that ends with this process at the latest.

        Args:
            path: of the file that is locked; its directory exists.
            shared: whether others may hold it as well, if they share it too.
            waits: whether to wait until it is free.

        Raises:
            Busy: another process holds it.
        """

    def write(self, path: str, fill: Fill, scratch: str) -> Written:
        """Write a file that appears when it is complete and on the disk; what was there is replaced."""
        with self.stage(path, fill, scratch) as staged:
            staged.publish(replaces=True)
        return staged.written

    def create(self, path: str, data: bytes, scratch: str) -> bool:
        """Write a file unless it is there; return whether it was written."""
        with self.stage(path, lambda stream: stream.write(data), scratch) as staged:
            try:
                staged.publish(replaces=False)
            except FileExistsError:
                return False
        return True


def storage_of(address: str) -> tuple[Storage, str]:
    """Return where an address lies, and its path there.

    Raises:
        DataError: there is no such scheme.
        MissingExtra: fsspec, or the package that knows the scheme, is not installed.
    """
    if not is_url(address):
        return LocalStorage(), os.path.abspath(address)  # noqa: PTH100 - a link stays one
    system, path = file_system(address)
    return RemoteStorage(system), path


@contextmanager
def writing(place: str) -> Generator[None]:
    """Raise what goes wrong with a file as a PackageError of one line: a full disk, a quota, a place that is gone."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise PackageError(f"cannot write to {place}: {reason}; give a place that can be written") from error


@final
class LocalStorage(Storage):
    """The files of this machine."""

    @override
    def read(self, path: str) -> bytes | None:
        try:
            return Path(path).read_bytes()
        except FileNotFoundError:
            return None

    @override
    def open(self, path: str) -> Any:
        return path

    @override
    def size(self, path: str) -> int | None:
        try:
            return Path(path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    @override
    def names(self, path: str) -> list[str]:
        try:
            return sorted(entry.name for entry in Path(path).iterdir())
        except FileNotFoundError:
            return []

    @override
    def make_directory(self, path: str) -> list[str]:
        new = [str(each) for each in (Path(path), *Path(path).parents) if not each.exists()]
        Path(path).mkdir(parents=True, exist_ok=True)
        return new

    @override
    def stage(self, path: str, fill: Fill, scratch: str) -> Staged:
        # Containers that share a file system may have equal numbers of processes and threads.
        name = f"{Path(path).name}.{secrets.token_hex(8)}{TEMPORARY}"
        return _LocalStaged(Path(scratch, name), Path(path), fill)

    @override
    def remove(self, path: str) -> None:
        if Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)

    @override
    def remove_empty(self, path: str) -> None:
        with contextlib.suppress(OSError):
            Path(path).rmdir()

    @override
    @contextmanager
    def lock(self, path: str, *, shared: bool, waits: bool = False) -> Generator[None]:
        import fcntl

        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if waits else fcntl.LOCK_NB)
        while True:
            with Path(path).open("ab") as stream:
                try:
                    fcntl.flock(stream.fileno(), how)
                except BlockingIOError as error:
                    raise Busy from error
                # Whoever held it may have finished, and removed the file that is locked now.
                if Path(path).exists() and os.path.samestat(os.fstat(stream.fileno()), Path(path).stat()):
                    yield
                    return
            Path(path).parent.mkdir(parents=True, exist_ok=True)


@final
class RemoteStorage(Storage):
    """A file system of fsspec's. What is written lies on this machine until it is complete."""

    def __init__(self, system: Any) -> None:
        self._system = system
        protocols = [system.protocol] if isinstance(system.protocol, str) else system.protocol
        self._is_objects = not OBJECTS.isdisjoint(protocols)

    @override
    def read(self, path: str) -> bytes | None:
        try:
            return bytes(self._system.cat_file(path))
        except FileNotFoundError:
            return None

    @override
    def open(self, path: str) -> Any:
        return io.BytesIO(self._system.cat_file(path)) if "memory" in self._system.protocol else self._system.open(path)

    @override
    def size(self, path: str) -> int | None:
        self._system.invalidate_cache()
        try:
            info = self._system.info(path)
        except FileNotFoundError:
            return None
        return int(info.get("size") or 0)

    @override
    def names(self, path: str) -> list[str]:
        self._system.invalidate_cache()
        try:
            paths = self._system.ls(path, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(str(each).rstrip("/").rpartition("/")[2] for each in paths)

    @override
    def make_directory(self, path: str) -> list[str]:
        if self._is_objects:
            self._require_bucket(path.lstrip("/").partition("/")[0])
        else:
            self._system.makedirs(path, exist_ok=True)
        return [path]

    @override
    def stage(self, path: str, fill: Fill, scratch: str) -> Staged:
        return _RemoteStaged(self._system, path, fill)

    @override
    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._system.rm(path, recursive=True)

    def _require_bucket(self, bucket: str) -> None:
        """Raise if there is none: fsspec would make it, and a slip of the pen another bucket."""
        try:
            self._system.info(bucket)
        except FileNotFoundError as error:
            raise FileNotFoundError(None, f"there is no bucket {bucket}") from error
        except PermissionError:
            pass  # who may write below a prefix need not be allowed to look at the bucket

    @override
    def remove_empty(self, path: str) -> None:
        if not self.names(path):
            with contextlib.suppress(OSError):
                self._system.rmdir(path)

    @override
    @contextmanager
    def lock(self, path: str, *, shared: bool, waits: bool = False) -> Generator[None]:
        yield  # nothing can be locked: names and bytes are those of the job, so two processes write the same


@final
class _LocalStaged(Staged):
    def __init__(self, staged: Path, target: Path, fill: Fill) -> None:
        self._staged, self._target = staged, target
        try:
            with staged.open("wb", buffering=BUFFER) as stream:
                self.written = _filled(stream, fill)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            self.discard()
            raise

    @override
    def publish(self, *, replaces: bool) -> None:
        if replaces:
            self._staged.replace(self._target)
        else:
            _link(self._staged, self._target)
        _sync(self._target.parent)

    @override
    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._staged.unlink(missing_ok=True)


@final
class _RemoteStaged(Staged):
    def __init__(self, system: Any, target: str, fill: Fill) -> None:
        self._system, self._target = system, target
        self._staged = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - closed by discard
        try:
            self.written = _filled(self._staged, fill)
        except BaseException:
            self.discard()
            raise

    @override
    def publish(self, *, replaces: bool) -> None:
        self._system.invalidate_cache()
        if not replaces and self._system.exists(self._target):
            raise FileExistsError(self._target)
        self._staged.seek(0)
        with reaching():
            stream = self._opened("wb" if replaces else "xb")
            try:
                shutil.copyfileobj(self._staged, stream, BUFFER)
                stream.close()  # in a store an object is there from now on, whole
            except BaseException:
                _abandon(stream)
                raise

    @override
    def discard(self) -> None:
        self._staged.close()

    def _opened(self, mode: str) -> Any:
        try:
            return self._system.open(self._target, mode)
        except (ValueError, NotImplementedError):
            if mode == "wb":
                raise
            return self._system.open(self._target, "wb")  # without exclusive creation, the check just made has to do


def _abandon(stream: Any) -> None:
    """Give up a file of fsspec's, which would put what it holds in place when it is closed, or forgotten."""
    with contextlib.suppress(Exception):
        stream.discard()
    with contextlib.suppress(AttributeError):
        stream.closed = True


@final
class _Hashing(io.RawIOBase):
    """A stream that hashes what passes."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream, self._hash, self._size = stream, hashlib.sha256(), 0
        self.is_open = True  # what a writer that was given up writes at its end goes nowhere

    @property
    def written(self) -> Written:
        return Written(self._size, self._hash.hexdigest())

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        if self.is_open:
            self._hash.update(view)
            self._stream.write(view)
        self._size += len(view)
        return len(view)

    @override
    def tell(self) -> int:
        return self._size


def _filled(stream: BinaryIO, fill: Fill) -> Written:
    hashing = _Hashing(stream)
    try:
        fill(cast("BinaryIO", hashing))
    finally:
        hashing.is_open = False
    return hashing.written


def _link(staged: Path, target: Path) -> None:
    """Give a file a second name, which must be free; the check and the act are one."""
    try:
        os.link(staged, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links: whoever creates the name owns it, and may replace it.
        with target.open("xb"):
            pass
        staged.replace(target)


def _sync(directory: Path) -> None:
    """Wait until the names in a directory are on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
