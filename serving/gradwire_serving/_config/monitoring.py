"""Where the page of metrics is: ``MonitoringConfig``, read."""

from __future__ import annotations

from typing import Final

from gradwire._errors import UsageError
from gradwire_serving._config.messages import read_message

DEFAULT_METRICS_PATH: Final = "/monitoring/prometheus/metrics"


def metrics_path(file: str) -> str:
    """Return the path of the page of metrics, from the file of ``--monitoring_config_file``; empty for none.

    Raises:
        UsageError: the file cannot be read, or is no ``MonitoringConfig``.
    """
    if not file:
        return ""
    config = read_message(file, "MonitoringConfig", "serving/monitoring.config")
    if not config.prometheus_config.enable:
        return ""
    path: str = config.prometheus_config.path or DEFAULT_METRICS_PATH
    if not path.startswith("/"):
        raise UsageError(f"{file} has prometheus_config.path {path!r}, expected one that starts with /")
    return path
