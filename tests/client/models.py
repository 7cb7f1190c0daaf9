"""Models in closed form: their cards, their functions, and fakes that compute them without a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import gradwire
from gradwire.testing import FakeModel


def log_card(dtype: str = "float64") -> gradwire.Card:
    """The card of log x on [0.1, 1.9]."""
    return gradwire.Card(
        name="log",
        inputs=(gradwire.CardTensor("x", dtype, (1,), domain=gradwire.Domain([0.1], [1.9])),),
        outputs=(gradwire.CardTensor("f", dtype, (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default", "value", "card"),
    )


def multi_card(dtype: str = "float64") -> gradwire.Card:
    """The card of two inputs, two outputs of one number and one of three; x before t, against the alphabet.

    The derivatives' names are of no known form: nobody may parse them.
    """
    outputs = {"f": (1,), "g": (1,), "w": (3,)}
    return gradwire.Card(
        name="multi",
        inputs=(
            gradwire.CardTensor("x", dtype, (3,), domain=gradwire.Domain([-1.0, 0.0, 1.0], [1.0, 2.0, 3.0])),
            gradwire.CardTensor("t", dtype, (1,), domain=gradwire.Domain([0.5], [2.0])),
        ),
        outputs=tuple(gradwire.CardTensor(name, dtype, shape) for name, shape in outputs.items()),
        derivatives={name: {"x": f"{name}_by_space", "t": f"{name}_by_time"} for name in outputs},
        signatures=("serving_default", "value", "card"),
    )


def log_both(x: np.ndarray) -> dict[str, np.ndarray]:
    """Gives log x and 1/x."""
    with np.errstate(all="ignore"):
        return {"f": np.log(x), "df_dx": 1 / x}


def multi_both(x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
    """Gives f = |x|² t, g = sin x0 exp x1 + x2 t, w = (f, g, x1), and their derivatives."""
    f, g = (x * x).sum(1, keepdims=True) * t, np.sin(x[:, :1]) * np.exp(x[:, 1:2]) + x[:, 2:] * t
    zero = np.zeros_like(x[:, :1])
    f_x, f_t = 2 * x * t, (x * x).sum(1, keepdims=True)
    g_x = np.concatenate([np.cos(x[:, :1]) * np.exp(x[:, 1:2]), np.sin(x[:, :1]) * np.exp(x[:, 1:2]), t], 1)
    return {
        "f": f,
        "g": g,
        "w": np.concatenate([f, g, x[:, 1:2]], 1),
        "f_by_space": f_x,
        "f_by_time": f_t,
        "g_by_space": g_x,
        "g_by_time": x[:, 2:],
        "w_by_space": np.stack([f_x, g_x, np.concatenate([zero, zero + 1, zero], 1)], 1),
        "w_by_time": np.stack([f_t, x[:, 2:], zero], 1),
    }


CURVED = {"f": (1,), "w": (2,)}  # outputs, and their row shapes


def curved_card(dtype: str = "float64") -> gradwire.Card:
    """The card of two inputs and two outputs with every second derivative; names are of no known form."""
    return gradwire.Card(
        name="curved",
        inputs=(gradwire.CardTensor("x", dtype, (3,)), gradwire.CardTensor("t", dtype, (1,))),
        outputs=tuple(gradwire.CardTensor(name, dtype, shape) for name, shape in CURVED.items()),
        derivatives={name: {"x": f"{name}_x", "t": f"{name}_t"} for name in CURVED},
        second_derivatives={
            name: {"x": {"x": f"{name}_xx", "t": f"{name}_xt"}, "t": {"t": f"{name}_tt"}} for name in CURVED
        },
        signatures=("serving_default", "value", "jvp", "vjp", "hvp", "hessian", "card"),
    )


def curved_all(x: np.ndarray, t: np.ndarray) -> dict[str, np.ndarray]:
    """Gives f = t² (x0² x1 + sin x2) and w = (x0 t³, x1 x2 t), with first and second derivatives."""
    (a, b, c), s, zero = x.T, t[:, 0], 0 * t[:, 0]
    inner, slope = a * a * b + np.sin(c), np.stack([2 * a * b, a * a, np.cos(c)], 1)
    f_xx = np.array([[2 * b, 2 * a, zero], [2 * a, zero, zero], [zero, zero, -np.sin(c)]])
    w_xx = np.array([[[zero] * 3] * 3, [[zero] * 3, [zero, zero, s], [zero, s, zero]]])
    w_x = np.array([[s**3, zero, zero], [zero, c * s, b * s]])
    return {
        "f": (s * s * inner)[:, None],
        "w": np.stack([a * s**3, b * c * s], 1),
        "f_x": (t * t) * slope,
        "f_t": (2 * s * inner)[:, None],
        "w_x": np.moveaxis(w_x, -1, 0),
        "w_t": np.stack([3 * a * s * s, b * c], 1)[..., None],
        "f_xx": np.moveaxis(s * s * f_xx, -1, 0),
        "f_xt": (2 * t * slope)[..., None],
        "f_tt": (2 * inner)[:, None, None],
        "w_xx": np.moveaxis(w_xx, -1, 0),
        "w_xt": np.moveaxis(np.array([[3 * s * s, zero, zero], [zero, c, b]]), -1, 0)[..., None],
        "w_tt": np.stack([6 * a * s, zero], 1)[:, :, None, None],
    }


def curved_jvp(x: np.ndarray, t: np.ndarray, x_dot: np.ndarray, t_dot: np.ndarray) -> dict[str, np.ndarray]:
    """Gives the outputs and their tangents."""
    now = curved_all(x, t)
    f_dot = (now["f_x"] * x_dot).sum(1, keepdims=True) + now["f_t"] * t_dot
    w_dot = np.einsum("bmn,bn->bm", now["w_x"], x_dot) + now["w_t"][..., 0] * t_dot
    return {"f": now["f"], "w": now["w"], "f_dot": f_dot, "w_dot": w_dot}


def curved_vjp(x: np.ndarray, t: np.ndarray, f_bar: np.ndarray, w_bar: np.ndarray) -> dict[str, np.ndarray]:
    """Gives the outputs and the inputs' cotangents."""
    now = curved_all(x, t)
    x_bar = now["f_x"] * f_bar + np.einsum("bmn,bm->bn", now["w_x"], w_bar)
    t_bar = now["f_t"] * f_bar + np.einsum("bmn,bm->bn", now["w_t"], w_bar)
    return {"f": now["f"], "w": now["w"], "x_bar": x_bar, "t_bar": t_bar}


