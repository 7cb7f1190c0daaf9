"""Derivatives of a `Model`: against closed forms, against differences, and against each other, in every form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire import Model

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(5, 3)), RNG.uniform(0.5, 2.0, 5)
X_DOT, T_DOT = RNG.normal(size=(5, 3)), RNG.normal(size=5)
H = 1e-6


def along(function: Callable[..., Any], *, x_dot: Any = X_DOT, t_dot: Any = T_DOT) -> Any:
    """Central differences of a function of x and t along a direction; rounding leaves about 1e-9."""
    ahead, behind = (function(X + sign * H * x_dot, T + sign * H * t_dot) for sign in (1, -1))
    return _differ(ahead, behind)


def _differ(ahead: Any, behind: Any) -> Any:
    if isinstance(ahead, dict):
        return {name: _differ(ahead[name], behind[name]) for name in ahead}
    return (ahead - behind) / (2 * H)


def same(found: Any, expected: Any, tolerance: float) -> None:
    """Compares arrays in nested dicts, shapes and order of names included."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            same(found[name], expected[name], tolerance)
    else:
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_grad_is_the_second_half_of_value_and_grad(curved: Model, bumpy: Model, log: Model):
    """`grad` gives what `value_and_grad` gives, without the values."""
    same(curved.grad(X, T), curved.value_and_grad(X, T)[1], 0)
    same(bumpy.grad(X), bumpy.value_and_grad(X)[1], 0)
    same(log.grad(2.0), log.value_and_grad(2.0)[1], 0)


def test_first_derivatives_are_those_of_the_values(curved: Model):
    """Products with a tangent are the differences of the values along it, and the derivatives contracted with it."""
    same(curved.jvp(X, T, X_DOT, T_DOT), along(curved.value), 1e-7)
    grads = curved.grad(X, T)
    contracted = {
        "f": (grads["f"]["x"] * X_DOT).sum(1) + grads["f"]["t"] * T_DOT,
        "w": (grads["w"]["x"] * X_DOT[:, None]).sum(2) + grads["w"]["t"] * T_DOT[:, None],
    }
    same(curved.jvp(X, T, X_DOT, T_DOT), contracted, 1e-13)


def test_products_from_both_sides_agree(curved: Model):
    """⟨f_bar, J x_dot⟩ = ⟨Jᵀ f_bar, x_dot⟩, point by point."""
    f_bar, w_bar = RNG.normal(size=5), RNG.normal(size=(5, 2))
    ahead, back = curved.jvp(X, T, X_DOT, T_DOT), curved.vjp(X, T, f_bar, w_bar)
    one = ahead["f"] * f_bar + (ahead["w"] * w_bar).sum(1)
    np.testing.assert_allclose(one, (back["x"] * X_DOT).sum(1) + back["t"] * T_DOT, rtol=1e-13)


def test_second_derivatives_are_those_of_the_first(curved: Model):
    """`hvp` is the difference of `grad` along the tangent, and the Hessian contracted with it."""
    products = curved.hvp(X, T, X_DOT, T_DOT)
    same(products, along(curved.grad), 1e-7)
    hessian = curved.hessian(X, T)
    contracted = {
        name: {
            wrt: np.einsum("b...i,bi->b...", by["x"], X_DOT) + by["t"] * T_DOT.reshape(5, *(1,) * (by["t"].ndim - 1))
            for wrt, by in hessian[name].items()
        }
        for name in hessian
    }
    same(products, contracted, 1e-13)


def test_hessians_are_symmetric(curved: Model, bumpy: Model):
    """A mixed pair is there in both orders, the same numbers with the axes of the inputs exchanged."""
    hessian = curved.hessian(X, T[:, None] if X.ndim > 2 else T)
    for of_output in hessian.values():
        assert list(of_output) == list(of_output["x"]) == list(of_output["t"]) == ["x", "t"]
        assert np.array_equal(of_output["x"]["x"], np.swapaxes(of_output["x"]["x"], -1, -2))
        assert np.array_equal(of_output["x"]["t"], of_output["t"]["x"])  # t has no axis of its own here
    one = curved.hessian(X[None], T[None, :, None])["w"]
    assert one["x"]["t"].shape == (1, 5, 2, 3, 1)
    assert one["t"]["x"].shape == (1, 5, 2, 1, 3)
    assert np.array_equal(one["x"]["t"], np.swapaxes(one["t"]["x"], -1, -2))
    assert bumpy.hessian(X).shape == (5, 3, 3)


