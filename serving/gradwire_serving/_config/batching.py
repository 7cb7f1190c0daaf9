"""How calls are batched: ``BatchingParameters`` as text, of the server or of a package."""

from __future__ import annotations

import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from gradwire._errors import UsageError
from gradwire_serving._config.options import ServerOptions
from gradwire_serving._core import BatchingParameters, Code, StatusError, invalid_argument

PACKAGE_FILE: Final = "batching_params.pbtxt"  # in a version's directory
MICROS: Final = 1e-6  # seconds

_Field: Final = descriptor_pb2.FieldDescriptorProto
# The message's fields: tensorflow-serving-api does not have it.
_FIELDS: Final = {
    "max_batch_size": ".google.protobuf.Int64Value",
    "batch_timeout_micros": ".google.protobuf.Int64Value",
    "max_enqueued_batches": ".google.protobuf.Int64Value",
    "num_batch_threads": ".google.protobuf.Int64Value",
    "thread_pool_name": ".google.protobuf.StringValue",
    "allowed_batch_sizes": _Field.TYPE_INT64,
    "pad_variable_length_inputs": _Field.TYPE_BOOL,
    "enable_large_batch_splitting": ".google.protobuf.BoolValue",
    "max_execution_batch_size": ".google.protobuf.Int64Value",
}


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
        message: Any = text_format.Parse(path.read_text(encoding="utf-8"), _message_class()())
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
    return BatchingParameters(
        **values,
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
    )


def _of_package(version: Path) -> BatchingParameters | None:
    file = version / PACKAGE_FILE
    return read_batching(file) if file.exists() else None


@cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="gradwire/batching.proto",
        package="gradwire",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    message = file.message_type.add(name="BatchingParameters")
    for number, (name, kind) in enumerate(_FIELDS.items(), start=1):
        repeated = name == "allowed_batch_sizes"
        added = message.field.add(
            name=name, number=number, label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
        )
        if isinstance(kind, str):
            added.type, added.type_name = _Field.TYPE_MESSAGE, kind
        else:
            added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("gradwire.BatchingParameters"))