def curved_hvp(x: np.ndarray, t: np.ndarray, x_dot: np.ndarray, t_dot: np.ndarray) -> dict[str, np.ndarray]:
    """Gives outputs, first derivatives, and their tangents."""
    now = curved_all(x, t)
    found = {name: now[name] for name in ("f", "w", "f_x", "f_t", "w_x", "w_t")}
    for name in CURVED:
        by_x = np.einsum("b...ij,bj->b...i", now[f"{name}_xx"], x_dot)
        found[f"{name}_x_dot"] = by_x + np.einsum("b...ij,bj->b...i", now[f"{name}_xt"], t_dot)
        by_t = np.einsum("b...ij,bi->b...j", now[f"{name}_xt"], x_dot)
        found[f"{name}_t_dot"] = by_t + np.einsum("b...ij,bj->b...i", now[f"{name}_tt"], t_dot)
    return found


def curved_fake(dtype: str = "float64") -> gradwire.FakeTransport:
    """Every signature of the contract, without a server."""
    functions = {
        "serving_default": only(("f", "w", "f_x", "f_t", "w_x", "w_t"), curved_all),
        "value": only(("f", "w"), curved_all),
        "jvp": curved_jvp,
        "vjp": curved_vjp,
        "hvp": curved_hvp,
        "hessian": curved_all,
    }
    return gradwire.FakeTransport(functions, card=curved_card(dtype))


def bumpy_fake() -> FakeModel:
    """One input of three numbers, one output of one: f = x0² x1 + sin x2, and every derivative."""

    def part(name: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: curved_all(x, np.ones_like(x[:, :1]))[name]

    return FakeModel(lambda x: part("f")(x)[:, 0], part("f_x"), part("f_xx"), inputs={"x": 3}, name="bumpy")


def log_curved_fake() -> FakeModel:
    """The logarithm of one number, with its second derivative."""
    return FakeModel(np.log, lambda x: 1 / x, lambda x: -1 / x**2, name="log", domain={"x": (0.1, 1.9)})


def only(names: tuple[str, ...], function: Callable[..., Mapping[str, Any]]) -> Callable[..., dict[str, Any]]:
    """The same function with fewer outputs."""
    return lambda **inputs: {name: function(**inputs)[name] for name in names}


def log_fake(dtype: str = "float64", both: Callable[..., Mapping[str, Any]] = log_both) -> gradwire.FakeTransport:
    """The logarithm without a server."""
    functions = {"serving_default": both, "value": only(("f",), both)}
    return gradwire.FakeTransport(functions, card=log_card(dtype))


def multi_fake(dtype: str = "float64", both: Callable[..., Mapping[str, Any]] = multi_both) -> gradwire.FakeTransport:
    """Several inputs and outputs without a server."""
    functions = {"serving_default": both, "value": only(("f", "g", "w"), both)}
    return gradwire.FakeTransport(functions, card=multi_card(dtype))


def same_fake(dtype: str) -> gradwire.FakeTransport:
    """A signature `same` that gives back what it gets, without a card."""
    tensors = [gradwire.TensorSpec(name, dtype, (None, 2)) for name in ("x", "y")]
    signature = gradwire.Signature("same", {"x": tensors[0]}, {"y": tensors[1]})
    return gradwire.FakeTransport({"same": lambda x: {"y": x}}, signatures=[signature])
