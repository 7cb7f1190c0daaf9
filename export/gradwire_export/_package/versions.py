"""Version directories: numbered, complete, and never overwritten."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gradwire._errors import PackageError
from gradwire._package import version_directories

FIRST_VERSION: Final = 1
READABLE: Final = 0o755  # mkdtemp gives 0700, and a container serves as another user


def next_version(base: Path) -> int:
    """Gives one more than the highest version below a model's directory.

    Args:
        base: the model's directory; it may not exist yet.
    """
    if not base.is_dir():
        return FIRST_VERSION
    return max(version_directories(base), default=FIRST_VERSION - 1) + 1


@contextmanager
def new_version(base: Path, version: int | None = None) -> Iterator[tuple[Path, Path]]:
    """Lets a version be written out of sight, and puts it in place when all went well.

    The temporary directory lies beside the target, on the same file system, under a name that no server takes for a
    version; the rename is atomic, so a watching server never sees half a version. On any error nothing is left.

    Args:
        base: the model's directory; made if it is not there.
        version: number of the new version; one more than the highest by default.

    Yields:
        The directory to write into, and the path that it will have.

    Raises:
        PackageError: the version exists, or the directory cannot be written.
    """
    target = base / str(next_version(base) if version is None else version)
    if target.exists():
        raise PackageError(
            f"{target} exists, and versions are never overwritten: leave the version out for the next one"
        )
    made = [directory for directory in (base, *base.parents) if not directory.exists()]
    try:
        base.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=base))
    except OSError as error:
        _remove(made)
        raise PackageError(f"cannot write to {base}: {error.strerror}; choose another directory") from error
    try:
        yield temporary, target
        temporary.chmod(READABLE)
        _rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        _remove(made)
        raise


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:  # another export took the number meanwhile
        raise PackageError(f"cannot put the package at {target}: {error.strerror}; export again") from error


def _remove(made: list[Path]) -> None:
    for directory in made:
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
