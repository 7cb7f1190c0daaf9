"""The server's log: one line an event, ``loaded model=log version=2 seconds=0.31``, or the same as JSON."""

from __future__ import annotations

import json
import logging
import time
from typing import Final, final

from typing_extensions import override

log: Final = logging.getLogger("gradwire_serving")


def event(level: int, name: str, **fields: object) -> None:
    """Log an event by its name, with what it is about."""
    if log.isEnabledFor(level):
        log.log(level, "%s", _line(name, fields), extra={"event": name, "fields": fields})


@final
class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: ``time`` (seconds), ``level``, ``event``, and the event's fields."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {"text": record.getMessage()})
        entry = {"time": record.created, "level": record.levelname.lower(), "event": getattr(record, "event", "log")}
        return json.dumps(entry | fields | self._error(record), default=str)

    def _error(self, record: logging.LogRecord) -> dict[str, str]:
        return {"error": self.formatException(record.exc_info)} if record.exc_info else {}


@final
class TextFormatter(logging.Formatter):
    """Writes a record as one line of text, an exception below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime


def _line(name: str, fields: dict[str, object]) -> str:
    return " ".join([name, *(f"{key}={_word(value)}" for key, value in fields.items())])


def _word(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if text.isprintable() and text and " " not in text and '"' not in text else json.dumps(text)
