"""Which packages were compiled by XLA, as their cards say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradwire._errors import PackageError
from gradwire._package import CARD_FILE, Card, version_number

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gradwire_serving._config import ModelConfig


def any_compiled(models: Iterable[ModelConfig]) -> bool:
    """Says whether any version of a model is compiled; versions with no readable card are not.

    Args:
        models: what is served.
    """
    versions = [version for model in models if model.base_path.is_dir() for version in model.base_path.iterdir()]
    return any(_is_compiled(version) for version in versions if version_number(version.name) is not None)


def _is_compiled(version: Path) -> bool:
    try:
        return Card.from_json((version / CARD_FILE).read_bytes()).compiled is not None
    except (OSError, PackageError):  # another's SavedModel, or a card of a newer format
        return False
