"""`Model`: what it asks for, what it checks, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import pytest

import gradwire
from gradwire import FakeTransport, Model, Signature, TensorSpec


@final
class Recording(gradwire.Transport):
    """Passes everything on, and notes what `predict` was asked for."""

    def __init__(self, inner: gradwire.Transport) -> None:
        self.inner = inner
        self.requests: list[tuple[str, Sequence[str] | None]] = []

    @property
    def address(self) -> str:
        return self.inner.address

    def signatures(self, *, timeout: float) -> Mapping[str, Signature]:
        return self.inner.signatures(timeout=timeout)

    def predict(self, call: gradwire.Call, *, timeout: float) -> Any:
        self.requests.append((call.signature.name, call.outputs))
        return self.inner.predict(call, timeout=timeout)

    def status(self, *, timeout: float) -> list[gradwire.VersionStatus]:
        return self.inner.status(timeout=timeout)

    def close(self) -> None:
        self.inner.close()


def both(x: np.ndarray) -> dict[str, np.ndarray]:
    """Gives log x and 1/x."""
    return {"f": np.log(x), "df_dx": 1 / x}


def card_of(log: Model, **changes: Any) -> gradwire.Card:
    """The logarithm's card, changed."""
    return replace(log.card, **changes)


def spec(name: str, *row: int | None, dtype: str = "float64", batch: int | None = None) -> TensorSpec:
    """A batch-first tensor with this row shape."""
    return TensorSpec(name, dtype, (batch, *row))


def raw(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], function: Any, name: str = "go") -> Model:
    """A model of one signature and no card."""
    signature = Signature(name, {s.name: s for s in inputs}, {s.name: s for s in outputs})
    return Model(FakeTransport({name: function}, signatures=[signature]))


def test_value_asks_for_the_outputs_alone(log: Model):
    """Without a signature `value`, the derivatives are filtered out on the server, not here."""
    transport = Recording(FakeTransport({"serving_default": both}, card=log.card))
    model = Model(transport)
    assert model.value(2.0) == np.log(2.0)
    assert transport.requests == [("card", None), ("serving_default", ("f",))]


def test_value_prefers_its_own_signature(log: Model, make_log: Callable[..., Model]):
    """Where there is a signature `value`, it is called, and the card is asked for once."""
    transport = Recording(make_log()._transport)
    model = Model(transport)
    assert model.value(2.0) == np.log(2.0)
    assert model.value(3.0) == np.log(3.0)
    assert model.value_and_grad(1.0) == (0, 1)
    assert transport.requests == [("card", None), ("value", None), ("value", None), ("serving_default", None)]


def test_no_rows_never_travel(log: Model, multi: Model):
    """No points are answered here, with the shapes and dtypes that the server's answer would have."""
    transport = Recording(multi._transport)
    model = Model(transport)
    values, grads = model.value_and_grad(np.empty((2, 0, 3)), np.empty((2, 0, 1)))
    assert grads["w"]["x"].shape == (2, 0, 3, 3)
    assert values["f"].dtype == np.float64
    assert model.predict("value", x=np.empty((0, 3)), t=np.empty((0, 1)))["w"].shape == (0, 3)
    assert transport.requests == [("card", None)]


def test_derivatives_are_found_through_the_card_alone(log: Model):
    """The card's map decides which tensor is the derivative, whatever the tensors are called."""
    card = card_of(log, derivatives={"f": {"x": "slope"}})
    functions = {"serving_default": lambda x: {"f": np.log(x), "slope": 1 / x}}
    assert Model(FakeTransport(functions, card=card)).value_and_grad(2.0)[1] == 0.5
    trap = Signature("serving_default", {"x": spec("x", 1)}, {n: spec(n, 1) for n in ("f", "df_dx", "slope")})
    functions = {"serving_default": lambda x: {"f": np.log(x), "slope": 1 / x, "df_dx": 0 * x}}
    assert Model(FakeTransport(functions, card=card, signatures=[trap])).value_and_grad(2.0)[1] == 0.5


def test_without_a_card():
    """A package of others answers predict() and, if it has one, `value`; derivatives are refused, and say why."""
    model = raw([spec("x", 1)], [spec("y", 1)], lambda x: {"y": 2 * x})
    assert np.array_equal(model.predict("go", x=[[1.0], [2.0]])["y"], [[2.0], [4.0]])
    for call in (model.value_and_grad, lambda x: model.card):
        with pytest.raises(gradwire.SignatureNotFound, match=r"no signature 'card'.*predict\(\)"):
            call(1.0)
    with pytest.raises(gradwire.SignatureNotFound, match=r"neither a signature 'value' nor a card.*predict\(\)"):
        model.value(1.0)


def test_value_without_a_card():
    """A signature `value` is enough for value(); several inputs then go by name, for their order is unknown."""
    specs = [spec("a", 1), spec("b", 1)]
    model = raw(specs, [spec("y", 1)], lambda a, b: {"y": a - b}, "value")
    assert model.value(b=[1.0, 2.0], a=3.0)["y"].tolist() == [2.0, 1.0]
    with pytest.raises(gradwire.InputNameError, match="by name"):
        model.value(1.0, 2.0)
    assert raw(specs[:1], [spec("y", 1)], lambda a: {"y": a}, "value").value(4.0) == 4.0


