"""A new version has the contract of the one before it, or is refused: a server's callers get it unasked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import tensorflow as tf

from gradwire._errors import UsageError
from gradwire._package import Card, CardTensor, Domain
from gradwire_export import export
from gradwire_export._package import require_same_contract

X, T = (CardTensor(name, "float64", (1,)) for name in "xt")
F, G = (CardTensor(name, "float64", (1,)) for name in "fg")
BY_INPUT = {"f": {"x": "df_dx", "t": "df_dt"}, "g": {"x": "dg_dx", "t": "dg_dt"}}
CARD = Card("m", (X, T), (F, G), BY_INPUT, ("serving_default", "value", "jvp", "card"))

OTHER: dict[str, tuple[dict[str, Any], str]] = {
    "another output": (
        {"outputs": (replace(F, name="price"), G), "derivatives": {"price": BY_INPUT["f"], "g": BY_INPUT["g"]}},
        "outputs f, g, now price, g",
    ),
    "an output less": ({"outputs": (F,), "derivatives": {"f": BY_INPUT["f"]}}, "outputs f, g, now f"),
    "another input": ({"inputs": (X, replace(T, name="tau"))}, "inputs x, t, now x, tau"),
    "another order of inputs": ({"inputs": (T, X)}, "inputs x, t, now t, x"),
    "another shape": ({"inputs": (X, replace(T, shape=()))}, r"input t float64 \(1,\), now float64 \(\)"),
    "another dtype": (
        {"outputs": (F, replace(G, dtype="float32"))},
        r"output g float64 \(1,\), now float32 \(1,\)",
    ),
    "a derivative less": (
        {"derivatives": BY_INPUT | {"f": {"x": "df_dx"}}},
        "f differentiated with respect to x, t, now x",
    ),
    "a signature less": ({"signatures": ("serving_default", "value", "card")}, "now without the signatures jvp"),
}


def write(card: Card, version: Any) -> None:
    """Write as much of a package as is looked at."""
    (version / "assets").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    (version / "assets" / "card.json").write_text(card.to_json())


@pytest.fixture
def served(tmp_path):
    """A model's directory with the first version."""
    write(CARD, tmp_path / "m" / "1")
    return tmp_path / "m"


@pytest.mark.parametrize("name", OTHER)
def test_another_contract_is_refused_by_its_differences(name, served):
    """The message names what differs, and that alone, and how to ask for it."""
    entries, differences = OTHER[name]
    with pytest.raises(UsageError, match=rf"1 has another contract \({differences}\), .*--replace-contract"):
        require_same_contract(served, replace(CARD, **entries))


def test_the_same_contract_needs_no_permission(served):
    """Units, domains, other weights, and signatures besides those that there were."""
    x = replace(X, unit="m", domain=Domain(0.0, 1.0))
    signatures = ("serving_default", "value", "jvp", "vjp", "card")
    require_same_contract(served, replace(CARD, inputs=(x, T), signatures=signatures, digest="sha256:0"))


def test_the_latest_version_that_a_server_loads_counts(served):
    """The highest number, neither the last written nor an empty directory."""
    (served / "70").mkdir()
    require_same_contract(served, CARD)
    write(replace(CARD, outputs=(F,), derivatives={"f": BY_INPUT["f"]}), served / "10")
    with pytest.raises(UsageError, match="10 has another contract"):
        require_same_contract(served, CARD)


def test_a_version_without_a_card_is_not_replaced_in_silence(served):
    """What its callers expect is not known."""
    (served / "1" / "assets" / "card.json").unlink()
    with pytest.raises(UsageError, match="1 has no card that says what its callers expect"):
        require_same_contract(served, CARD)


@pytest.mark.slow
@pytest.mark.usefixtures("run_in_one_process", "without_card_checks")
def test_export_asks_before_it_replaces_a_contract(tmp_path):
    """Another model in the same directory is refused and nothing is written; with the option it is version 2."""
    inputs, to = {"x": tf.TensorSpec((None, 1), tf.float64)}, tmp_path / "m"
    export(lambda x: {"spot": x * x}, to=to, inputs=inputs, signatures=[])
    with pytest.raises(UsageError, match="outputs spot, now price"):
        export(lambda x: {"price": x * x}, to=to, inputs=inputs, signatures=[])
    assert [path.name for path in to.iterdir()] == ["1"]
    export(lambda x: {"price": x * x}, to=to, inputs=inputs, signatures=[], replace_contract=True)
    assert {path.name for path in to.iterdir()} == {"1", "2"}