def test_mixed_derivatives_are_transposed_and_not_reshaped():
    """Of inputs of two and of three elements each pair of axes is exchanged, whatever axes the output has."""
    rng = np.random.default_rng(1)
    tensors = {"f_ab": rng.normal(size=(4, 2, 3)), "w_ab": rng.normal(size=(4, 5, 2, 3))}
    card = gradwire.Card(
        name="mixed",
        inputs=(gradwire.CardTensor("a", "float64", (2,)), gradwire.CardTensor("b", "float64", (3,))),
        outputs=(gradwire.CardTensor("f", "float64", (1,)), gradwire.CardTensor("w", "float64", (5,))),
        derivatives={},
        second_derivatives={"f": {"a": {"b": "f_ab"}}, "w": {"a": {"b": "w_ab"}}},
        signatures=("hessian",),
    )
    specs = {name: gradwire.TensorSpec(name, "float64", (None, *array.shape[1:])) for name, array in tensors.items()}
    inputs = {name: gradwire.TensorSpec(name, "float64", (None, size)) for name, size in (("a", 2), ("b", 3))}
    signature = gradwire.Signature("hessian", inputs, specs)
    model = Model(gradwire.FakeTransport({"hessian": lambda a, b: tensors}, card=card, signatures=[signature]))
    hessian = model.hessian(np.ones((4, 2)), np.ones((4, 3)))
    for name in ("f", "w"):
        assert np.array_equal(hessian[name]["a"]["b"], tensors[f"{name}_ab"])
        assert np.array_equal(hessian[name]["b"]["a"], np.swapaxes(tensors[f"{name}_ab"], -1, -2))


# The caller's x and y, and the shapes of the blocks xx, xy, yx and yy of the Hessian, by what is given.
FORMS = {
    "one point": (1.5, 2.0, ((), (), (), ())),
    "one point in an array": ([1.5], [2.0], ((1,),) * 4),
    "points": ([1.5, 1.0, 0.5], [2.0, 1.0, 3.0], ((3,),) * 4),
    "points, one for all": ([1.5, 1.0, 0.5], 2.0, ((3,),) * 4),
    "a column": ([[1.5], [1.0]], [[2.0], [3.0]], ((2, 1, 1),) * 4),
    "a column beside points": ([1.5, 1.0], [[2.0], [3.0]], ((2,), (2, 1), (2, 1), (2, 1, 1))),
    "a column, one for all": ([[1.5], [1.0]], 2.0, ((2, 1, 1), (2, 1), (2, 1), (2,))),
    "no points": ([], [], ((0,),) * 4),
}


