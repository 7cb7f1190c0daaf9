"""Checks 3 to 6 of the proof, one by one, on functions of one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradwire
from gradwire import Card, CardTensor, Check, Domain, FakeTransport, Model
from gradwire._errors import ServerError

Both = Callable[[np.ndarray], dict[str, np.ndarray]]


def of(f: Callable[[Any], Any], df: Callable[[Any], Any], dtype: str = "float64", **card: Any) -> Model:
    """A fake of f and df on [-1, 1]."""
    return fake(lambda x: {"f": f(x).astype(dtype), "df_dx": df(x).astype(dtype)}, dtype, **card)


def fake(both: Both, dtype: str = "float64", **card: Any) -> Model:
    """A fake of a function that gives f and df_dx."""
    told = Card(
        name="f",
        inputs=(CardTensor("x", dtype, (1,), domain=Domain([-1.0], [1.0])),),
        outputs=(CardTensor("f", dtype, (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default",),
    )
    return Model(FakeTransport({"serving_default": both}, card=replace(told, **card)))


def check(model: Model, name: str, **kwargs: Any) -> Check:
    """One check of a model's proof."""
    return next(check for check in gradwire.verify(model, **kwargs).checks if check.name == name)


def notes(found: Check) -> str:
    """All that a check says."""
    return "\n".join(f"{finding.subject}: {finding.note}" for finding in found.findings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_kink_is_found_and_told_and_fails_nothing(dtype: str):
    """|x - 0.3| has its kink at 0.3; so has a ReLU; the proof passes."""
    model = of(lambda x: np.abs(x - 0.3), lambda x: np.sign(x - 0.3), dtype)
    for seed in range(4):
        found = gradwire.verify(model, seed=seed)
        assert found.passed, found.failures
        assert "kinks on" in notes(found.checks[5])
        assert "x = 0.3" in notes(found.checks[5])


def test_a_kink_at_every_point_is_no_proof():
    """Where no point is smooth nothing could be compared, and the check says so instead of passing."""
    model = of(lambda x: np.abs(x - 0.25), lambda x: np.sign(x - 0.25))
    found = check(model, "taylor", rows={"x": [0.25, 0.25]})
    assert not found.passed
    assert "all 2 points are at a kink: nothing could be compared" in notes(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_jump_is_not_a_kink(dtype: str):
    """Of x + floor(2x) no derivative tells the jumps, and the proof does."""
    found = check(of(lambda x: x + np.floor(2 * x), np.ones_like, dtype), "kinks")
    assert "jumps on" in notes(found)
    assert "kinks on" not in notes(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("f", "df"),
    [
        (np.sin, np.cos),
        (lambda x: np.tanh(200 * x), lambda x: 200 / np.cosh(200 * x) ** 2),
        (lambda x: 3 * x, lambda x: 3 + 0 * x),
        (lambda x: 0 * x, lambda x: 0 * x),
        (lambda x: x**8, lambda x: 8 * x**7),
    ],
    ids=["sin", "steep", "linear", "zero", "power"],
)
def test_smooth_functions_have_no_kink(f: Any, df: Any, dtype: str):
    """However steep: a bend that is finer than the first grid is told from a kink on the next ones."""
    for seed in range(4):
        assert "none on 16 lines" in notes(check(of(f, df, dtype), "kinks", seed=seed))


def test_nan_that_becomes_a_number_is_reported():
    """A ReLU written so gives a number for NaN: no fault of its derivative, and the way out is named."""
    swallowing = of(lambda x: np.where(x > 0, x, 0.0), lambda x: (x > 0) * 1.0)
    found = check(swallowing, "non_finite")
    assert found.passed
    assert "f is finite, and depends on it: a ReLU takes NaN for 0; export with --nan-guard" in notes(found)
    honest = check(of(lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0), "non_finite")
    assert honest.passed
    assert "df_dx finite" in notes(honest)  # a ReLU's slope at NaN: told, not judged


def test_a_function_that_saturates_may_answer_infinity():
    """Tanh of ∞ is 1, and right; a constant does not depend on its input at all."""
    assert "saturates" in notes(check(of(np.tanh, lambda x: 1 / np.cosh(x) ** 2), "non_finite"))
    assert check(of(lambda x: 0 * x + 2, lambda x: 0 * x), "non_finite").passed
    constant = fake(lambda x: {"f": np.full_like(x, 2.0), "df_dx": np.zeros_like(x)})
    assert check(constant, "non_finite").passed


def test_a_model_may_refuse_nan():
    """An error is an answer, as a Cholesky factor of NaN gives; the next call must work."""

    def refusing(x: np.ndarray) -> dict[str, np.ndarray]:
        if not np.isfinite(x).all():
            raise ServerError("Cholesky decomposition was not successful", code="INVALID_ARGUMENT")
        return {"f": x * x, "df_dx": 2 * x}

    found = gradwire.verify(fake(refusing))
    assert found.passed
    assert "refuses it: Cholesky" in notes(found.checks[4])
    assert "refuses NaN" in notes(found.checks[3])


def test_what_lingers_after_nan_fails():
    """A model that is another one once it has seen NaN."""
    seen: list[bool] = []

    def spoilt(x: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(bool(np.isnan(x).all()))
        return {"f": x * x + (1e-3 if any(seen) else 0), "df_dx": 2 * x}

    found = check(fake(spoilt), "non_finite")
    assert [finding.subject for finding in found.findings if not finding.passed] == ["same outputs afterwards"]


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_a_batch_size_that_matters_is_found(rows: int):
    """A row's numbers must not depend on how many others there are."""

    def sized(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"f": x * x * (1 + 1e-9 * (len(x) == rows)), "df_dx": 2 * x}

    found = check(fake(sized), "rows")
    assert {finding.tensor for finding in found.findings if not finding.passed} == {"f"}


def test_rounding_between_batch_sizes_passes():
    """Other kernels for other sizes move good models by some eps: that is no fault."""
    eps = np.finfo(float).eps

    def rounded(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"f": x * x + eps * (len(x) % 7), "df_dx": 2 * x * (1 + 4 * eps * (len(x) % 3))}

    assert check(fake(rounded), "rows").passed


def test_nan_that_spreads_to_its_neighbours_is_found():
    """A row of NaN in the batch is no reason for the others to change."""

    def spread(x: np.ndarray) -> dict[str, np.ndarray]:
        bad = np.isnan(x).any()
        return {"f": x * x + (np.nan if bad else 0), "df_dx": 2 * x}

    found = check(fake(spread), "rows")
    assert [finding.subject for finding in found.findings if not finding.passed] == [
        "serving_default: beside rows of NaN"
    ]


def test_no_rows_of_a_wrong_shape_are_found():
    """A model in process is asked for no rows; a shape that is not empty fails, a refusal is told."""

    def empty(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"f": x * x, "df_dx": 2 * x} if len(x) else {"f": np.zeros((1, 1)), "df_dx": x}

    found = check(fake(empty), "rows")
    assert [(f.subject, f.tensor) for f in found.findings if not f.passed] == [("serving_default: no rows", "f")]


def test_no_rows_are_never_sent_to_a_server(stand_in: Any):
    """A server that batches would let them wait for ever."""
    with gradwire.connect(stand_in.target, "log") as model:
        found = gradwire.verify(model)
    assert found.passed
    assert "not sent to a server" in notes(found.checks[3])
    shapes = [list(tensor.tensor_shape.dim) for r in stand_in.requests for tensor in r.inputs.values()]
    assert all(dims[0].size > 0 for dims in shapes if dims)


REFERENCE = {
    "method": "by hand",
    "x": {"x": "0.5 0.25"},
    "tensors": {"f": "0.25 0.0625", "df_dx": [1.0, 0.5]},
}


def square(reference: Any, dtype: str = "float64") -> Model:
    """x² with a reference on its card."""
    return of(lambda x: x * x, lambda x: 2 * x, dtype, reference=reference)


def test_a_reference_is_read_as_text_or_as_lists():
    """Both stand on cards; units in the last place are told."""
    found = check(square(REFERENCE | {"uncertainty": {}}), "reference")
    assert found.passed
    assert not found.skipped
    assert "at most 0 ulp" in notes(found) or "median 0 ulp, at most 0" in notes(found)
    off = REFERENCE | {"tensors": {"f": "0.25 0.0625000001"}, "uncertainty": {}}
    assert not check(square(off), "reference").passed
    assert check(square(off | {"uncertainty": {"f": 1e-9}}), "reference").passed


def test_float32_is_told_in_units_in_the_last_place():
    """What the dtype costs a package is a number that people can judge."""
    reference = {"x": {"x": "0.5 0.25"}, "tensors": {"f": f"{0.25 * (1 + 2**-23)} 0.0625"}, "uncertainty": {}}
    assert "at most 1;" in notes(check(square(reference, "float32"), "reference"))


@pytest.mark.parametrize(("eps", "passes"), [(20, True), (40, False)])
def test_a_reference_allows_thirty_two_eps_of_the_scale(eps: int, passes: bool):
    """Rounding that the fine grid does not see, of a saturated activation, is none of the package's faults."""
    off = {"x": {"x": "0.5 0.25"}, "tensors": {"f": f"{0.25 * (1 + eps * 2**-23)} 0.0625"}, "uncertainty": {}}
    assert check(square(off, "float32"), "reference").passed is passes


def test_without_a_reference_the_check_is_skipped():
    """It is told, and no failure."""
    found = check(square(None), "reference")
    assert found.skipped
    assert found.passed


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"x": {}}, "no input 'x'"),
        ({"x": {"x": "0.5 word"}}, "of 'x'"),
        ({"x": {"x": ""}}, "expected as many for each input"),
        ({"x": "0.5"}, "no 'x'"),
        ({"tensors": {"f": "0.25"}}, "of 'f'"),
        ({"tensors": {"f": {"a": 1}}}, "of 'f'"),
        ({"tensors": None}, "no 'tensors'"),
        ({"uncertainty": {"f": "none"}}, "uncertainty 'none'"),
        ({"uncertainty": {"f": -1.0}}, "uncertainty -1.0"),
    ],
)
def test_a_card_s_reference_is_untrusted(part: dict[str, Any], message: str):
    """Whatever stands there, the error says what is wrong with the card."""
    with pytest.raises(gradwire.PackageError, match=message):
        gradwire.verify(square(REFERENCE | {"uncertainty": {}} | part))


