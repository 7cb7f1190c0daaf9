"""A network with every signature in closed form, in which faults can be planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from gradwire import Card, CardTensor, Domain, FakeTransport, Model, Signature, TensorSpec
from gradwire._package.contract import (
    cotangent_name,
    derivative_name,
    derivative_shape,
    second_derivative_shape,
    tangent_name,
)

INPUTS = {"x": 3, "t": 1}
OUTPUTS = {"f": 1, "w": 3}
SLICES = {"x": slice(0, 3), "t": slice(3, 4), "f": slice(0, 1), "w": slice(1, 4)}
Arrays = dict[str, np.ndarray]
Fault = Callable[[Callable[..., Arrays], Arrays], Arrays]


@dataclass(frozen=True)
class Network:
    """w, f = C tanh(A (x, t) + b), or with ReLU; computed in its dtype, with every derivative in closed form."""

    dtype: str
    rounded_to: str = "float64"
    relu: bool = False

    def weights(self) -> tuple[np.ndarray, ...]:
        draw = np.random.default_rng(3).normal
        shapes = ((4, 8), (8,), (8, 4))
        return tuple(draw(size=shape).astype(self.rounded_to).astype(self.dtype) for shape in shapes)

    def hidden(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        a, b, _ = self.weights()
        z = np.concatenate([x, t], axis=1) @ a + b
        return np.maximum(z, 0) if self.relu else np.tanh(z)

    def values(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Gives (rows, 4)."""
        return self.hidden(x, t) @ self.weights()[2]

    def first(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Gives Jacobians, (rows, 4, 4)."""
        (a, _, c), y = self.weights(), self.hidden(x, t)
        slope = (y > 0).astype(self.dtype) if self.relu else 1 - y * y
        return np.matmul(c.T[None] * slope[:, None], a.T)

    def second(self, x: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Gives Hessians, (rows, 4, 4, 4)."""
        (a, _, c), y = self.weights(), self.hidden(x, t)
        outer = np.einsum("ik,jk->kij", a, a).reshape(len(a.T), -1)
        weighted = c.T[None] * (0 * y if self.relu else -2 * y * (1 - y * y))[:, None]
        return np.matmul(weighted, outer).reshape(len(y), len(c.T), len(a), len(a))


def functions(net: Network) -> dict[str, Callable[..., Arrays]]:
    """Every signature of the network."""

    def values(f: np.ndarray) -> Arrays:
        return {name: f[:, SLICES[name]] for name in OUTPUTS}

    def firsts(df: np.ndarray) -> Arrays:
        return {
            derivative_name(output, wrt): df[:, SLICES[output], SLICES[wrt]].reshape(-1, *derivative_shape((m,), (n,)))
            for output, m in OUTPUTS.items()
            for wrt, n in INPUTS.items()
        }

    def seconds(d2f: np.ndarray) -> Arrays:
        return {
            derivative_name(output, one, two): d2f[:, SLICES[output], SLICES[one], SLICES[two]].reshape(
                -1, *second_derivative_shape((OUTPUTS[output],), (INPUTS[one],), (INPUTS[two],))
            )
            for output in OUTPUTS
            for one, two in (("x", "x"), ("x", "t"), ("t", "t"))
        }

    def default(x: np.ndarray, t: np.ndarray) -> Arrays:
        f, df = net.values(x, t), net.first(x, t)
        return values(f) | firsts(df)

    def jvp(x: np.ndarray, t: np.ndarray, x_dot: np.ndarray, t_dot: np.ndarray) -> Arrays:
        f, df = net.values(x, t), net.first(x, t)
        along = np.einsum("rmi,ri->rm", df, np.concatenate([x_dot, t_dot], 1))
        return values(f) | {tangent_name(name): array for name, array in values(along).items()}

    def vjp(x: np.ndarray, t: np.ndarray, f_bar: np.ndarray, w_bar: np.ndarray) -> Arrays:
        f, df = net.values(x, t), net.first(x, t)
        back = np.einsum("rmi,rm->ri", df, np.concatenate([f_bar, w_bar], 1))
        return values(f) | {cotangent_name(name): back[:, SLICES[name]] for name in INPUTS}

    def hvp(x: np.ndarray, t: np.ndarray, x_dot: np.ndarray, t_dot: np.ndarray) -> Arrays:
        f, df, d2f = net.values(x, t), net.first(x, t), net.second(x, t)
        along = np.einsum("rmij,rj->rmi", d2f, np.concatenate([x_dot, t_dot], 1))
        return values(f) | firsts(df) | {tangent_name(name): array for name, array in firsts(along).items()}

    def hessian(x: np.ndarray, t: np.ndarray) -> Arrays:
        f, df, d2f = net.values(x, t), net.first(x, t), net.second(x, t)
        return values(f) | firsts(df) | seconds(d2f)

    def value(x: np.ndarray, t: np.ndarray) -> Arrays:
        return values(net.values(x, t))

    return {
        "serving_default": default,
        "value": value,
        "jvp": jvp,
        "vjp": vjp,
        "hvp": hvp,
        "hessian": hessian,
    }


def reference_of(dtype: str, *, relu: bool) -> dict[str, Any]:
    """Reference points, exact in the dtype, with the float64 network's numbers (of the dtype's own weights)."""
    twin = Network("float64", rounded_to=dtype, relu=relu)
    generator = np.random.default_rng(9)
    x, t = (generator.uniform(-1, 1, (32, n)).astype(dtype).astype(np.float64) for n in (3, 1))
    tensors = functions(twin)["hessian"](x=x, t=t)
    return {
        "method": "float64 twin",
        "x": {"x": x.tolist(), "t": t.tolist()},
        "tensors": {name: array.tolist() for name, array in tensors.items()},
        "uncertainty": {},
    }


def card_of(dtype: str, *, reference: dict[str, Any] | None, names: tuple[str, ...]) -> Card:
    """The network's card."""
    unit = Domain([-1.0], [1.0])
    pairs = {"x": ("x", "t"), "t": ("t",)}
    return Card(
        name="net",
        inputs=tuple(
            CardTensor(name, dtype, (n,), domain=replace(unit, lower=[-1.0] * n, upper=[1.0] * n))
            for name, n in INPUTS.items()
        ),
        outputs=tuple(CardTensor(name, dtype, (n,)) for name, n in OUTPUTS.items()),
        derivatives={o: {i: derivative_name(o, i) for i in INPUTS} for o in OUTPUTS},
        second_derivatives={
            o: {one: {two: derivative_name(o, one, two) for two in twos} for one, twos in pairs.items()}
            for o in OUTPUTS
        },
        signatures=names,
        reference=reference,
    )


def signature_of(name: str, function: Callable[..., Arrays], dtype: str) -> Signature:
    """Reads a signature off a function: its inputs by their names, its outputs by running it."""
    sizes = dict(INPUTS)
    if name in ("jvp", "hvp"):
        sizes |= {tangent_name(key): n for key, n in INPUTS.items()}
    if name == "vjp":
        sizes |= {cotangent_name(key): n for key, n in OUTPUTS.items()}
    found = function(**{key: np.zeros((1, n), dtype) for key, n in sizes.items()})
    return Signature(
        name,
        {key: TensorSpec(key, dtype, (None, n)) for key, n in sizes.items()},
        {key: TensorSpec(key, dtype, (None, *array.shape[1:])) for key, array in found.items()},
    )


def make(
    dtype: str,
    faults: dict[str, Fault] | None = None,
    *,
    keep: tuple[str, ...] | None = None,
    reference: bool = True,
    relu: bool = False,
) -> Model:
    """A fake of the network.

    A fault is called with a signature's right function and its inputs, and answers in its place. ``keep`` names the
    signatures that it has, ``reference`` whether its card has reference points; ``relu`` gives it kinks.
    """
    made = functions(Network(dtype, relu=relu))
    for name, fault in (faults or {}).items():
        made[name] = partial(_faulty, made[name], fault)
    made = {name: function for name, function in made.items() if keep is None or name in keep}
    right = functions(Network(dtype, relu=relu))
    signatures = [signature_of(name, right[name], dtype) for name in made]
    points = reference_of(dtype, relu=relu) if reference else None
    card = card_of(dtype, reference=points, names=(*made, "card"))
    return Model(FakeTransport(made, card=card, signatures=signatures))


def _faulty(right: Callable[..., Arrays], fault: Fault, **inputs: np.ndarray) -> Arrays:
    return fault(right, inputs)


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Model]:
    """The function that makes the network: ``make_network(dtype, faults, keep=…, reference=…)``."""
    return make
