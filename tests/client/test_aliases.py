"""Derivatives by the names that people give them: on the card, from a model, in queries, batches and differences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire import Alias, Card, CardTensor, FakeTransport, Model, aio
from gradwire._cli.io import CardView
from gradwire._cli.query import resolve_query
from gradwire._errors import InputNameError, PackageError, UsageError
from gradwire._model import package_of
from gradwire._package import check_aliases, read_alias, signatures_of

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]])
ALIASES = {"forces": Alias("energy", "x", -1.0, served=True), "half": Alias("energy", "t", 0.5)}
CARD = Card(
    name="spring",
    inputs=(CardTensor("x", "float32", (3,)), CardTensor("t", "float32", (1,))),
    outputs=(CardTensor("energy", "float32", (1,)),),
    derivatives={"energy": {"x": "denergy_dx", "t": "denergy_dt"}},
    signatures=("serving_default",),
    aliases=ALIASES,
)


def _spring(x: np.ndarray, t: np.ndarray) -> Mapping[str, Any]:
    """Computes t² |x|², its derivatives, and the force."""
    square = (x**2).sum(1, keepdims=True)
    slope = (2 * t**2 * x).astype(np.float32)
    by_t = (2 * t * square).astype(np.float32)
    return {"energy": (t**2 * square).astype(np.float32), "denergy_dx": slope, "denergy_dt": by_t, "forces": -slope}


@pytest.fixture
def spring() -> Model:
    """Makes the model of a spring."""
    return Model(FakeTransport({"serving_default": _spring}, card=CARD))


def test_the_card_keeps_them():
    """Through JSON; a card without them has none, and what is not of their form is no card."""
    assert Card.from_json(CARD.to_json()).aliases == ALIASES
    raw = json.loads(CARD.to_json())
    assert Card.from_json(json.dumps({**raw, "aliases": {}})).aliases == {}
    del raw["aliases"]
    assert Card.from_json(json.dumps(raw)).aliases == {}
    with pytest.raises(PackageError, match="not a package's card"):
        Card.from_json(json.dumps({**raw, "aliases": {"forces": {"output": "energy"}}}))
    shown = CardView.of(replace(CARD, errors={"denergy_dx": {"max": 1.0}}))
    assert shown.errors is not None
    assert shown.errors.rows[0][0] == "denergy_dx (forces)"
    assert shown.details[0].rows == (("forces", "-denergy_dx"), ("half", "0.5 denergy_dt"))


def test_a_served_one_is_a_tensor_of_the_signature():
    """Beside the contract's tensors, with the derivative's dtype and shape; others are not."""
    outputs = signatures_of(CARD)["serving_default"].outputs
    assert list(outputs) == ["energy", "denergy_dx", "denergy_dt", "forces"]
    assert (outputs["forces"].dtype, outputs["forces"].shape) == ("float32", (None, 3))


def test_one_derivative_by_name(spring: Model):
    """An alias has its factor, a tensor's name has none; nothing else is sent for."""
    forces = spring.derivative("forces", X, 2.0)
    np.testing.assert_array_equal(forces, -8 * X)
    assert forces.dtype == np.float32
    np.testing.assert_array_equal(spring.derivative("denergy_dx", t=2.0, x=X), 8 * X)
    np.testing.assert_array_equal(spring.derivative("half", X[0], 2.0), 0.5 * 4 * 14)
    np.testing.assert_array_equal(spring.derivative("forces", X[0], 2.0), -8 * X[0])
    with pytest.raises(
        InputNameError, match=r"no derivative 'force', expected one of \['forces', 'half', 'denergy_dx'"
    ):
        spring.derivative("force", X, 2.0)
    values, gradients = spring.value_and_grad(X, 2.0)
    assert (list(values), list(gradients["energy"])) == (["energy"], ["x", "t"])


def test_the_asynchronous_model_has_them(spring: Model):
    """Its twin builds the same request."""

    async def ask() -> Any:
        async with await aio.Model.open(aio.InThreads(FakeTransport({"serving_default": _spring}, card=CARD))) as model:
            return await model.derivative("forces", X, 2.0)

    np.testing.assert_array_equal(asyncio.run(ask()), spring.derivative("forces", X, 2.0))


def test_queries_and_batches_show_them_last(spring: Model):
    """By their names and with their factors, whether the package serves them or not."""
    expected = ["energy", "denergy_dx", "denergy_dt", "forces", "half"]
    assert list(package_of(spring).result_names()) == expected
    query = resolve_query(spring, "grad")
    assert list(query.outputs) == expected
    rows = query.call(spring, {"x": X.astype(np.float32), "t": np.full((2, 1), 2.0, np.float32)})
    assert list(rows) == ["x", "t", *expected]
    np.testing.assert_array_equal(rows["forces"], -8 * X)
    np.testing.assert_array_equal(rows["half"], 0.5 * rows["denergy_dt"])
    assert list(resolve_query(spring, "value").outputs) == ["energy"]


def test_other_names_are_a_difference(spring: Model):
    """A caller by alias would notice."""
    card = replace(CARD, aliases=ALIASES | {"forces": replace(ALIASES["forces"], factor=1.0)})
    (entry,) = gradwire.diff(spring, Model(FakeTransport({"serving_default": _spring}, card=card))).card
    assert (entry.what, entry.matters) == ("aliases", True)


@pytest.mark.parametrize(
    ("output", "factor"), [("px", 1.0), ("-px", -1.0), (" - px", -1.0), ("0.01*px", 0.01), ("-2e-3 * px", -0.002)]
)
def test_a_sign_or_a_factor_goes_with_the_output(output: str, factor: float):
    """As people write it."""
    assert read_alias("vega", output, "vol") == Alias("px", "vol", factor)


@pytest.mark.parametrize("output", ["", "-", "*px", "a*px", "nan*px", "0*px", "1*2*px", "inf*px"])
def test_another_form_is_refused(output: str):
    """With what was expected."""
    with pytest.raises(UsageError, match=r"expected an output and an input, as in delta=px:S0"):
        read_alias("vega", output, "vol")


@pytest.mark.parametrize("name", ["x", "energy", "denergy_dx", "d2energy_dx2", "d2energy_dx_dt"])
def test_a_tensors_name_is_taken(name: str):
    """First and second derivatives included, whether the package has them or not."""
    with pytest.raises(UsageError, match=f"the name '{name}' would stand for"):
        check_aliases({name: Alias("energy", "x")}, ["x", "t"], ["energy"])
