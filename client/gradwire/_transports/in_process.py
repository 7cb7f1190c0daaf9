"""A package in this process, through the Servable of the embedded server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradwire._errors import DeadlineExceeded, ServerError, UsageError
from gradwire._extras import import_extra
from gradwire._package import BFLOAT16, read_signatures, version_number
from gradwire._transports.base import Transport
from gradwire._wire import VersionStatus, proto

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gradwire._package import Signature

_ONLY_VERSION: Final = 1  # what a package outside a numbered directory counts as


@final
class InProcessTransport(Transport):
    """Runs a package in this process.

    TensorFlow does not survive a fork, so neither does this transport: in the child of a fork it says so.
    Processes that start afresh (``spawn``) get it by pickling, as its path.

    Args:
        path: of one version, as from ``find_package``.

    Raises:
        MissingExtra: TensorFlow is not installed.
        PackageError: the package cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._servable = import_extra("gradwire_serving", "serve").Servable.load(path)
        self._pid = os.getpid()

    @property
    def address(self) -> str:
        """The directory, for people."""
        return str(self._path)

    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        """Reads the signatures; see ``Transport``."""
        found = self._open().signature_defs
        return read_signatures({name: proto.SignatureDef.FromString(found[name].SerializeToString()) for name in found})

    def predict(
        self,
        signature: Signature,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout: float,
    ) -> Mapping[str, NDArray[Any]]:
        """Runs a signature; see ``Transport``."""
        specs = signature.inputs
        fed = {name: _fed(array, specs[name].dtype) for name, array in inputs.items()}
        try:
            found = self._open().run(signature.name, fed, None if outputs is None else list(outputs), timeout)
        except ServerError as error:
            if error.code == "DEADLINE_EXCEEDED":
                raise DeadlineExceeded(
                    f"{self._path} did not answer within {timeout:g} s: give a longer timeout"
                ) from error
            raise
        return {name: _native(array) for name, array in found.items()}

    def status(self, *, timeout: float) -> list[VersionStatus]:
        """Says that the version that was loaded is available."""
        self._open()
        version = version_number(self._path.name)
        return [VersionStatus(_ONLY_VERSION if version is None else version, "AVAILABLE", "")]

    def close(self) -> None:
        """Frees the package."""
        servable, self._servable = self._servable, None
        if servable is not None and self._pid == os.getpid():
            servable.close()

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


def _fed(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == BFLOAT16:
        return array.astype(np.dtype(BFLOAT16))  # TensorFlow, loaded by now, teaches NumPy this name
    return np.ascontiguousarray(array) if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _native(array: Any) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype.name == BFLOAT16 else array
