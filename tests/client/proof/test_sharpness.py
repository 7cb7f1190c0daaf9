"""Packages with a fault that a single comparison of the proof can see: without it they would pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import gradwire
from gradwire import Card, CardTensor, Check, DerivativeCheck, Domain, FakeTransport, Finding, Model

Arrays = dict[str, np.ndarray]
Both = Callable[[np.ndarray], Arrays]


def model_of(both: Both) -> Model:
    """A fake of a function of a scalar x on [-1, 1] that returns f and df_dx."""
    card = Card(
        name="f",
        inputs=(CardTensor("x", "float64", (1,), domain=Domain([-1.0], [1.0])),),
        outputs=(CardTensor("f", "float64", (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default",),
    )
    return Model(FakeTransport({"serving_default": both}, card=card))


def failed(model: Model) -> list[tuple[str, Finding]]:
    """The findings that fail, each with its check's name."""
    checks: tuple[Check, ...] = gradwire.verify(model).checks
    return [(check.name, finding) for check in checks for finding in check.findings if not finding.passed]


def test_only_no_rows():
    """A model that gives one row for none."""

    def one_row_for_none(x: np.ndarray) -> Arrays:
        return {"f": x * x if len(x) else np.zeros((1, 1)), "df_dx": 2 * x}

    ((check, finding),) = failed(model_of(one_row_for_none))
    assert (check, finding.subject, finding.tensor) == ("rows", "serving_default: no rows", "f")


def test_only_another_order():
    """A model that adds something to all but the first 64 rows of a large batch: in small ones these are as before."""

    def by_place(x: np.ndarray) -> Arrays:
        late = (np.arange(len(x))[:, None] >= 64) & (len(x) == 1000)
        return {"f": x * x + 1e-12 * late, "df_dx": 2 * x}

    ((check, finding),) = failed(model_of(by_place))
    assert check == "rows"
    assert "in another order" in finding.note


def test_only_beside_nan():
    """A model that passes NaN on to the other rows."""

    def spread(x: np.ndarray) -> Arrays:
        return {"f": x * x + (np.nan if np.isnan(x).any() else 0), "df_dx": 2 * x}

    ((check, finding),) = failed(model_of(spread))
    assert (check, finding.subject) == ("rows", "serving_default: beside rows of NaN")


def test_only_the_slope():
    """A model that adds a constant in batches of more than a thousand rows: no difference of two of them shows it."""

    def by_size(x: np.ndarray) -> Arrays:
        return {"f": x * x + 1e-12 * (len(x) > 1000), "df_dx": 2 * x}

    ((check, finding),) = failed(model_of(by_size))
    assert (check, finding.subject) == ("taylor", "df_dx of f wrt x")
    assert finding.worst is not None
    assert finding.worst < 1
    assert finding.derivative is not None
    assert finding.derivative.slope == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(("slope", "passed"), [(2.0, True), (1.71, True), (1.69, False), (None, True)])
def test_a_derivative_needs_its_slope(slope: float | None, passed: bool):
    """A small disagreement is not enough; where all is rounding there is no slope to judge."""
    assert DerivativeCheck("f", "x", "df_dx", 64, slope, 0.5, (), ()).passed == passed


TURN = np.array([[0, 1, -2], [-1, 0, 1], [2, -1, 0]])  # its own negative transpose


@pytest.mark.parametrize("size", [0.0, 3e-5])
def test_only_the_symmetry_of_hvp(make_network: Callable[..., Model], size: float):
    """A df with a little curl in it, too little for differences of float32; hvp is exactly its derivative."""

    def curled(right: Callable[..., Arrays], inputs: Arrays) -> Arrays:
        outputs = right(**inputs)
        turned = {"df_dx": inputs["x"] @ TURN}
        if "x_dot" in inputs:
            turned["df_dx_dot"] = inputs["x_dot"] @ TURN
        return outputs | {name: (outputs[name] + size * by).astype("float32") for name, by in turned.items()}

    faults = {"serving_default": curled, "hvp": curled}
    model = make_network("float32", faults, keep=("serving_default", "hvp"), reference=False)
    for seed in range(3):
        expected = ("adjoint: ⟨w, Hv⟩ = ⟨v, Hw⟩ of f, from hvp",) if size else ()
        assert gradwire.verify(model, seed=seed).failures == expected
