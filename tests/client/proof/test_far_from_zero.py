"""Domains far from zero: steps that the dtype resolves, right derivatives that pass, and faults that are caught."""

from __future__ import annotations

import numpy as np
import pytest

import gradwire
from gradwire import Card, CardTensor, Domain, FakeTransport, Model, Signature, TensorSpec
from gradwire._errors import UsageError
from gradwire._numerics import points_along, reach, resolved_halvings, sample_directions, sample_points
from gradwire._package import Box

WIDTH = 1000.0


def _wave(c, dtype="float32", *, first=1.0, second=1.0):
    """Return a model of f = sin((x - c) / 200), of which derivatives are multiplied by a fault."""

    def parts(x):
        z = (x - np.asarray(c, dtype)) / np.asarray(200, dtype)
        return np.sin(z), (np.cos(z) * np.asarray(first / 200, dtype)), -np.sin(z) * np.asarray(second / 4e4, dtype)

    functions = {
        "serving_default": lambda x: dict(zip(("f", "df_dx"), parts(x)[:2], strict=True)),
        "value": lambda x: {"f": parts(x)[0]},
        "hessian": lambda x: dict(zip(("f", "df_dx", "d2f_dx2"), parts(x), strict=True)),
    }
    spec = {name: TensorSpec(name, dtype, (None, 1)) for name in ("x", "f", "df_dx", "d2f_dx2")}
    outputs = {"serving_default": ("f", "df_dx"), "value": ("f",), "hessian": ("f", "df_dx", "d2f_dx2")}
    signatures = [
        Signature(name, {"x": spec["x"]}, {output: spec[output] for output in names}) for name, names in outputs.items()
    ]
    card = Card(
        name="wave",
        inputs=(CardTensor("x", dtype, (1,), domain=Domain([c + 0.7], [c + WIDTH])),),
        outputs=(CardTensor("f", dtype, (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        second_derivatives={"f": {"x": {"x": "d2f_dx2"}}},
        signatures=(*functions, "card"),
    )
    return Model(FakeTransport(functions, card=card, signatures=signatures))


def _taylor(model, seed=0):
    return gradwire.verify(model, seed=seed).checks[0]


@pytest.mark.parametrize("c", [0.0, 1e5, 1e6, 5.4e6, 1e7, 2e7])
def test_right_derivatives_pass_wherever_float32_resolves_steps(c):
    """With steps that it rounds away, a smooth function was WRONG at a kink from 5e6 on."""
    for seed in range(3):
        verification = gradwire.verify(_wave(c), seed=seed)
        assert verification.passed, verification.failures
        assert "none on 16 lines" in verification.checks[5].findings[0].note
        assert not any("left out" in finding.note for finding in verification.checks[0].findings)


@pytest.mark.parametrize("c", [1e5, 5.4e6, 1e7])
def test_faults_are_caught_there_too(c):
    """One per cent of a first derivative, five of a second."""
    assert not _taylor(_wave(c, first=1.01)).passed
    assert not _taylor(_wave(c, second=1.05)).passed


def test_float64_is_right_at_unix_seconds():
    """1.7e9 is not far for it."""
    assert gradwire.verify(_wave(1.7e9, "float64")).passed


def test_a_domain_with_hardly_a_number_is_refused():
    """The message has the bounds, the numbers that there are, and the way out."""
    with pytest.raises(
        UsageError, match=r"domain of 'x' is 1.7e.09 .*, where float32 has 7 numbers, expected 256.*float64"
    ):
        gradwire.verify(_wave(1.7e9))


@pytest.mark.parametrize("lower", [0.0, 5.4e6 + 0.7, 1e7 + 0.3])
def test_steps_are_exact(lower):
    """Every x + tv is a float32 number, inside the box, for all steps that are taken."""
    box, dtype, rng = Box(np.array([lower]), np.array([lower + WIDTH])), np.dtype("float32"), np.random.default_rng(1)
    x, v = sample_points(box, 50, dtype, rng), sample_directions(box, 50, rng, dtype)
    longest = 2.0 ** np.floor(np.log2(reach(x, v, box, 0.25)))
    count = resolved_halvings({"x": v}, {"x": box}, {"x": x}, longest)
    assert (count is None) == (lower == 0)
    t = longest[:, None] * 0.5 ** np.arange((12 if count is None else count) + 1)
    exact = x[:, None].astype(np.float64) + t[:, :, None] * v[:, None]
    np.testing.assert_array_equal(points_along(x, v, t, box).astype(np.float64), exact)
