"""A package compiled to C for this machine, in this process."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import stat
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import DeadlineExceeded, PackageError, UsageError
from gradwire._extras import import_extra
from gradwire._package import (
    CARD,
    CARD_ANSWER,
    CARD_FILE,
    KERNELS_FILE,
    KERNELS_LIBRARY,
    Card,
    Signature,
    digest,
    signatures_of,
    version_number,
)
from gradwire._transports.base import Transport
from gradwire._transports.in_process import InProcessTransport
from gradwire._wire import Call, VersionStatus

FORMAT: Final = 1  # of what is cached; another number builds anew
ALONE: Final = 4096  # rows; fewer are done before other threads could help
PIECE: Final = 1 << 15  # rows; between two pieces the clock is looked at


@final
class NativeTransport(Transport):
    """Runs a package as C that was compiled for this machine, on all of its cores.

    Signatures that are not written as C (``uncertainty``, those of ``solve``) run in TensorFlow, which is loaded when
    one of them is called for the first time.

    The kernels are built where they are not cached yet, which takes TensorFlow, a C compiler and seconds, and are
    compared with the package then. The cache is ``$XDG_CACHE_HOME/gradwire/kernels``, by default in ``~/.cache``.

    Args:
        path: of one version, as from ``find_package``.

    Raises:
        MissingExtra: there is no C compiler, or no TensorFlow to build with.
        PackageError: the package cannot be read, or another user could write to the cache.
        ConversionError: the package is no dense network.
        CheckFailed: the kernels do not agree with the package.
    """

    can_run_empty: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        self._path = path
        directory = _built(path)
        about = json.loads((directory / KERNELS_FILE).read_bytes())
        self._card = (path / CARD_FILE).read_bytes()
        card = Card.from_json(self._card)
        contract = signatures_of(card)
        self._signatures = {name: contract[name] for name in sorted({*card.signatures, CARD})}
        self._compiled = frozenset(about["signatures"])
        self._others: InProcessTransport | None = None
        self._library: ctypes.CDLL | None = ctypes.CDLL(str(directory / KERNELS_LIBRARY))
        self._threads: ThreadPoolExecutor | None = None
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self.speedup = float(about["speedup"])  # over TensorFlow, of value and derivatives, when it was built

    @property
    @override
    def address(self) -> str:
        return str(self._path)

    @property
    @override
    def version(self) -> int | None:
        return version_number(self._path.name)

    @override
    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        self._open()
        return self._signatures

    @override
    def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        library, name = self._open(), call.signature.name
        if name == CARD:
            return {CARD_ANSWER: np.full(len(next(iter(call.inputs.values()))), self._card, dtype=object)}
        if name not in self._compiled:
            return self._in_tensorflow().predict(call, timeout=timeout)
        signature = self._signatures[name]
        inputs = [_contiguous(call.inputs[each]) for each in signature.inputs]
        rows = len(inputs[0])
        outputs = {
            each: np.empty((rows, *spec.least_row_shape), spec.dtype) for each, spec in signature.outputs.items()
        }
        function, arrays = library[name], list(outputs.values())
        if rows <= ALONE:
            _run(function, inputs, arrays, 0, rows)
        else:
            self._run_apart(function, inputs, arrays, time.monotonic() + timeout, timeout)
        return outputs if call.outputs is None else {each: outputs[each] for each in call.outputs}

    @override
    def status(self, *, timeout: float) -> list[VersionStatus]:
        self._open()
        return [VersionStatus(self.version or 1, "AVAILABLE", "")]

    @override
    def close(self) -> None:
        others, self._library, self._others = self._others, None, None
        if others is not None:
            others.close()
        threads, self._threads = self._threads, None
        if threads is not None and self._pid == os.getpid():
            threads.shutdown(wait=False, cancel_futures=True)

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return NativeTransport, (self._path,)

    def _open(self) -> ctypes.CDLL:
        if self._library is None:
            raise UsageError(f"{self._path} was closed: load it again")
        return self._library

    def _run_apart(
        self, function: Any, inputs: Sequence[Any], outputs: Sequence[Any], deadline: float, timeout: float
    ) -> None:
        """Run pieces of the rows on all cores, until the deadline."""
        rows, threads = len(inputs[0]), self._pool()
        count = max(-(-rows // PIECE), min(_cores(), -(-rows // ALONE)))
        edges = [rows * index // count for index in range(count + 1)]
        pieces = [threads.submit(_run, function, inputs, outputs, start, end) for start, end in pairwise(edges)]
        try:
            for piece in pieces:
                _wait(piece, deadline)
        except FutureTimeoutError as error:
            for piece in pieces:
                piece.cancel()
            raise DeadlineExceeded(
                f"{self._path} did not answer within {timeout:g} s: give a longer timeout"
            ) from error

    def _in_tensorflow(self) -> InProcessTransport:
        with self._lock:
            if self._others is None:
                self._others = InProcessTransport(self._path)
            return self._others

    def _pool(self) -> ThreadPoolExecutor:
        """Return the threads, which do not survive a fork."""
        with self._lock:
            if self._threads is None or self._pid != os.getpid():
                self._threads, self._pid = ThreadPoolExecutor(_cores(), "gradwire-native"), os.getpid()
            return self._threads


def _wait(piece: Future[None], deadline: float) -> None:
    piece.result(timeout=max(deadline - time.monotonic(), 0.0))


def _run(function: Any, inputs: Sequence[Any], outputs: Sequence[Any], start: int, end: int) -> None:
    """Run a routine on some rows; ctypes lets other threads run meanwhile."""
    function(ctypes.c_long(end - start), _pointers(inputs, start), _pointers(outputs, start))


def _pointers(arrays: Sequence[NDArray[Any]], row: int) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data + row * array.strides[0] for array in arrays))


def _contiguous(array: NDArray[Any]) -> NDArray[Any]:
    return np.require(array, array.dtype.newbyteorder("="), "C")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _built(path: Path) -> Path:
    """Return the directory of a package's kernels, which are built where they are not there."""
    known = json.dumps([FORMAT, digest(path), platform.machine(), platform.processor(), _flags()])
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gradwire", "kernels")
    directory = base / hashlib.sha256(known.encode()).hexdigest()
    base.mkdir(parents=True, exist_ok=True, mode=0o700)
    _require_own(base)
    if not (directory / KERNELS_FILE).is_file():
        build = import_extra("gradwire_export._native", "train").build_library
        with tempfile.TemporaryDirectory(dir=base, ignore_cleanup_errors=True) as staged:
            build(path, Path(staged))
            try:
                Path(staged).rename(directory)
            except OSError:  # another process was first
                if not (directory / KERNELS_FILE).is_file():
                    raise
    return directory


def _require_own(base: Path) -> None:
    """Raise PackageError where somebody else could put a library: it runs as this user."""
    status = base.lstat()
    is_shared = bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if stat.S_ISLNK(status.st_mode) or is_shared or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        raise PackageError(
            f"{base} belongs to another user, is a link, or can be written by others, and libraries are loaded from it: "
            "set XDG_CACHE_HOME to a directory of your own"
        )


def _flags() -> str:
    """What this processor can do: a library for another may stop the process."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
