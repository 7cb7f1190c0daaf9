"""How calls are batched: ``BatchingParameters`` as text, of the server or of a package."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from gradwire._errors import UsageError
from gradwire_serving._config.messages import message_class
from gradwire_serving._config.options import ServerOptions
from gradwire_serving._core import BatchingParameters, Code, StatusError, invalid_argument

PACKAGE_FILE: Final = "batching_params.pbtxt"  # in a version's directory
MICROS: Final = 1e-6  # seconds


def batching_of(options: ServerOptions) -> Callable[[Path], BatchingParameters | None] | None:
    """Return what gives the parameters of a version's directory (None: its calls are not batched), or no batching.

    Raises:
        UsageError: the options contradict one another, or their file cannot be used.
    """
    if not options.enable_batching:
        if options.batching_parameters_file:
            raise UsageError("--batching_parameters_file is set without --enable_batching; expected both")
        return None
    if options.enable_per_model_batching_parameters:
        return _of_package
    parameters = BatchingParameters()
    if options.batching_parameters_file:
        try:
            parameters = read_batching(Path(options.batching_parameters_file))
        except StatusError as error:
            raise UsageError(f"{options.batching_parameters_file}: {error}; see serving/batching.config") from error
    return lambda _: parameters


def read_batching(path: Path) -> BatchingParameters:
    """Read a file of ``BatchingParameters``; a StatusError where that fails."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise invalid_argument(f"{path} is not a file")
        message: Any = text_format.Parse(path.read_text(encoding="utf-8"), message_class("BatchingParameters")())
    except OSError as error:
        raise StatusError(Code.NOT_FOUND, f"{path}; {error.strerror}") from error
    except (text_format.ParseError, ValueError) as error:
        raise invalid_argument(f"Invalid protobuf file: '{path}': {error}") from error
    values: dict[str, Any] = {
        name: getattr(message, name).value
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads")
        if message.HasField(name)
    }
    if message.HasField("batch_timeout_micros"):
        values["batch_timeout"] = message.batch_timeout_micros.value * MICROS
    if message.enable_large_batch_splitting.value and message.HasField("max_execution_batch_size"):
        values["max_execution_batch_size"] = message.max_execution_batch_size.value
    if message.HasField("thread_pool_name"):
        values["thread_pool_name"] = message.thread_pool_name.value
    return BatchingParameters(
        **values,
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
    )


def _of_package(version: Path) -> BatchingParameters | None:
    file = version / PACKAGE_FILE
    return read_batching(file) if file.exists() else None