@pytest.mark.parametrize("form", FORMS)
def test_both_orders_of_a_pair_have_the_callers_form(form: str):
    """Of two scalar inputs the block above the diagonal and the one below are alike, of one point as of many."""

    def hessian(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        second = {"xx": 2 * y**3, "xy": 6 * x * y**2, "yy": 6 * x**2 * y}
        return {"f": x**2 * y**3, "f_x": 2 * x * y**3, "f_y": 3 * x**2 * y**2} | {
            f"f_{pair}": array[..., None] for pair, array in second.items()
        }

    card = gradwire.Card(
        name="scalars",
        inputs=tuple(gradwire.CardTensor(name, "float64", (1,)) for name in ("x", "y")),
        outputs=(gradwire.CardTensor("f", "float64", (1,)),),
        derivatives={"f": {"x": "f_x", "y": "f_y"}},
        second_derivatives={"f": {"x": {"x": "f_xx", "y": "f_xy"}, "y": {"y": "f_yy"}}},
        signatures=(),
    )
    x, y, shapes = FORMS[form]
    blocks = Model(gradwire.FakeTransport({"hessian": hessian}, card=card)).hessian(x, y)["f"]
    pairs = [("x", "x"), ("x", "y"), ("y", "x"), ("y", "y")]
    assert tuple(blocks[first][second].shape for first, second in pairs) == shapes
    assert [list(blocks), list(blocks["x"]), list(blocks["y"])] == [["x", "y"]] * 3
    a, b = np.broadcast_arrays(np.ravel(x), np.ravel(y))
    for (first, second), exact in zip(pairs, (2 * b**3, 6 * a * b**2, 6 * a * b**2, 6 * a**2 * b), strict=True):
        np.testing.assert_allclose(blocks[first][second].ravel(), exact, rtol=1e-15)


def test_closed_forms(curved: Model, closed_forms: dict[str, Callable[..., Any]]):
    """Every tensor lands where its output and inputs say."""
    exact = closed_forms["curved"](X, T[:, None])
    hessian = curved.hessian(X, T)
    assert np.array_equal(hessian["f"]["x"]["x"], exact["f_xx"])
    assert np.array_equal(hessian["w"]["x"]["t"], exact["w_xt"][..., 0])
    assert np.array_equal(hessian["w"]["t"]["t"], exact["w_tt"][..., 0, 0])
    assert np.array_equal(curved.jacobian(X, T)["w"]["x"], exact["w_x"])


def test_jacobian_is_a_matrix_a_point(curved: Model, bumpy: Model, log: Model):
    """Whatever the shapes, m numbers out and n in: `(…, m, n)`."""
    jacobian = curved.jacobian(X, T)
    shapes = {name: {wrt: array.shape for wrt, array in by.items()} for name, by in jacobian.items()}
    assert shapes == {"f": {"x": (5, 1, 3), "t": (5, 1, 1)}, "w": {"x": (5, 2, 3), "t": (5, 2, 1)}}
    assert bumpy.jacobian(X[0]).shape == (1, 3)
    assert np.array_equal(bumpy.jacobian(X)[:, 0], bumpy.grad(X))
    assert np.array_equal(log.jacobian([1.0, 2.0]), [[[1.0]], [[0.5]]])


@pytest.mark.parametrize("shape", [(), (3,), (0,), (3, 1), (2, 3, 1)])
def test_a_one_number_function(log_curved: Model, shape: tuple[int, ...]):
    """Tangents, cotangents and results have the form of the points."""
    x = np.linspace(0.5, 1.5, int(np.prod(shape))).reshape(shape)
    v = np.full(shape, 3.0)
    one = (1,) if len(shape) > 1 else ()
    same(log_curved.jvp(x, v), 3 / x, 1e-15)
    same(log_curved.vjp(x, v), 3 / x, 1e-15)
    same(log_curved.hvp(x, v), -3 / x**2, 1e-15)
    same(log_curved.hessian(x), np.reshape(-1 / x**2, (*shape, *one)), 1e-15)


def test_many_tangents_at_every_point(curved: Model, bumpy: Model, log_curved: Model):
    """With one axis more in front there are k at every point: what k calls would give, in one."""
    x_dot, t_dot = RNG.normal(size=(4, 5, 3)), RNG.normal(size=(4, 5))
    for method in (curved.jvp, curved.hvp):
        one_by_one = [method(X, T, x_dot[k], t_dot[k]) for k in range(4)]
        same(method(X, T, x_dot, t_dot), _stacked(one_by_one), 0)
    f_bar, w_bar = RNG.normal(size=(4, 5)), RNG.normal(size=(4, 5, 2))
    one_by_one = [curved.vjp(X, T, f_bar[k], w_bar[k]) for k in range(4)]
    same(curved.vjp(X, T, f_bar, w_bar), _stacked(one_by_one), 0)
    same(bumpy.jvp(X, np.broadcast_to(np.eye(3)[:, None], (3, 5, 3))), bumpy.grad(X).T, 1e-15)
    same(bumpy.hvp(X[0], np.eye(3)), bumpy.hessian(X[0]), 1e-15)
    same(log_curved.jvp(2.0, [1.0, 2.0, 3.0]), np.array([0.5, 1.0, 1.5]), 0)


def _stacked(found: list[Any]) -> Any:
    if isinstance(found[0], dict):
        return {name: _stacked([entry[name] for entry in found]) for name in found[0]}
    return np.stack(found)


def test_k_tangents_travel_in_one_call(stand_in: Any):
    """They are k·batch rows of one request."""
    with gradwire.connect(stand_in.target, "curved") as curved:
        curved.jvp(X, T, RNG.normal(size=(4, 5, 3)), T_DOT)
        sent = stand_in.requests[-1]
    assert {name: [dim.size for dim in sent.inputs[name].tensor_shape.dim] for name in sent.inputs} == {
        "x": [20, 3],
        "t": [20, 1],
        "x_dot": [20, 3],
        "t_dot": [20, 1],
    }
    assert list(sent.output_filter) == ["f_dot", "w_dot"]
    assert len(stand_in.requests) == 2  # with the card's


def test_what_is_left_out_is_zero(curved: Model):
    """A tangent or a cotangent that is not given is zero; one without the axis of k goes with all of them."""
    zero = np.zeros(5)
    same(curved.jvp(X, T, x_dot=X_DOT), curved.jvp(X, T, X_DOT, zero), 0)
    same(curved.jvp(X, T, t_dot=T_DOT), curved.jvp(X, T, np.zeros((5, 3)), T_DOT), 0)
    same(curved.vjp(X, T, f_bar=T_DOT), curved.vjp(X, T, T_DOT, np.zeros((5, 2))), 0)
    many = RNG.normal(size=(4, 5, 3))
    same(curved.jvp(X, T, many, T_DOT), curved.jvp(X, T, many, np.tile(T_DOT, (4, 1))), 0)


def test_a_single_number_is_used_everywhere(curved: Model, log_curved: Model):
    """A rank-0 tangent of a one-number input goes with every point, as a rank-0 input does."""
    same(curved.jvp(X, T, X_DOT, 2.0), curved.jvp(X, T, X_DOT, np.full(5, 2.0)), 0)
    same(curved.jvp(X, 1.5, X_DOT, 2.0), curved.jvp(X, np.full(5, 1.5), X_DOT, np.full(5, 2.0)), 0)
    same(curved.vjp(X, T, 1.0, w_bar=np.zeros((5, 2))), curved.vjp(X, T, np.ones(5)), 0)
    same(log_curved.jvp([1.0, 2.0], 1.0), np.array([1.0, 0.5]), 0)


def test_by_name_in_any_order(curved: Model):
    """Inputs and tangents go by position or by the contract's names."""
    expected = curved.jvp(X, T, X_DOT, T_DOT)
    same(curved.jvp(t_dot=T_DOT, x=X, x_dot=X_DOT, t=T), expected, 0)
    same(curved.jvp(X, T, t_dot=T_DOT, x_dot=X_DOT), expected, 0)


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        (
            {},
            gradwire.InputNameError,
            r"no direction is given, expected at least one of \['x_dot', 't_dot'\]",
        ),
        (
            {"x_dot": np.ones((5, 2))},
            gradwire.ShapeError,
            r"'x_dot' has shape \(5, 2\), expected the form of 'x', \(5, 3\)",
        ),
        ({"x_dot": np.ones(3)}, gradwire.ShapeError, "expected the form of 'x'"),
        ({"x_dot": 1.0}, gradwire.ShapeError, "expected the form of 'x'"),
        (
            {"t_dot": np.ones((5, 1))},
            gradwire.ShapeError,
            r"'t_dot' has shape \(5, 1\), expected the form of 't', \(5\)",
        ),
        (
            {"x_dot": np.ones((4, 5, 3)), "t_dot": np.ones((3, 5))},
            gradwire.ShapeError,
            r"different numbers of directions at a point: \{'x_dot': 4, 't_dot': 3\}",
        ),
        ({"x_dot": np.ones((5, 3), complex)}, gradwire.DTypeError, "'x_dot' holds complex128"),
        ({"y_dot": 1.0}, gradwire.InputNameError, r"sent extra: \{y_dot\}"),
    ],
)
def test_tangents_that_do_not_fit(curved: Model, named: Any, error: type[Exception], message: str):
    """What does not fit is told with the tangent, what was got and what was expected, before anything is sent."""
    with pytest.raises(error, match=message):
        curved.jvp(X, T, **named)


