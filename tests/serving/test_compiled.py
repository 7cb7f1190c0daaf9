"""Packages that XLA compiled: real servers get the flag without which a CPU responds INTERNAL."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradwire._package.card import Card, CardTensor
from gradwire_serving import ServerOptions, command

FLAG = "--xla_cpu_compilation_enabled=true"
ENGINES = ("tensorflow_model_server", "docker")


def package(base: Path, *, compiled: bool) -> None:
    """A version directory with a card."""
    x = CardTensor("x", "float32", (1,))
    entry = {"by": "xla", "batch_sizes": [1, 8], "needs": FLAG} if compiled else None
    card = Card("m", (x,), (x,), {}, ("serving_default",), compiled=entry)
    (base / "assets").mkdir(parents=True)
    (base / "assets" / "card.json").write_text(card.to_json())


@pytest.mark.parametrize("engine", ENGINES)
def test_the_flag_is_set_where_a_version_is_compiled(engine, tmp_path):
    """One compiled version of one model is enough, by whichever option it is served."""
    package(tmp_path / "plain" / "1", compiled=False)
    package(tmp_path / "quick" / "1", compiled=False)
    assert FLAG not in command(engine, ServerOptions(directory=tmp_path))
    package(tmp_path / "quick" / "2", compiled=True)
    assert FLAG in command(engine, ServerOptions(directory=tmp_path))
    assert FLAG in command(engine, ServerOptions(model_base_path=str(tmp_path / "quick")))
    assert FLAG not in command(engine, ServerOptions(model_base_path=str(tmp_path / "plain")))


def test_the_flag_is_set_for_a_config_that_can_be_read(tmp_path):
    """A config file of this machine is looked into; one inside a container is left alone."""
    package(tmp_path / "quick" / "1", compiled=True)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "q" base_path: "{tmp_path}/quick" model_platform: "tensorflow" }} }}'
    )
    assert FLAG in command(ENGINES[0], ServerOptions(model_config_file=str(config)))
    assert FLAG not in command(ENGINES[0], ServerOptions(model_config_file="/config/models.config"))


def test_cards_that_cannot_be_read_count_for_nothing(tmp_path):
    """A foreign SavedModel, a broken card, a directory that is no version."""
    (tmp_path / "foreign" / "1").mkdir(parents=True)
    package(tmp_path / "broken" / "1", compiled=True)
    (tmp_path / "broken" / "1" / "assets" / "card.json").write_text("{}")
    package(tmp_path / "broken" / "notes", compiled=True)
    assert FLAG not in command(ENGINES[0], ServerOptions(directory=tmp_path))


def test_the_embedded_server_needs_no_flag(tmp_path):
    """Its process may always compile."""
    package(tmp_path / "quick" / "1", compiled=True)
    assert FLAG not in command("embedded", ServerOptions(directory=tmp_path))
