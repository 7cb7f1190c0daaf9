"""Loading a version for service: the SavedModel, then its warm-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire._errors import ServerError
from gradwire_serving._core.servable import Servable
from gradwire_serving._core.session import LoadedSession
from gradwire_serving._core.status import Status, load_status
from gradwire_serving._core.warmup import warm_up

if TYPE_CHECKING:
    from pathlib import Path


def load_version(path: Path, *, enable_warmup: bool) -> Servable | Status:
    """Loads a version's directory.

    Args:
        path: the directory.
        enable_warmup: whether to run its recorded requests.

    Returns:
        What answers, or why nothing can.
    """
    try:
        servable = Servable(LoadedSession(path))
    except Exception as error:  # noqa: BLE001 - TensorFlow's loader raises whatever a bad graph leads it to
        return load_status(path, error)
    try:
        if enable_warmup:
            warm_up(servable, path)
    except ServerError as error:
        servable.close()
        return Status(error.code, str(error))
    return servable
