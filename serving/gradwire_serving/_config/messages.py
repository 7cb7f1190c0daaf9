"""Config files as text: the messages of TensorFlow Serving that the package tensorflow-serving-api lacks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from gradwire._errors import UsageError

# The fields of github.com/tensorflow/serving/tree/master/tensorflow_serving: config/ssl_config.proto,
# config/monitoring_config.proto, and BatchingParameters of servables/tensorflow/session_bundle_config.proto. The files
# are text, so the fields' numbers do not matter.
_PACKAGE: Final = "gradwire"
_FIELDS: Final = {
    "SSLConfig": {"server_key": "string", "server_cert": "string", "custom_ca": "string", "client_verify": "bool"},
    "PrometheusConfig": {"enable": "bool", "path": "string"},
    "MonitoringConfig": {"prometheus_config": f".{_PACKAGE}.PrometheusConfig"},
    "BatchingParameters": {
        "max_batch_size": ".google.protobuf.Int64Value",
        "batch_timeout_micros": ".google.protobuf.Int64Value",
        "max_enqueued_batches": ".google.protobuf.Int64Value",
        "num_batch_threads": ".google.protobuf.Int64Value",
        "thread_pool_name": ".google.protobuf.StringValue",
        "allowed_batch_sizes": "repeated int64",
        "pad_variable_length_inputs": "bool",
        "enable_large_batch_splitting": ".google.protobuf.BoolValue",
        "max_execution_batch_size": ".google.protobuf.Int64Value",
    },
}
_REPEATED: Final = "repeated "


def read_message(file: str, name: str, example: str) -> Any:
    """Read a config file.

    Args:
        file: its path.
        name: of the message that it holds.
        example: where its reader finds one.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        return text_format.Parse(Path(file).read_text(encoding="utf-8"), message_class(name)())
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; expected a {name} as text") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not a {name}: {error}; see {example}") from error


@cache
def message_class(name: str) -> Any:
    """Return the class of a message."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="gradwire/config.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            label = kinds.LABEL_REPEATED if kind.startswith(_REPEATED) else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind.startswith("."):
                added.type, added.type_name = kinds.TYPE_MESSAGE, kind
            else:
                added.type = kinds.Type.Value(f"TYPE_{kind.removeprefix(_REPEATED).upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return pool