def test_unknown_signature_lists_those_there_are(log: Model):
    """An unknown signature is told before anything is sent."""
    with pytest.raises(
        gradwire.SignatureNotFound, match=r"'nope', expected one of \['card', 'serving_default', 'value'\]"
    ):
        log.predict("nope", x=[[1.0]])


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, gradwire.InputNameError, r"sent extra: \{\}; missing but required: \{t, x\}"),
        ({"x": np.ones((2, 3)), "t": np.ones((3, 1))}, gradwire.ShapeError, "different numbers of rows"),
        (
            {"x": np.ones((2, 3)), "t": np.ones(2)},
            gradwire.ShapeError,
            r"'t' has shape \(2,\), expected \(batch, 1\)",
        ),
        (
            {"x": np.ones((2, 4)), "t": np.ones((2, 1))},
            gradwire.ShapeError,
            r"\(2, 4\), expected \(batch, 3\)",
        ),
        ({"x": np.ones((2, 3)), "t": [["a"], ["b"]]}, gradwire.DTypeError, "input 't' holds str"),
    ],
)
def test_predict_checks_before_it_sends(multi: Model, inputs: Any, error: type[Exception], message: str):
    """Names, shapes and dtypes are checked against the signature: a stock server checks no shape."""
    with pytest.raises(error, match=message):
        multi.predict("serving_default", **inputs)


def test_predict_takes_what_a_signature_leaves_open():
    """Open sizes, an open rank, inputs without a batch axis and inputs with a default are no misuse."""
    anything = TensorSpec("x", "float64", (), any_rank=True)
    model = raw([anything], [replace(anything, name="y")], lambda x: {"y": x})
    assert model.predict("go", x=np.ones((2, 3, 4)))["y"].shape == (2, 3, 4)
    scalar = TensorSpec("x", "float64", ())
    assert raw([scalar], [replace(scalar, name="y")], lambda x: {"y": x}).predict("go", x=3.0)["y"] == 3.0
    signature = Signature("go", {"x": spec("x", None), "t": spec("t", 1)}, {"y": spec("y", None)}, frozenset({"t"}))
    model = Model(FakeTransport({"go": lambda x, t=10.0: {"y": x * t}}, signatures=[signature]))
    assert model.predict("go", x=[[1.0, 2.0]])["y"].tolist() == [[10.0, 20.0]]
    with pytest.raises(gradwire.InputNameError, match=r"missing but required: \{x\}"):
        model.predict("go", t=[[1.0]])


def test_no_rows_where_only_the_server_could_tell():
    """An output without a batch axis cannot be made up for no rows."""
    model = raw([spec("x", 1)], [TensorSpec("k", "float64", (2,))], lambda x: {"k": np.ones(2)})
    assert model.predict("go", x=[[1.0]])["k"].tolist() == [1.0, 1.0]
    with pytest.raises(gradwire.ShapeError, match="no rows"):
        model.predict("go", x=np.empty((0, 1)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "lacks 'f'"),
        (
            {"f": np.ones((2, 1)), "df_dx": np.ones((3, 1))},
            r"'df_dx' is float64 \(3, 1\), expected float64 \(2, 1\)",
        ),
        ({"f": np.ones((2, 1), np.float32), "df_dx": np.ones((2, 1))}, "'f' is float32"),
        ({"f": np.ones((2, 2)), "df_dx": np.ones((2, 1))}, r"'f' is float64 \(2, 2\)"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(log: Model, answer: Any, message: str):
    """A missing output, or one of another dtype, shape or number of rows, is a server's error, not a result."""
    transport = FakeTransport({"serving_default": lambda x: answer}, card=log.card)
    with pytest.raises(gradwire.ServerError, match=message):
        Model(transport).value_and_grad([1.0, 2.0])


def test_a_card_that_disagrees_with_the_signature(log: Model):
    """A card whose derivative is no tensor of the signature is refused, not guessed around."""
    signature = Signature("serving_default", {"x": spec("x", 1)}, {"f": spec("f", 1)})
    transport = FakeTransport({"serving_default": both}, card=log.card, signatures=[signature])
    with pytest.raises(gradwire.PackageError, match=r"disagree about \['df_dx'\]"):
        Model(transport).value_and_grad(1.0)
    bare = FakeTransport({"serving_default": both}, card=card_of(log, derivatives={}), signatures=[signature])
    with pytest.raises(gradwire.PackageError, match="names no tensor for 'serving_default'"):
        Model(bare).value_and_grad(1.0)


def test_inputs_without_a_batch_axis_are_left_to_predict(log: Model):
    """value() needs a batch axis, and names predict() where there is none."""
    model = raw([TensorSpec("x", "float64", (1,))], [spec("f", 1)], lambda x: {"f": x}, "value")
    with pytest.raises(gradwire.ShapeError, match=r"no batch axis: call it with predict\(\)"):
        model.value(1.0)


def test_fake_needs_functions_and_signatures_of_the_same_names(log: Model):
    """A fake that could not answer what it declares is refused when it is made."""
    with pytest.raises(gradwire.UsageError, match=r"functions for \['nope'\]"):
        FakeTransport({"nope": both}, card=log.card)
    with pytest.raises(gradwire.UsageError, match=r"signatures for \['go'\]"):
        FakeTransport({}, signatures=[Signature("go", {}, {})])


def test_context_manager_status_and_repr(log: Model):
    """A model closes at the end of `with`, says its state, and shows where it is."""
    with log as model:
        assert model.status() == [(1, "AVAILABLE", "")]
        assert "a fake of" in repr(model)
