"""JSON that every reader takes."""

from __future__ import annotations

import json
import math
from typing import Any


def strict_json(value: Any) -> str:
    """Writes plain data as JSON text; numbers that are not finite, which JSON does not have, become null.

    Args:
        value: of dicts, lists, tuples, texts, numbers, bools and None.
    """
    return json.dumps(_finite(value), indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        entries: dict[Any, Any] = {**value}
        return {str(key): _finite(entry) for key, entry in entries.items()}
    if isinstance(value, (list, tuple)):
        items: list[Any] = [*value]
        return [_finite(item) for item in items]
    return None if isinstance(value, float) and not math.isfinite(value) else value
