"""Writing a directory so that nobody ever sees half of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gradwire._errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Generator

READABLE: Final = 0o755  # temporary directories are private; a result is for its owner's colleagues, too


@contextmanager
def replacing(target: Path, *, mark: str) -> Generator[Path]:
    """Gives an empty directory beside the target, and renames it into place when the block ends well.

    Args:
        target: where the directory is to be; its parents are made.
        mark: a file that tells a directory of this kind: only such a one is replaced.

    Yields:
        The directory to write into.

    Raises:
        PackageError: something else is at the target, or it cannot be written. Nothing is left half-written.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow a link that is to be refused
    beside = _beside(target, mark)
    try:
        new = beside / "new"
        new.mkdir(mode=READABLE)
        yield new
        if target.exists():
            target.rename(beside / "old")
        new.rename(target)
    except OSError as error:
        _put_back(beside / "old", target)
        raise PackageError(f"cannot write {target}: {error}; give a place that can be written") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def require_replaceable(target: Path, *, mark: str) -> None:
    """Refuses, before any work is done, a target that ``replacing`` would refuse after it.

    Args:
        target: where a directory is to be.
        mark: a file that tells a directory of this kind.

    Raises:
        PackageError: something else is at the target, or it cannot be written.
    """
    _beside(Path(os.path.abspath(target)), mark).rmdir()  # noqa: PTH100 - as in replacing


def _beside(target: Path, mark: str) -> Path:
    if target.is_symlink() or (target.exists() and not (target / mark).is_file()):
        raise PackageError(f"{target} exists and is not what is to be written (it has no {mark}): give another place")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise PackageError(f"cannot write {target}: {error.strerror}; give a place that can be written") from error


def _put_back(old: Path, target: Path) -> None:
    if old.exists() and not target.exists():
        old.rename(target)