def test_a_verification_is_plain_data():
    """What the card keeps and the command prints: a check a key, each with its findings."""
    found = gradwire.verify(of(np.sin, np.cos), points=16, seed=3)
    plain = found.to_dict()
    assert list(plain) == ["taylor", "adjoint", "reference", "rows", "non_finite", "kinks", "special", "solve"]
    assert plain["taylor"]["findings"][0]["passed"]
    assert plain["taylor"]["findings"][0]["tensor"] == "df_dx"
    assert plain["adjoint"]["skipped"]
    assert (found.points, found.seed) == (16, 3)
    assert found.failures == ()


def test_integer_parameters_are_drawn_from_the_domain():
    """A parameter that is not differentiated may be an integer: both ends of its domain come, and nothing else."""
    seen: set[int] = set()

    def powers(x: np.ndarray, n: np.ndarray) -> dict[str, np.ndarray]:
        seen.update(n.reshape(-1).tolist())
        return {"f": x**n, "df_dx": n * x ** (n - 1)}

    card = Card(
        name="f",
        inputs=(
            CardTensor("x", "float64", (1,), domain=Domain([0.5], [2.0])),
            CardTensor("n", "int32", (1,), domain=Domain([1], [3])),
        ),
        outputs=(CardTensor("f", "float64", (1,)),),
        derivatives={"f": {"x": "df_dx"}},
        signatures=("serving_default",),
    )
    found = gradwire.verify(Model(FakeTransport({"serving_default": powers}, card=card)))
    assert found.passed, found.failures
    assert seen == {1, 2, 3}
