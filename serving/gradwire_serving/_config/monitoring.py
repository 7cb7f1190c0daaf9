"""Where the page of metrics is: ``MonitoringConfig``, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from gradwire._errors import UsageError

DEFAULT_METRICS_PATH: Final = "/monitoring/prometheus/metrics"


def metrics_path(file: str) -> str:
    """Return the path of the page of metrics, from the file of ``--monitoring_config_file``; empty for none.

    Raises:
        UsageError: the file cannot be read, or is no ``MonitoringConfig``.
    """
    if not file:
        return ""
    try:
        config = text_format.Parse(Path(file).read_text(encoding="utf-8"), _message()())
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; expected a MonitoringConfig as text") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not a MonitoringConfig: {error}; see serving/monitoring.config") from error
    if not config.prometheus_config.enable:
        return ""
    path: str = config.prometheus_config.path or DEFAULT_METRICS_PATH
    if not path.startswith("/"):
        raise UsageError(f"{file} has prometheus_config.path {path!r}, expected one that starts with /")
    return path


def _message() -> Any:
    """Return the class of ``monitoring_config.proto``, which the package tensorflow-serving-api lacks."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="gradwire/monitoring_config.proto", package="gradwire.monitoring")
    file.syntax = "proto3"
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        type=kinds.TYPE_MESSAGE,
        label=kinds.LABEL_OPTIONAL,
        type_name=".gradwire.monitoring.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("gradwire.monitoring.MonitoringConfig"))
