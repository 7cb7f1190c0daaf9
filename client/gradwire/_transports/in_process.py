"""A package in this process, through the Servable of the embedded server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from gradwire._errors import DeadlineExceeded, ServerError, UsageError
from gradwire._extras import import_extra
from gradwire._package import BFLOAT16, Signature, read_signatures, version_number
from gradwire._transports.base import Transport
from gradwire._wire import Call, VersionStatus, proto

_ONLY_VERSION: Final = 1  # what a package outside a numbered directory counts as


@final
class InProcessTransport(Transport):
    """Runs a package in this process.

    TensorFlow does not survive a fork, so neither does this transport: in the child of a fork it raises UsageError.
    Processes that start afresh (``spawn``) receive it by pickling, as its path.

    Args:
        path: of one version, as from ``find_package``.

    Raises:
        MissingExtra: TensorFlow is not installed.
        PackageError: the package cannot be loaded.
    """

    can_run_empty: ClassVar[bool] = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._servable = import_extra("gradwire_serving", "serve").Servable.load(path)
        self._pid = os.getpid()

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
        defs = self._open().signature_defs
        return read_signatures({name: proto.SignatureDef.FromString(defs[name].SerializeToString()) for name in defs})

    @override
    def predict(self, call: Call, *, timeout: float) -> Mapping[str, NDArray[Any]]:
        takes, gives = call.signature.inputs, call.signature.outputs
        inputs = {name: _to_tensorflow(array, takes[name].dtype) for name, array in call.inputs.items()}
        names = None if call.outputs is None else list(call.outputs)
        try:
            outputs = self._open().run(call.signature.name, inputs, names, timeout)
        except ServerError as error:
            if error.code == "DEADLINE_EXCEEDED":
                raise DeadlineExceeded(
                    f"{self._path} did not answer within {timeout:g} s: give a longer timeout"
                ) from error
            raise
        return {name: _from_tensorflow(array, gives[name].dtype) for name, array in outputs.items()}

    @override
    def status(self, *, timeout: float) -> list[VersionStatus]:
        self._open()
        version = version_number(self._path.name)
        return [VersionStatus(_ONLY_VERSION if version is None else version, "AVAILABLE", "")]

    @override
    def close(self) -> None:
        servable, self._servable = self._servable, None
        if servable is not None and self._pid == os.getpid():
            servable.close()

    @override
    def __reduce__(self) -> tuple[object, ...]:
        return InProcessTransport, (self._path,)

    def _open(self) -> Any:
        if self._servable is None:
            raise UsageError(f"{self._path} was closed: load it again")
        if self._pid != os.getpid():
            raise UsageError(
                f"{self._path} was loaded before a fork, which TensorFlow does not survive: start processes with "
                "'spawn', or serve the package and gradwire.connect to it"
            )
        return self._servable


def _to_tensorflow(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == BFLOAT16:
        return array.astype(np.dtype(BFLOAT16))  # TensorFlow, loaded by now, teaches NumPy this name
    return np.asarray(array, order="C") if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _from_tensorflow(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    return array.astype(np.float32) if dtype == BFLOAT16 else array
