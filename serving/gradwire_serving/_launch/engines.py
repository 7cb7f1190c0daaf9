"""Which engines this machine has."""

from __future__ import annotations

import shutil
import subprocess
from typing import Final

from gradwire._errors import UsageError

MODEL_SERVER: Final = "tensorflow_model_server"
DOCKER: Final = "docker"
EMBEDDED: Final = "embedded"
AUTO: Final = "auto"
ENGINES: Final = (MODEL_SERVER, DOCKER, EMBEDDED)  # in order of preference

TF_SERVING_VERSION: Final = "2.20.0"  # also in Dockerfile: the newest release tag when this was written
IMAGE: Final = f"tensorflow/serving:{TF_SERVING_VERSION}"

DOCKER_TIMEOUT: Final = 10.0  # seconds; a daemon that is there answers in one


def find_engine(engine: str = AUTO) -> str:
    """Choose a server.

    Args:
        engine: one of ``ENGINES``, or ``auto`` for the first that the machine has. Docker counts for ``auto`` only
            where the image is there already: a command that works without must not download half a gigabyte.

    Returns:
        One of ``ENGINES``.

    Raises:
        UsageError: there is no such engine, or the machine does not have it.
    """
    match engine:
        case "auto":
            if shutil.which(MODEL_SERVER):
                return MODEL_SERVER
            return DOCKER if _docker_answers("image", "inspect", IMAGE) else EMBEDDED
        case "embedded":
            return EMBEDDED
        case "tensorflow_model_server":
            if not shutil.which(MODEL_SERVER):
                raise UsageError(f"{MODEL_SERVER} is not on the PATH; install it, or use --engine docker or embedded")
            return MODEL_SERVER
        case "docker":
            if not _docker_answers("version"):
                raise UsageError("no Docker daemon answers; start it, or use --engine embedded")
            return DOCKER
        case _:
            raise UsageError(f"there is no engine {engine!r}; expected {AUTO}, {', '.join(ENGINES)}")


def _docker_answers(*arguments: str) -> bool:
    program = shutil.which(DOCKER)
    if program is None:
        return False
    command = [program, *arguments]
    try:
        completed = subprocess.run(command, capture_output=True, check=False, timeout=DOCKER_TIMEOUT)  # noqa: S603 - ours
    except subprocess.TimeoutExpired:
        return False
    return completed.returncode == 0
