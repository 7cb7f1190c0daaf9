"""The config files that TensorFlow Serving gets beside its flags, as text, and where they are written."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from gradwire_serving._config import DEFAULT_METRICS_PATH

# As in serving/batching.config, which says why.
MAX_BATCH_SIZE: Final = 2**20
MAX_EXECUTION_BATCH_SIZE: Final = 2**16
BATCH_TIMEOUT_MICROS: Final = 300
BATCH_THREADS: Final = 3
BATCHES_PER_THREAD: Final = 2  # of gRPC: what the threads let in is held, and as much again


def monitoring_text() -> str:
    """Return the ``MonitoringConfig`` that switches the page of metrics on."""
    return f'prometheus_config {{\n  enable: true\n  path: "{DEFAULT_METRICS_PATH}"\n}}\n'


def batching_text(call_threads: int) -> str:
    """Return the ``BatchingParameters`` for a GPU.

    Args:
        call_threads: of gRPC: no queue of batches refuses what they let in.
    """
    fields = {
        "max_batch_size": MAX_BATCH_SIZE,
        "enable_large_batch_splitting": "true",
        "max_execution_batch_size": MAX_EXECUTION_BATCH_SIZE,
        "batch_timeout_micros": BATCH_TIMEOUT_MICROS,
        "num_batch_threads": BATCH_THREADS,
        "max_enqueued_batches": BATCHES_PER_THREAD * call_threads,
    }
    return "".join(f"{name} {{ value: {value} }}\n" for name, value in fields.items())


def config_path(kind: str, text: str) -> Path:
    """Return where a config file is written.

    It is named by its content: printed today and run tomorrow, it is the same file, and no two servers share one by
    chance.
    """
    name = f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.config"
    return Path(tempfile.gettempdir()) / f"gradwire-{os.getuid()}" / name
