"""`of=` and `wrt=`: what is asked for is what is sent back, and the numbers are those of the whole call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, final

import numpy as np
import pytest

import gradwire
import gradwire.aio
from gradwire import Model
from gradwire._wire.tensor import decode

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(5, 3)), RNG.uniform(0.5, 2.0, 5)
X_DOT, T_DOT, F_BAR, W_BAR = RNG.normal(size=(5, 3)), RNG.normal(size=5), RNG.normal(size=5), RNG.normal(size=(5, 2))
ZERO = np.zeros(5)


@final
class Recording(gradwire.Transport):
    """Passes everything on, and notes the calls but for the card's."""

    def __init__(self, inner: gradwire.Transport) -> None:
        self.inner = inner
        self.calls: list[gradwire.Call] = []

    @property
    def address(self) -> str:
        return self.inner.address

    def signatures(self, *, timeout: float) -> Mapping[str, gradwire.Signature]:
        return self.inner.signatures(timeout=timeout)

    def predict(self, call: gradwire.Call, *, timeout: float) -> Any:
        if call.signature.name != "card":
            self.calls.append(call)
        return self.inner.predict(call, timeout=timeout)

    def status(self, *, timeout: float) -> list[gradwire.VersionStatus]:
        return self.inner.status(timeout=timeout)

    def close(self) -> None:
        self.inner.close()


