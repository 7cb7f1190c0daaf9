"""Derivatives from the cheaper side: against differences in float64, and against reverse sweeps alone."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tests.export.test_signatures import traced

import gradwire
from gradwire_export import export
from gradwire_export._derivatives import strategy
from gradwire_export._package.spec import PackageSpec, package_spec
from gradwire_export._sources.function import function_of

RNG = np.random.default_rng(3)
ROWS, STEP, WIDTH = 3, 1e-3, 6
ALLOWED = 1e-9  # of fourth-order differences, of the largest entry


def _weights(*shape: int) -> Any:
    return tf.constant(RNG.normal(size=shape) / np.sqrt(shape[0]))


def _network(n_inputs: int, n_outputs: int) -> Callable[[Any], Any]:
    first, last = _weights(n_inputs, WIDTH), _weights(WIDTH, n_outputs)
    return lambda x: tf.tanh(x @ first) @ last


def _mixed(many, few):
    """A scalar of many and few elements, and a matrix of few."""
    curve = tf.tanh(tf.tile(tf.reshape(few, [-1, 2]), [1, 6])) * tf.reduce_sum(few**2, [1, 2])[:, None]
    price = tf.reduce_sum(tf.sin(many), 1, keepdims=True) * few[:, :1, 0]
    return {"price": price, "curve": tf.reshape(curve, [-1, 3, 4])}


def _chain(x):
    """Each element of itself and its neighbours."""
    padded = tf.pad(x, [[0, 0], [1, 1]])
    return padded[:, 2:] * x - tf.cos(padded[:, :-2])


@dataclass(frozen=True)
class Case:
    """A function, the shapes of its inputs, and how many sweeps and products each signature has."""

    call: Callable[..., Any]
    inputs: dict[str, tuple[int, ...]]
    counts: dict[str, tuple[int, int]]
    zeros: tuple[tuple[str, str], ...] = ()

    def spec(self) -> PackageSpec:
        """What its package holds."""
        specs = {name: tf.TensorSpec((None, *row), tf.float64) for name, row in self.inputs.items()}
        wanted = [name for name in self.counts if name != "serving_default"]
        return package_spec(function_of(self.call, inputs=specs), self.zeros, wanted)

    def x(self) -> dict[str, Any]:
        """Some rows."""
        return {name: tf.constant(RNG.uniform(-1, 1, (ROWS, *row))) for name, row in self.inputs.items()}


CASES = {
    "1000 to 1": Case(_network(1000, 1), {"x": (1000,)}, {"serving_default": (1, 0)}),
    "10 to 10": Case(_network(10, 10), {"x": (10,)}, {"serving_default": (10, 0)}),
    "10 to 50": Case(_network(10, 50), {"x": (10,)}, {"serving_default": (0, 10)}),
    "3 to 200": Case(_network(3, 200), {"x": (3,)}, {"serving_default": (0, 3), "hessian": (0, 3)}),
    "a scalar and a matrix of two inputs": Case(
        _mixed,
        {"many": (9,), "few": (2, 1)},
        {"serving_default": (1, 2), "hvp": (1, 2), "hessian": (13, 0)},
        (("curve", "many"),),
    ),
    "a chain": Case(_chain, {"x": (8,)}, {"serving_default": (3, 0), "hvp": (3, 0), "hessian": (0, 3)}),
}


@functools.cache
def _spec(name: str) -> PackageSpec:
    return CASES[name].spec()


def _outputs(spec: PackageSpec, signature: str, x: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: array.numpy() for name, array in traced(spec, signature)(x).items()}


def _difference(call: Callable[[float], dict[str, np.ndarray]], name: str) -> np.ndarray:
    """Differentiate along a direction, to fourth order."""
    at = {step: call(step * STEP)[name] for step in (-2, -1, 1, 2)}
    return (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * STEP)


def _along(derivative: np.ndarray, shape: tuple[int, ...], v: np.ndarray) -> np.ndarray:
    """Multiply a derivative of a tensor of some shape with a direction of the last input."""
    size = int(np.prod(shape))
    return np.einsum("bkj,bj->bk", derivative.reshape(ROWS, size, -1), v.reshape(ROWS, -1)).reshape(ROWS, *shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_the_values(name):
    """First derivatives along a direction are differences of values, second ones differences of first ones."""
    case = CASES[name]
    spec, x = _spec(name), case.x()
    v = {wrt: RNG.normal(size=tensor.shape) for wrt, tensor in x.items()}
    values, first = traced(spec, "value"), traced(spec)

    def moved(function: Any) -> Callable[[float], dict[str, np.ndarray]]:
        return lambda step: {
            key: array.numpy() for key, array in function({wrt: x[wrt] + step * v[wrt] for wrt in x}).items()
        }

    at = _outputs(spec, "serving_default", x)
    for output, by_input in spec.derivatives.items():
        shape = at[output].shape[1:]
        actual = sum(_along(at[derivative], shape, v[wrt]) for wrt, derivative in by_input.items())
        expected = _difference(moved(values), output)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=ALLOWED * np.abs(expected).max())
    if "hvp" in case.counts:
        along = _outputs(spec, "hvp", x | {f"{wrt}_dot": tf.constant(each) for wrt, each in v.items()})
        for by_input in spec.derivatives.values():
            for derivative in by_input.values():
                expected = _difference(moved(first), derivative)
                scale = max(np.abs(expected).max(), 1e-3)
                np.testing.assert_allclose(along[f"{derivative}_dot"], expected, rtol=0, atol=ALLOWED * scale)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_both_sides_give_the_same(name):
    """Every tensor of every signature, and no rows, by the plan and by a sweep from each output element."""
    case = CASES[name]
    spec, x = _spec(name), case.x()
    x |= {f"{wrt}_dot": tf.constant(RNG.normal(size=tensor.shape)) for wrt, tensor in x.items()}
    for signature, counts in case.counts.items():
        plan = spec.plan(signature)
        assert (len(plan.backward), len(plan.forward)) == counts
        inputs = {key: x[key] for key in spec.inputs(signature)}
        actual = _outputs(spec, signature, inputs)
        swept = _outputs(replace(spec, plans=None), signature, inputs)
        assert actual.keys() == swept.keys()
        for key, expected in swept.items():
            assert actual[key].shape == expected.shape
            np.testing.assert_allclose(actual[key], expected, rtol=1e-12, atol=1e-13 * np.abs(expected).max())
        none = _outputs(spec, signature, {key: tensor[:0] for key, tensor in inputs.items()})
        assert {key: array.shape for key, array in none.items()} == {
            key: (0, *array.shape[1:]) for key, array in actual.items()
        }


def test_a_fault_in_the_assembly_is_seen(monkeypatch):
    """Columns in another order fail the comparison with differences."""
    right = strategy.places
    monkeypatch.setattr(strategy, "places", lambda *arguments: right(*arguments)[::-1])
    with pytest.raises(AssertionError):
        test_derivatives_are_those_of_the_values("10 to 50")


def test_a_gradient_without_a_gradient_is_swept_alone():
    """Resizing has no gradient of its gradient: many outputs of few inputs are swept back from all the same."""
    spec = tf.TensorSpec((None, 2, 2, 1), tf.float32)
    function = function_of(lambda x: tf.image.resize(x, [4, 4]), inputs={"x": spec})
    plan = package_spec(function, ()).plan("serving_default")
    assert (len(plan.backward), len(plan.forward)) == (16, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("run_in_one_process")
def test_a_package_says_how_its_derivatives_are_computed(tmp_path):
    """The whole way: exported and proved, loaded, called, and read from the card, whose format is the old one."""
    case = CASES["a scalar and a matrix of two inputs"]
    specs = {name: tf.TensorSpec((None, *row), tf.float64) for name, row in case.inputs.items()}
    exported = export(case.call, to=tmp_path / "mixed", inputs=specs, zeros=case.zeros, signatures=["hessian"])
    x = {name: tensor.numpy() for name, tensor in case.x().items()}
    with gradwire.load(exported.path) as model:
        _, grads = model.value_and_grad(**x)
        card = model.card
    expected = _outputs(
        _spec("a scalar and a matrix of two inputs"),
        "serving_default",
        {name: tf.constant(array) for name, array in x.items()},
    )
    np.testing.assert_allclose(grads["curve"]["few"], expected["dcurve_dfew"], rtol=1e-12)
    np.testing.assert_allclose(grads["price"]["many"], expected["dprice_dmany"], rtol=1e-12)
    assert card.format == 1
    assert card.jacobian is not None
    assert card.jacobian["sweeps"] == {
        "serving_default": {"strategy": "separate sweeps", "reverse": 1, "forward": 2},
        "hessian": {"strategy": "repeated rows", "reverse": 13, "forward": 0},
    }
    assert json.loads(card.to_json())["jacobian"] == card.jacobian
