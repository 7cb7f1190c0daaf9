"""The file from which a long fit resumes after it was killed: an NPZ archive, and behind it its own checksum."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from gradwire._errors import PackageError, UsageError
from gradwire_training._models import array_of

Arrays: TypeAlias = "dict[str, NDArray[Any]]"

FORMAT: Final = 1  # raised when an older reader would go wrong
EVERY_SECONDS: Final = 5.0  # what a killed fit loses at most, beside one chunk
LEAST_RATIO: Final = 20  # of the time between two writes to that of a write, however large the model is

CHECKSUM: Final = b"\nsha256 "  # and 64 digits: readers of archives pass over what stands behind one
BLOCK: Final = 2**20

# Names of the arrays in the file, and prefixes of names.
FINGERPRINT: Final = "asked"
VARIABLE: Final = "variable:"
HISTORY: Final = "books:"
OPTIMIZER: Final = "state:"
NETWORK: Final = "network"  # in the monitor's history: the one that was chosen


@final
class Checkpoint:
    """One file, replaced as a whole every few seconds; it exists as long as the fit is not done.

    The file of a fit with another fingerprint, which tells what decides how it goes, is refused.
    """

    def __init__(self, path: str | Path, fingerprint: Mapping[str, str], variables: Sequence[Any]) -> None:
        self._path = Path(path)
        # A fixed name, unlike that of ``StagedPath``: the next write replaces what a kill in the middle of one leaves.
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._fingerprint = dict(fingerprint)
        self._variables = list(variables)
        self._next = time.monotonic() + EVERY_SECONDS

    @property
    def is_due(self) -> bool:
        """Whether the last one is some seconds old."""
        return time.monotonic() >= self._next

    def require_writable(self) -> None:
        """Make the directory, and try to write: better before a fit than in the middle of it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._part.touch()
            self._part.unlink()
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, history: Arrays, optimizer: Arrays) -> None:
        """Write the file beside its place, and rename it when it is complete and on the disk."""
        began = time.monotonic()
        arrays: Arrays = {FINGERPRINT: np.array(json.dumps({"format": FORMAT, **self._fingerprint}))}
        arrays |= {f"{VARIABLE}{i}": array_of(variable) for i, variable in enumerate(self._variables)}
        arrays |= {HISTORY + name: array for name, array in history.items()}
        arrays |= {OPTIMIZER + name: array for name, array in optimizer.items()}
        try:
            with self._part.open("w+b") as stream:
                np.savez(stream, **arrays, allow_pickle=False)
                stream.write(_checksum(stream, stream.tell()))
                stream.flush()
                os.fsync(stream.fileno())
            self._part.replace(self._path)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            with suppress(OSError):
                self._part.unlink()  # of a write that Ctrl-C or a full disk ended
        now = time.monotonic()
        self._next = now + max(EVERY_SECONDS, LEAST_RATIO * (now - began))

    def read(self) -> tuple[Arrays, Arrays] | None:
        """Restore the model's variables, and return the states of monitor and optimiser; None without a file.

        Raises:
            PackageError: the file was not written by a fit, is not what was written, or is of a newer format.
            UsageError: it is of another fit.
        """
        if not self._path.exists():
            return None
        arrays, fingerprint = _read(self._path)
        self._require_same(fingerprint)
        for index, variable in enumerate(self._variables):
            variable.assign(arrays[f"{VARIABLE}{index}"])
        return _with_prefix(HISTORY, arrays), _with_prefix(OPTIMIZER, arrays)

    def remove(self) -> None:
        """Remove the file: the fit is done."""
        for path in (self._path, self._part):
            path.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> PackageError:
        return PackageError(
            f"cannot write the checkpoint {self._path}: {error.strerror}; give a place that can be written"
        )

    def _require_same(self, before: Mapping[str, str]) -> None:
        now = self._fingerprint
        names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if names:
            changes = "; ".join(
                f"{name}: it had {before.get(name, 'none')}, now {now.get(name, 'none')}" for name in names
            )
            raise UsageError(
                f"{self._path} is of another fit ({changes}): fit the same, or do not resume and begin again"
            )


def network_in(path: str | Path) -> dict[str, Any] | None:
    """Return the network that was chosen for the unfinished fit of a file, as ``Monitor`` was given it.

    None without a file, and where no network was chosen.

    Raises:
        PackageError: as ``Checkpoint.read`` does.
    """
    path = Path(path)
    if not path.exists():
        return None
    arrays, _ = _read(path)
    return json.loads(str(arrays[HISTORY + NETWORK])) if HISTORY + NETWORK in arrays else None


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return all arrays of a file, and its fingerprint."""
    try:
        # NumPy leaves a file open that it cannot read: it is opened here.
        with path.open("rb") as stream:
            _require_checksum(stream)
            with np.load(stream, allow_pickle=False) as file:
                arrays: Arrays = {name: file[name] for name in file.files}
        fingerprint = json.loads(str(arrays[FINGERPRINT]))
        is_newer = fingerprint.pop("format") > FORMAT
    except (OSError, ValueError, TypeError, LookupError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise PackageError(f"{path} is not a checkpoint ({error}): remove it, or do not resume") from error
    if is_newer:
        raise PackageError(f"{path} was written by a newer gradwire: update this one")
    return arrays, fingerprint


def _checksum(stream: BinaryIO, size: int) -> bytes:
    """Return the checksum of the first bytes of a file, and leave its position behind them."""
    digest = hashlib.sha256()
    stream.seek(0)
    while size and (block := stream.read(min(size, BLOCK))):
        digest.update(block)
        size -= len(block)
    return CHECKSUM + digest.hexdigest().encode()


def _require_checksum(stream: BinaryIO) -> None:
    """Raise ValueError if a file is not followed by its checksum, and go back to its start."""
    size = stream.seek(0, os.SEEK_END) - len(CHECKSUM) - 2 * hashlib.sha256().digest_size
    behind = b"" if size < 0 else (stream.seek(size), stream.read())[1]
    if not behind.startswith(CHECKSUM):
        raise ValueError("it has no checksum: an older gradwire or another program wrote it, or it was cut")
    if behind != _checksum(stream, size):
        raise ValueError("its checksum is another: it was damaged")
    stream.seek(0)


def _with_prefix(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