def test_some_inputs_are_plain_parameters():
    """Inputs that the model has no derivative by take no tangent, and are left out of what comes back."""
    card = gradwire.Card(
        name="power",
        inputs=(gradwire.CardTensor("x", "float64", (1,)), gradwire.CardTensor("n", "int32", (1,))),
        outputs=(gradwire.CardTensor("f", "float64", (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        second_derivatives={"f": {"x": {"x": "d2f_dx2"}}},
        signatures=(),
    )
    functions = {
        "serving_default": lambda x, n: {"f": x**n, "df_dx": n * x ** (n - 1)},
        "jvp": lambda x, n, x_dot: {"f": x**n, "f_dot": n * x ** (n - 1) * x_dot},
        "vjp": lambda x, n, f_bar: {"f": x**n, "x_bar": n * x ** (n - 1) * f_bar},
        "hessian": lambda x, n: {
            "f": x**n,
            "df_dx": n * x ** (n - 1),
            "d2f_dx2": (n * (n - 1) * x ** (n - 2))[..., None],
        },
    }
    power = Model(gradwire.FakeTransport(functions, card=card))
    same(power.grad([1.0, 2.0], 3), {"f": {"x": np.array([3.0, 12.0])}}, 0)
    same(power.jvp([1.0, 2.0], 3, [1.0, 10.0]), {"f": np.array([3.0, 120.0])}, 0)
    same(power.vjp([1.0, 2.0], 3, [1.0, 10.0]), {"x": np.array([3.0, 120.0])}, 0)
    same(power.hessian([1.0, 2.0], 3), {"f": {"x": {"x": np.array([6.0, 12.0])}}}, 0)
    with pytest.raises(gradwire.InputNameError, match=r"sent extra: \{n_dot\}"):
        power.jvp([1.0], 3, n_dot=[1.0])


def test_no_points_have_no_derivatives(curved: Model):
    """No points, or no tangents at any, are answered here with the right shapes."""
    assert curved.hessian(np.empty((0, 3)), np.empty(0))["w"]["x"]["x"].shape == (0, 2, 3, 3)
    assert curved.jvp(np.empty((0, 3)), np.empty(0), x_dot=np.empty((4, 0, 3)))["w"].shape == (4, 0, 2)
    assert curved.jvp(X, T, x_dot=np.empty((0, 5, 3)))["w"].shape == (0, 5, 2)


@pytest.mark.parametrize("method", ["jvp", "vjp", "hvp", "hessian"])
def test_a_package_without_the_signature(log: Model, method: str):
    """A derivative that the package does not have is refused by name, never made up."""
    with pytest.raises(gradwire.SignatureNotFound, match=f"no signature '{method}', expected one of"):
        getattr(log, method)(1.0)


def test_a_card_without_second_derivatives(log_curved: Model):
    """A signature `hessian` whose tensors the card does not name is refused."""
    card = replace(log_curved.card, second_derivatives={})
    fake = gradwire.FakeTransport({"hessian": lambda x: {}}, card=card, signatures=[log_curved.signatures["hessian"]])
    with pytest.raises(gradwire.PackageError, match="names no tensor for 'hessian'"):
        Model(fake).hessian(1.0)


def test_run_gives_what_is_asked_for(curved: Model):
    """`run` calls any signature on whole rows for some of its outputs: one call for values and products together."""
    found = curved.run("jvp", {"x": X, "t": T[:, None], "x_dot": X_DOT, "t_dot": T_DOT[:, None]}, ["f_dot", "f"])
    assert list(found) == ["f_dot", "f"]
    same(found["f_dot"][:, 0], curved.jvp(X, T, X_DOT, T_DOT)["f"], 0)
    with pytest.raises(gradwire.InputNameError, match=r"has no outputs \['z'\]"):
        curved.run("value", {"x": X, "t": T[:, None]}, ["z"])
