"""The file in which a long fit leaves what it needs to go on after it was killed."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final

import numpy as np

from gradwire._errors import PackageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import keras
    from numpy.typing import NDArray

    from gradwire_training._fit import Request

Arrays: TypeAlias = "dict[str, NDArray[Any]]"

FORMAT: Final = 1  # raised when an older reader would go wrong
EVERY_SECONDS: Final = 5.0  # what a killed fit loses at most, beside one chunk
LEAST_SHARE: Final = 20  # writing takes at most a twentieth of the time, however large the model is

ASKED: Final = "asked"
VARIABLE: Final = "variable:"
BOOKS: Final = "books:"
STATE: Final = "state:"


@final
class Checkpoint:
    """One file, replaced as a whole every few seconds; it is there as long as the fit is not done.

    Args:
        path: of the file.
        asked: what the fit was asked for, name -> text; a file of another fit is refused.
        variables: of the model that is fitted, random generators included.
    """

    def __init__(self, path: str | Path, asked: Mapping[str, str], variables: Sequence[Any]) -> None:
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._asked = dict(asked)
        self._variables = list(variables)
        self._next = time.monotonic() + EVERY_SECONDS

    @property
    def is_due(self) -> bool:
        """Whether the last one is some seconds old."""
        return time.monotonic() >= self._next

    def require_writable(self) -> None:
        """Makes the directory, and tries to write: to be told before a fit, and not in the middle of it.

        Raises:
            PackageError: it cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._part.touch()
            self._part.unlink()
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, books: Arrays, state: Arrays) -> None:
        """Writes the file beside its place, and renames it when complete.

        Args:
            books: of the monitor.
            state: of the optimiser.

        Raises:
            PackageError: it cannot be written.
        """
        began = time.monotonic()
        arrays: Arrays = {ASKED: np.array(json.dumps({"format": FORMAT, **self._asked}))}
        arrays |= {f"{VARIABLE}{i}": np.array(variable) for i, variable in enumerate(self._variables)}
        arrays |= {BOOKS + name: array for name, array in books.items()}
        arrays |= {STATE + name: array for name, array in state.items()}
        try:
            with self._part.open("wb") as stream:
                np.savez(stream, **arrays, allow_pickle=False)
                stream.flush()
                os.fsync(stream.fileno())
            self._part.replace(self._path)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            with suppress(OSError):
                self._part.unlink()  # of a write that Ctrl-C or a full disk ended
        now = time.monotonic()
        self._next = now + max(EVERY_SECONDS, LEAST_SHARE * (now - began))

    def read(self) -> tuple[Arrays, Arrays] | None:
        """Puts the model's variables back, and gives the books and the optimiser's state.

        Returns:
            None where there is no file: the fit begins at its start.

        Raises:
            PackageError: the file is damaged, or of a newer format.
            UsageError: it is of a fit that was asked for something else.
        """
        if not self._path.exists():
            return None
        try:
            # NumPy leaves a file open that it cannot read: it is opened here.
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays: Arrays = {name: file[name] for name in file.files}
            asked = json.loads(str(arrays[ASKED]))
            newer = asked.pop("format") > FORMAT
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
            raise PackageError(f"{self._path} is not a checkpoint ({error}): remove it, or do not resume") from error
        if newer:
            raise PackageError(f"{self._path} was written by a newer gradwire: update this one")
        self._require_same(asked)
        for index, variable in enumerate(self._variables):
            variable.assign(arrays[f"{VARIABLE}{index}"])
        return _below(BOOKS, arrays), _below(STATE, arrays)

    def remove(self) -> None:
        """Takes the file away: the fit is done."""
        for path in (self._path, self._part):
            path.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> PackageError:
        return PackageError(
            f"cannot write the checkpoint {self._path}: {error.strerror}; give a place that can be written"
        )

    def _require_same(self, asked: Mapping[str, str]) -> None:
        names = [name for name in {**asked, **self._asked} if asked.get(name) != self._asked.get(name)]
        if names:
            changes = "; ".join(f"{name}: {_told(asked, self._asked, name)}" for name in names)
            raise UsageError(
                f"{self._path} is of another fit ({changes}): ask for the same, or do not resume and begin again"
            )


def asked_of(request: Request, model: keras.Model) -> dict[str, str]:
    """Says in texts what a fit is asked for: two fits that differ in any of them end elsewhere.

    Args:
        request: the fit.
        model: that it starts from.
    """
    layers = [(type(layer).__name__, layer.count_params(), *_shape_of(layer)) for layer in model.layers]
    pins = request.loss.pins
    return {
        "samples": digest_of(request.samples.arrays()),
        "stream": "none" if request.stream is None else json.dumps(request.stream.settings()),
        "loss": json.dumps(request.loss.settings(), default=str)
        + (f", pins {digest_of(pins.arrays())}" if pins else ""),
        "network": json.dumps(layers, default=str),
        "initial weights": digest_of((str(i), np.array(w)) for i, w in enumerate(model.weights)),
        "optimizer": json.dumps([request.optimizer.name, request.optimizer.settings()], default=str),
        "steps": str(request.steps),
        "seed": str(request.seed),
        "dtype": request.dtype,
    }


def digest_of(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """Digests named arrays: their names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def _shape_of(layer: keras.Layer) -> list[Any]:
    config = layer.get_config()
    return [config[key] for key in ("units", "activation") if key in config]


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _told(before: Mapping[str, str], now: Mapping[str, str], name: str) -> str:
    return f"it had {before.get(name, 'none')}, now {now.get(name, 'none')}"
