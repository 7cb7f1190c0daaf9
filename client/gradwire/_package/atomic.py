"""Files and directories that appear complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from gradwire._errors import PackageError

_PREFIX: Final = ".writing-"  # no server takes such a name for a version
# Temporary files and directories are private; a result is for its owner's colleagues and for a container, too.
_FILE_MODE: Final = 0o644
_DIRECTORY_MODE: Final = 0o755


@final
class StagedPath:
    """A file or a directory that is written beside its place, and renamed into it once it is complete.

    It lies on the same file system, so that the rename is atomic. As a context manager it is committed at the end of
    the block; after an error it is discarded, and an OSError becomes a PackageError.

    Args:
        target: where it is to be; missing parents are made.
        is_directory: whether to make a directory, which must not exist yet, or a file, which is replaced.
        marker: name of a file that marks a directory of this kind: such a directory is replaced, nothing else is.

    Attributes:
        path: where to write it: an empty directory, or a file that does not exist yet.
        target: as above, absolute.

    Raises:
        PackageError: something else is at the target, or nothing can be written there.
    """

    def __init__(self, target: Path, *, is_directory: bool, marker: str | None = None) -> None:
        self.target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow a link that is to be refused
        if marker is not None and (
            self.target.is_symlink() or (self.target.exists() and not (self.target / marker).is_file())
        ):
            raise PackageError(
                f"{self.target} exists and is not what is to be written (it has no {marker}): give another place"
            )
        import tempfile  # with shutil 5 ms of `import gradwire`, for calls that write nothing

        self._is_directory = is_directory
        self._replaces = marker is not None
        self._new_parents = [parent for parent in self.target.parents if not parent.exists()]
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self._beside = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self.target.parent))
        except OSError as error:
            self._remove_new_parents()
            raise self._unwritable(error) from error
        self.path = self._beside / self.target.name
        if is_directory:
            self.path.mkdir()

    def commit(self) -> None:
        """Rename it into place; a file is on the disk before that.

        Raises:
            PackageError: it cannot be renamed; whatever was at the target is still there.
        """
        old = self._beside / "old"
        try:
            self.path.chmod(_DIRECTORY_MODE if self._is_directory else _FILE_MODE)
            if not self._is_directory:
                with self.path.open("rb") as stream:
                    os.fsync(stream.fileno())
            elif self._replaces and self.target.exists():
                self.target.rename(old)
            self.path.replace(self.target)
        except OSError as error:
            if old.exists() and not self.target.exists():
                old.rename(self.target)
            raise self._unwritable(error) from error
        self._remove_beside()

    def discard(self) -> None:
        """Remove what was written, and the parents that were made for it; harmless after ``commit``."""
        self._remove_beside()
        self._remove_new_parents()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            if error is None:
                self.commit()
        finally:
            self.discard()

    def _unwritable(self, error: OSError) -> PackageError:
        return PackageError(
            f"cannot write to {self.target}: {error.strerror or error}; give a place that can be written"
        )

    def _remove_beside(self) -> None:
        import shutil

        shutil.rmtree(self._beside, ignore_errors=True)

    def _remove_new_parents(self) -> None:
        for parent in self._new_parents:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def require_writable_directory(target: Path, *, marker: str) -> None:
    """Refuse, before any work is done, a directory that ``StagedPath`` would refuse after it.

    Args:
        target: where the directory is to be.
        marker: as for ``StagedPath``.

    Raises:
        PackageError: something else is at the target, or nothing can be written there.
    """
    StagedPath(target, is_directory=True, marker=marker).discard()
