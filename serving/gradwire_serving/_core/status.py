"""gRPC's status codes for what TensorFlow raises, and the texts that TensorFlow Serving has for a bad SavedModel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
import tensorflow as tf

from gradwire._package import GRAPH_FILE

if TYPE_CHECKING:
    from pathlib import Path

SAVED_MODEL_FILES: Final = (GRAPH_FILE, GRAPH_FILE.with_suffix(".pbtxt"))

_CODE_NAMES: Final = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Status:
    """Why something failed, as a server says it.

    Attributes:
        code: name of the gRPC status code, such as ``"DATA_LOSS"``.
        message: the text.
    """

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def status_of(error: tf.errors.OpError) -> Status:
    """Gives the status of an error that TensorFlow raised (both number their codes alike)."""
    return Status(_CODE_NAMES[error.error_code], error.message)


def load_status(path: Path, error: Exception) -> Status:
    """Gives the status that TensorFlow Serving reports when a version cannot be loaded.

    Args:
        path: directory of the version.
        error: what loading raised.
    """
    if isinstance(error, tf.errors.OpError):
        return status_of(error)
    if not any((path / name).is_file() for name in SAVED_MODEL_FILES):
        return Status(
            "NOT_FOUND",
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {path}",
        )
    if isinstance(error, OSError):
        return Status("DATA_LOSS", f"Can't parse {path}/saved_model.pb as binary proto")
    return Status("UNKNOWN", str(error))
