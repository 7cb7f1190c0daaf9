"""Optional dependencies: imported when they are needed, and named when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from gradwire._errors import MissingExtra


def import_extra(module: str, extra: str) -> Any:
    """Import a package of this distribution whose own dependencies are optional.

    Args:
        module: its name.
        extra: the extra that brings what it needs.

    Raises:
        MissingExtra: something that it needs is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name != module and error.name.startswith("gradwire"):
            raise  # a part of gradwire is gone, which no extra brings back
        raise MissingExtra(f"this needs {error.name}: pip install 'gradwire[{extra}]'") from error