def same(found: Any, expected: Any) -> None:
    """Compares nested results bit by bit, names in their order included."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            same(found[name], expected[name])
    elif isinstance(expected, tuple):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()


# method, selection, the tensors that are requested, and the result as a part of the whole call's
CASES: dict[str, tuple[str, dict[str, Any], set[str], Callable[[Model], Any]]] = {
    "value of one": ("value", {"of": "w"}, {"w"}, lambda m: m.value(X, T)["w"]),
    "value of a list": ("value", {"of": ["w"]}, {"w"}, lambda m: {"w": m.value(X, T)["w"]}),
    "order": ("value", {"of": ["w", "f"]}, {"w", "f"}, lambda m: {name: m.value(X, T)[name] for name in ("w", "f")}),
    "one pair": ("grad", {"wrt": "x", "of": "f"}, {"f_x"}, lambda m: m.grad(X, T)["f"]["x"]),
    "one output": ("grad", {"wrt": ["x"], "of": "f"}, {"f_x"}, lambda m: {"x": m.grad(X, T)["f"]["x"]}),
    "one input": ("grad", {"wrt": "t"}, {"f_t", "w_t"}, lambda m: {k: v["t"] for k, v in m.grad(X, T).items()}),
    "both": (
        "value_and_grad",
        {"wrt": ["t", "x"], "of": "w"},
        {"w", "w_t", "w_x"},
        lambda m: (m.value(X, T)["w"], {k: m.grad(X, T)["w"][k] for k in ("t", "x")}),
    ),
    "jacobian": ("jacobian", {"wrt": "x", "of": ["w"]}, {"w_x"}, lambda m: {"w": m.jacobian(X, T)["w"]["x"]}),
    "hessian": ("hessian", {"wrt": "x", "of": "w"}, {"w_xx"}, lambda m: m.hessian(X, T)["w"]["x"]["x"]),
    "mixed": (
        "hessian",
        {"wrt": ["t", "x"], "of": "f"},
        {"f_xx", "f_xt", "f_tt"},
        lambda m: {a: {b: m.hessian(X, T)["f"][a][b] for b in ("t", "x")} for a in ("t", "x")},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_no_more_than_what_is_selected(curved: Model, case: str):
    """The request names the tensors of the selection alone, and every input travels."""
    method, selection, tensors, expected = CASES[case]
    transport = Recording(curved._transport)
    same(getattr(Model(transport), method)(X, T, **selection), expected(curved))
    [call] = transport.calls
    assert set(call.outputs or call.signature.outputs) == tensors
    assert list(call.inputs) == ["x", "t"]


def test_products_take_the_directions_of_the_selection(curved: Model):
    """By position come the tangents of `wrt`, or the cotangents of `of`, in their order; all others are zero."""
    same(curved.jvp(X, T, T_DOT, wrt="t"), curved.jvp(X, T, X_DOT * 0, T_DOT))
    same(curved.jvp(X, T, T_DOT, X_DOT, wrt=["t", "x"], of="f"), curved.jvp(X, T, X_DOT, T_DOT)["f"])
    same(curved.vjp(X, T, F_BAR, of="f", wrt="x"), curved.vjp(X, T, F_BAR, W_BAR * 0)["x"])
    same(curved.vjp(X, T, W_BAR, F_BAR, of=["w", "f"]), curved.vjp(X, T, F_BAR, W_BAR))
    same(curved.hvp(X, T, X_DOT, wrt="x", of="f"), curved.hvp(X, T, X_DOT, ZERO)["f"]["x"])
    same(curved.hvp(X, T, x_dot=X_DOT, wrt=["x"], of=["w"]), {"w": {"x": curved.hvp(X, T, X_DOT)["w"]["x"]}})
    with pytest.raises(gradwire.InputNameError, match=r"sent extra: \{t_dot\}"):
        curved.jvp(X, T, x_dot=X_DOT, t_dot=T_DOT, wrt="x")
    with pytest.raises(gradwire.InputNameError, match=r"expected at least one of \['t_dot'\]"):
        curved.jvp(X, T, wrt="t")


def test_many_tangents_of_chosen_inputs(curved: Model):
    """Many tangents at every point go with a selection, in one call of k·batch rows."""
    transport = Recording(curved._transport)
    many = RNG.normal(size=(4, 5))
    found = Model(transport).jvp(X, T, many, wrt="t", of="w")
    same(found, curved.jvp(X, T, t_dot=many)["w"])
    [call] = transport.calls
    assert (call.rows, call.outputs) == (20, ("w_dot",))


def test_of_a_plain_function(bumpy: Model):
    """A model of one input and one output has no levels; a list makes one."""
    same(bumpy.grad(X, wrt="x", of="f"), bumpy.grad(X))
    same(bumpy.grad(X, wrt=["x"]), {"x": bumpy.grad(X)})
    same(bumpy.value(X, of=["f"]), {"f": bumpy.value(X)})


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"wrt": "tt"}, gradwire.InputNameError, r"wrt='tt' is no differentiated input.*did you mean 't'\?"),
        ({"of": ["f", "ww"]}, gradwire.InputNameError, r"of='ww' is no output.*\['f', 'w'\]; did you mean 'w'\?"),
        ({"wrt": []}, gradwire.UsageError, r"wrt is \[\], expected a name or a list"),
        ({"wrt": ["x", "x"]}, gradwire.UsageError, "a name twice"),
        ({"of": np.ones(3)}, gradwire.UsageError, "of is of type ndarray.*goes by position"),
        ({"of": ["f", 1]}, gradwire.UsageError, "expected a name or a list"),
    ],
)
def test_names_that_are_not_there(curved: Model, selection: Any, error: type[Exception], message: str):
    """A name that the model does not have is refused with those that it has, before anything is sent."""
    transport = Recording(curved._transport)
    with pytest.raises(error, match=message):
        Model(transport).grad(X, T, **selection)
    assert not transport.calls


def test_derivatives_that_are_not_there(curved: Model):
    """A pair that the package lacks is refused where it is named, and left out where it is not; so are parameters."""
    functions = {name: function for name, function in curved._transport._functions.items() if name != "card"}

    def with_derivatives(**derivatives: dict[str, str]) -> Model:
        return Model(gradwire.FakeTransport(functions, card=replace(curved.card, derivatives=derivatives)))

    partly = with_derivatives(f={"x": "f_x", "t": "f_t"}, w={"t": "w_t"})
    assert list(partly.grad(X, T, wrt="x")) == ["f"]
    with pytest.raises(gradwire.InputNameError, match="no derivative of 'w' with respect to x, only for"):
        partly.grad(X, T, wrt=["x", "t"], of=["f", "w"])
    partly = with_derivatives(f={"x": "f_x"})
    with pytest.raises(gradwire.InputNameError, match=r"wrt='t' is a parameter.*some of \['x'\]"):
        partly.grad(X, T, wrt="t")
    with pytest.raises(gradwire.InputNameError, match="no derivative of 'w', only for the outputs"):
        partly.grad(X, T, of="w")


def test_streams_and_awaited_calls(curved: Model):
    """A stream and the asynchronous twin take the same selections."""
    same(next(curved.stream([(X, T)], "grad", wrt="x", of="f")), curved.grad(X, T)["f"]["x"])

    async def awaited() -> Any:
        async with await gradwire.aio.Model.open(gradwire.aio.InThreads(curved._transport)) as model:
            return await model.hvp(X, T, T_DOT, wrt="t", of="w")

    same(asyncio.run(awaited()), curved.hvp(X, T, T_DOT, wrt="t", of="w"))


def test_values_without_a_card():
    """Of a package of others, outputs are chosen too."""
    signature = gradwire.Signature(
        "value",
        {"a": gradwire.TensorSpec("a", "float64", (None, 1))},
        {name: gradwire.TensorSpec(name, "float64", (None, 1)) for name in ("y", "z")},
    )
    functions = {"value": lambda a: {"y": a, "z": 2 * a}}
    transport = Recording(gradwire.FakeTransport(functions, signatures=[signature]))
    assert Model(transport).value([1.0, 2.0], of="z").tolist() == [2.0, 4.0]
    assert transport.calls[0].outputs == ("z",)


def test_what_is_the_same_for_every_row_travels_once(stand_in: Any):
    """A tangent that is left out, and an input of rank 0, are one value on the wire, and the server fills the shape."""
    with gradwire.connect(stand_in.target, "curved") as curved:
        found = curved.jvp(X, 1.5, X_DOT, wrt="x", of="f")
        sent = stand_in.requests[-1]
    same(found, Model(stand_in.models["curved"][1]).jvp(X, np.full(5, 1.5), X_DOT, ZERO)["f"])
    assert {name: len(b"".join(sent.inputs[name].double_val)) for name in ("t", "t_dot")} == {"t": 8, "t_dot": 8}
    assert decode(sent.inputs["t"], "t").tolist() == [[1.5]] * 5
    assert len(sent.inputs["x"].tensor_content) == 8 * 15
    assert list(sent.output_filter) == ["f_dot"]
