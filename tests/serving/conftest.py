"""Small models, made as those of the conformance tests."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the models log, types, slow, defaults and corrupt."""
    root = tmp_path_factory.mktemp("models")
    maker = Path(__file__).parents[1] / "conformance" / "make_models.py"
    runpy.run_path(str(maker))["make"](root, "log", "types", "slow", "defaults", "corrupt")
    return root
