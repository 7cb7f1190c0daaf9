"""The digest says which function a package is: nothing else moves it (that exports repeat: test_reproducible)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import keras
import pytest

import gradwire
from gradwire_export import _export, digest, export


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch):
    """What is written is looked at here, not whether it is right."""
    monkeypatch.setattr(_export, "check_package", lambda *_, **__: {})
    monkeypatch.setattr(_export, "write_warmup", lambda *_, **__: None)
    monkeypatch.setattr(_export, "complete_card", lambda package, card, _: replace(card, digest=digest(package)))


def digest_of(to: Path) -> str:
    """Exports a small network."""
    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    return export(model, to=to, signatures=()).card.digest


def test_a_package_keeps_its_digest_wherever_it_lies(tmp_path: Path):
    """Copied, under another version, beside other files: assets.extra and the fingerprint are not part of it."""
    first = digest_of(tmp_path / "a")
    moved = tmp_path / "elsewhere" / "7"
    shutil.copytree(tmp_path / "a" / "1", moved)
    (moved / "fingerprint.pb").write_bytes(b"another")
    (moved / "assets.extra").mkdir(exist_ok=True)
    (moved / "assets.extra" / "notes.txt").write_text("mine")
    assert digest(moved) == first


def test_load_refuses_a_package_with_another_weight(tmp_path: Path):
    """A file that was changed is named, before TensorFlow sees it."""
    digest_of(tmp_path / "a")
    package = tmp_path / "a" / "1"
    card = package / "assets" / "card.json"
    card.write_text(replace(gradwire.Card.from_json(card.read_text()), digest=digest(package)).to_json())
    gradwire.load(package).close()
    (data,) = (package / "variables").glob("*.data-*")
    weights = bytearray(data.read_bytes())
    weights[-1] ^= 1
    data.write_bytes(weights)
    with pytest.raises(gradwire.PackageError, match="is not the package that its card describes"):
        gradwire.load(package)
