"""The config file of models, read again while the server runs (``--model_config_file_poll_wait_seconds``)."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import final

from gradwire._errors import UsageError
from gradwire_serving._config.models import read_config_file
from gradwire_serving._core import Configuration, StatusError, event


@final
class ConfigFile:
    """Applies the file whenever it has changed; one that cannot be used changes nothing, and is said once."""

    def __init__(self, path: Path, configuration: Configuration, interval: float) -> None:
        self._path = path
        self._configuration = configuration
        self._interval = interval
        self._problem = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gradwire-config", daemon=True)

    def start(self) -> None:
        """Begin to poll, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._stopping.set()

    def poll(self) -> None:
        """Read the file once, and serve its models if they are others."""
        try:
            models = read_config_file(self._path)
            if tuple(models) != self._configuration.models:
                self._configuration.replace(models)
            self._problem = ""
        except (UsageError, StatusError) as error:
            if str(error) != self._problem:
                self._problem = str(error)
                event(logging.ERROR, "problem", problem="the config file cannot be used", error=error)

    def _watch(self) -> None:
        while not self._stopping.wait(self._interval):
            self.poll()
