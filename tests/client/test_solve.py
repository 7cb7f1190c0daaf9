"""Solving as a caller has it: which signature, in which form, with which flags; and its proof, with planted faults."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest
from tests.client.models import log_both, log_card
from typer.testing import CliRunner

import gradwire
from gradwire import aio
from gradwire._cli.main import app

LOG = gradwire.Solve("x", "f", {"f": "dx_df"}, 1e-15)


def solve_log(f):
    """The inverse of the logarithm on [0.1, 1.9], as a package returns it."""
    with np.errstate(all="ignore"):
        x = np.exp(f)
    converged = ((x >= 0.1) & (x <= 1.9))[:, 0]
    nearest = np.clip(f, np.log(0.1), np.log(1.9))
    x = np.where(converged[:, None], x, np.nan)
    with np.errstate(all="ignore"):
        residual = np.where(converged[:, None], np.log(x) - f, nearest - f)
    return {"x": x, "dx_df": x.copy(), "residual": residual, "converged": converged}


def fake(solve=solve_log, card=None, **functions):
    """The logarithm with its inverse."""
    card = card or replace(log_card(), solves={"solve_x_from_f": LOG})
    return gradwire.FakeTransport({"serving_default": log_both, "solve_x_from_f": solve} | functions, card=card)


PAIR = replace(
    log_card(),
    inputs=(
        gradwire.CardTensor("a", "float64", (2,)),
        gradwire.CardTensor("x", "float64", (1,), domain=gradwire.Domain([0.0], [10.0])),
        gradwire.CardTensor("n", "int32", ()),
    ),
    derivatives={"f": {"a": "df_da", "x": "df_dx"}},
    solves={"solve_x_from_f": gradwire.Solve("x", "f", {"f": "x_f", "a": "x_a"}, 1e-12)},
)


def both_of_pair(a, x, n):
    """F = x + a0 + 2 a1 + n."""
    return {
        "f": x + a[:, :1] + 2 * a[:, 1:] + n[:, None],
        "df_dx": np.ones_like(x),
        "df_da": np.broadcast_to([1.0, 2.0], a.shape),
    }


def solve_pair(f, a, n):
    """Its inverse in x."""
    x = f - a[:, :1] - 2 * a[:, 1:] - n[:, None]
    inside = (x >= 0) & (x <= 10)
    slopes = {"x_f": np.where(inside, 1.0, np.nan), "x_a": np.where(inside, [-1.0, -2.0], np.nan)}
    residual = np.where(np.isnan(x), np.nan, np.clip(x, 0, 10) - x)
    return {"x": np.where(inside, x, np.nan), **slopes, "residual": residual, "converged": inside[:, 0]}


@pytest.fixture
def log():
    """The logarithm with its inverse."""
    return gradwire.Model(fake())


@pytest.fixture
def pair():
    """A vector, a scalar that is solved for, and a parameter, an integer."""
    return gradwire.Model(
        gradwire.FakeTransport({"serving_default": both_of_pair, "solve_x_from_f": solve_pair}, card=PAIR)
    )


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 1)])
def test_a_solution_has_the_form_of_the_target(log, shape):
    """Whatever the caller's array is."""
    solution = log.solve(f=np.full(shape, -0.5))
    assert {part.shape for part in (solution.x, solution.grads["f"], solution.residual)} == {shape}
    assert solution.converged.shape == (shape[:-1] if shape[-1:] == (1,) else shape)
    np.testing.assert_allclose(solution.x, np.exp(-0.5))
    x, grads, residual, converged = log.solve(f=[0.0, 2.0])
    assert (x[0], grads["f"][0], residual[0]) == (1.0, 1.0, 0.0)
    assert np.isnan(x[1])
    assert residual[1] == np.log(1.9) - 2
    assert converged.tolist() == [True, False]


def test_other_inputs_keep_their_forms(pair):
    """A vector, a scalar, an integer; a single value is used for every point; no points are no answers."""
    solution = pair.solve(f=[10.0, 11.0], a=[[1.0, 2.0], [0.0, 0.0]], n=2)
    np.testing.assert_array_equal(solution.x, [3.0, 9.0])
    assert list(solution.grads) == ["f", "a"]
    np.testing.assert_array_equal(solution.grads["a"], [[-1.0, -2.0]] * 2)
    empty = pair.solve(f=np.empty(0), a=np.empty((0, 2)), n=np.empty(0, int))
    assert (empty.x.shape, empty.grads["a"].shape, empty.converged.shape) == ((0,), (0, 2), (0,))
    assert pair.solve(f=10.0, a=[1.0, 2.0], n=2).converged.dtype == bool


def test_the_missing_input_names_the_signature():
    """Of several signatures the one is called that takes what is given."""
    solves = PAIR.solves | {"another": gradwire.Solve("n", "f", {}, 1.0)}
    wide = replace(PAIR, solves=solves, inputs=(*PAIR.inputs[:2], gradwire.CardTensor("n", "float64", (1,))))
    called = []

    def solve(name):
        def run(f, a, **other):
            called.append(name)
            return {"x": f, "n": f, "x_f": f, "x_a": a, "residual": f, "converged": f[:, 0] > 0}

        return run

    functions = {name: solve(name) for name in solves}
    model = gradwire.Model(gradwire.FakeTransport(functions, card=wide))
    model.solve(f=1.0, a=[1.0, 1.0], n=1.0)
    model.solve(f=1.0, a=[1.0, 1.0], x=1.0)
    assert called == ["solve_x_from_f", "another"]
    with pytest.raises(gradwire.InputNameError, match=r"for 'x' sent extra: \{b\}.*for 'n' sent extra: \{b\}"):
        model.solve(f=1.0, b=1.0)


def test_a_signature_of_other_tensors_than_the_card_has_is_refused():
    """By whoever calls it, and by verify: a package was changed, or a new version has come."""
    wrong = replace(log_card(), solves={"solve_x_from_f": replace(LOG, derivatives={"f": "slope"})})
    (signature,) = (fake().signatures(timeout=1.0)[name] for name in ["solve_x_from_f"])
    functions = {"serving_default": log_both, "solve_x_from_f": solve_log}
    model = gradwire.Model(gradwire.FakeTransport(functions, card=wrong, signatures=[signature]))
    for call in (lambda: model.solve(f=0.0), lambda: gradwire.verify(model, points=4)):
        with pytest.raises(gradwire.PackageError, match=r"disagree about its outputs: sent extra: \{slope\}"):
            call()


def test_what_is_wrong_is_said(log):
    """Names, a selection, and a package that does not solve."""
    with pytest.raises(gradwire.InputNameError, match=r"sent extra: \{x\}; missing but required: \{f\}"):
        log.solve(x=1.0)
    with pytest.raises(TypeError):
        log.solve(1.0)
    bare = gradwire.Model(gradwire.FakeTransport({"serving_default": log_both}, card=log_card()))
    with pytest.raises(gradwire.SignatureNotFound, match=r"no signature that solves, it has .* --solve INPUT:OUTPUT"):
        bare.solve(f=1.0)
    with pytest.raises(gradwire.UsageError, match="solve got 'of'"):
        list(log.stream([{"f": 1.0}], "solve", of="f"))
    with pytest.raises(gradwire.InputNameError, match="by position: give the target and the inputs by name"):
        list(log.stream([np.ones(2)], "solve"))


def test_streams_and_the_asynchronous_model_solve(log):
    """Block after block; awaited."""
    blocks = list(log.stream([{"f": [0.0]}, {"f": [2.0, 0.0]}], "solve"))
    assert [block.converged.tolist() for block in blocks] == [[True], [False, True]]

    async def solution():
        async with await aio.Model.open(aio.InThreads(fake())) as model:
            return await model.solve(f=[0.0, 2.0])

    assert asyncio.run(solution()).converged.tolist() == [True, False]


def test_points_outside_are_told_where_they_are_known():
    """The inputs that are given are compared with the domain; error bars are not, for x is not known before."""
    card = replace(
        PAIR,
        inputs=(replace(PAIR.inputs[0], domain=gradwire.Domain([0.0, 0.0], [1.0, 1.0])), *PAIR.inputs[1:]),
        uncertainty={"bars": {"f_std": {"trusted_up_to": [1.0]}}},
    )
    functions = {
        "serving_default": both_of_pair,
        "solve_x_from_f": solve_pair,
        "uncertainty": lambda **x: {"f_std": x["x"], "df_da_std": x["a"], "df_dx_std": x["x"]},
    }
    strict = gradwire.Model(gradwire.FakeTransport(functions, card=card), on_extrapolation="raise")
    assert strict.solve(f=4.0, a=[0.5, 1.0], n=0).converged
    raw = {"f": [[4.0]], "a": [[0.5, 1.0]], "n": [0]}
    assert strict.predict("solve_x_from_f", **raw)["converged"]
    with pytest.raises(gradwire.ExtrapolationError, match="input 'a': 1 of 1 points lie outside"):
        strict.solve(f=4.0, a=[0.5, 2.0], n=0)


@pytest.mark.parametrize(
    "entry",
    [
        {"input": "y", "output": "f", "derivatives": {}, "tolerance": 1.0},
        {"input": "x", "output": "x", "derivatives": {}, "tolerance": 1.0},
        {"input": "x", "output": "f", "derivatives": {"x": "a"}, "tolerance": 1.0},
        {"input": "x", "output": "f", "derivatives": {}, "tolerance": None},
        {"input": "x", "output": "f", "derivatives": 3, "tolerance": 1.0},
        "x:f",
    ],
)
def test_a_card_from_a_stranger_is_read_with_care(entry):
    """What has another form is refused by name."""
    text = json.dumps(json.loads(log_card().to_json()) | {"solves": {"s": entry}})
    with pytest.raises(gradwire.PackageError, match=r"not a package's card: .*s"):
        gradwire.Card.from_json(text)


@pytest.fixture
def shown(monkeypatch):
    """The command, with the logarithm wherever it looks for a model."""
    for place in ("query", "bench"):
        monkeypatch.setattr(f"gradwire._cli.commands.{place}.open_model", lambda *_, **__: gradwire.Model(fake()))
    return lambda *words: CliRunner().invoke(app, words)


def _json_of(text):
    """What follows the notes: before Click 8.2 the two streams are one."""
    return json.loads(text[text.index("{") :])


def test_a_query_solves(shown):
    """The target among the inputs; solution, derivatives, residual and flag as columns."""
    done = shown("query", "log", "--compute", "solve", "--input", "f=0; 2", "--format", "json")
    columns = _json_of(done.stdout)
    assert list(columns) == ["f", "x", "dx_df", "residual", "converged"]
    assert columns["x"] == [1.0, "NaN"]
    assert columns["converged"] == [True, False]
    done = shown("bench", "log", "--compute", "solve", "--seconds", "0.01", "--format", "json")
    loads = _json_of(done.stdout)
    assert loads["compute"] == "solve"
    bare = gradwire.Model(gradwire.FakeTransport({"serving_default": log_both}, card=log_card()))
    with pytest.raises(gradwire.SignatureNotFound, match="no signature that solves"):
        gradwire._cli.query.resolve_query(bare, "solve")
    several = fake(card=replace(log_card(), solves={"solve_x_from_f": LOG, "t": LOG}), t=solve_log)
    with pytest.raises(gradwire.UsageError, match="several signatures that solve: name one, --signature solve_x"):
        gradwire._cli.query.resolve_query(gradwire.Model(several), "solve")
    assert gradwire._cli.query.resolve_query(gradwire.Model(several), "grad", "t").signature.name == "t"


def test_a_batch_solves(tmp_path):
    """A column more for each tensor; error bars and the domain are those of the solutions; rows keep their order."""
    pq = pytest.importorskip("pyarrow.parquet", reason="the client alone reads no tables")
    batch = pytest.importorskip("gradwire.batch", reason="it needs what the client alone has not")
    (tmp_path / "in.csv").write_text("id,target\n1,0\n2,2\n3,-0.5\n")
    card = replace(
        log_card(), solves={"solve_x_from_f": LOG}, uncertainty={"bars": {"f_std": {"trusted_up_to": [0.5]}}}
    )
    bars = {"uncertainty": lambda x: {"f_std": np.abs(x - 1), "df_dx_std": np.abs(x - 1)}}
    model = gradwire.Model(fake(card=card, **bars))
    options = {"compute": "solve", "columns": {"f": "target"}, "uncertainty": True, "flag_outside": True}
    result = batch.run(tmp_path / "in.csv", tmp_path / "out.parquet", model=model, **options)
    assert (result.rows, result.non_finite) == (3, 1)
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert list(table)[:6] == ["id", "target", "x", "dx_df", "residual", "converged"]
    assert table["converged"] == [True, False, True]
    assert table["trusted"] == [True, False, True]
    assert table["outside_domain"] == [False, True, False]
    np.testing.assert_allclose(table["x"], [1.0, np.nan, np.exp(-0.5)])
    np.testing.assert_allclose(table["f_std"], [0.0, np.nan, 1 - np.exp(-0.5)])
    several = replace(card, solves={"solve_x_from_f": LOG, "t": LOG})
    with pytest.raises(gradwire.UsageError, match="several signatures that solve"):
        batch.run(
            tmp_path / "in.csv",
            tmp_path / "2.parquet",
            model=gradwire.Model(fake(card=several, t=solve_log)),
            **options,
        )


def proof(model, **options):
    """The check of the signatures that solve."""
    return gradwire.verify(model, points=16, **options).checks[-1]


def test_a_right_signature_is_proved(log, pair):
    """Round trips, derivatives and flags; where there is none the check is skipped."""
    found = proof(log)
    assert found.passed, found.findings
    assert [finding.subject for finding in found.findings] == [
        "solve_x_from_f: rows without a solution are flagged, and NaN",
        "f at x of solve_x_from_f",
        "dx_df of solve_x_from_f by the implicit function theorem",
        "dx_df against second solves",
    ]
    assert "16 of 16 targets solved" in found.findings[1].note
    assert proof(pair).passed, proof(pair).findings
    bare = gradwire.Model(gradwire.FakeTransport({"serving_default": log_both}, card=log_card()))
    assert proof(bare).skipped == "no signature solves"


def without_flag(f):
    """Says that it solved everything, and clips."""
    x = np.clip(np.exp(np.nan_to_num(f)), 0.1, 1.9)
    return solve_log(f) | {"x": x, "dx_df": x, "residual": 0 * f, "converged": np.ones(len(f), bool)}


FAULTS = {
    "off the root": (lambda f: solve_log(f) | {"x": solve_log(f)["x"] * (1 + 1e-12)}, "f at x"),
    "its residual is made up": (lambda f: solve_log(f) | {"residual": 0 * f + 1e-9}, "f at x"),
    "a derivative is scaled": (lambda f: solve_log(f) | {"dx_df": solve_log(f)["dx_df"] * 1.001}, "implicit"),
    "a derivative has another sign": (lambda f: solve_log(f) | {"dx_df": -solve_log(f)["dx_df"]}, "second solves"),
    "everything is called solved": (without_flag, "flagged"),
    "numbers beside a flag": (lambda f: solve_log(f) | {"x": np.exp(f)}, "flagged"),
    "NaN is called solved": (
        lambda f: solve_log(f) | {"converged": solve_log(f)["converged"] | np.isnan(f[:, 0])},
        "flagged",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name):
    """Verify names the signature, and what of it is wrong."""
    solve, subject = FAULTS[name]
    with np.errstate(all="ignore"):
        verification = gradwire.verify(gradwire.Model(fake(solve)), points=16)
    assert not verification.passed
    assert any(subject in failure for failure in verification.failures), verification.failures
    assert set(verification.wrong_signatures()) == {"solve_x_from_f"}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kinks_beside_the_solutions_fail_nothing(dtype):
    """A function of 200 kinks in its domain, as a network of ReLUs: the derivatives are those of either side."""
    places = np.linspace(0.1, 1.9, 201)
    slopes = np.where(np.arange(200) % 2, 1.0, 3.0)
    heights = np.concatenate([[0.0], np.cumsum(slopes * np.diff(places))])

    def slope(x):
        return slopes[np.clip(np.searchsorted(places, x) - 1, 0, 199)].astype(dtype)

    def both(x):
        return {"f": np.interp(x, places, heights).astype(dtype), "df_dx": slope(x)}

    def solve(f):
        inside = (f >= 0) & (f <= heights[-1])
        x = np.where(inside, np.interp(f, heights, places), np.nan).astype(dtype)
        with np.errstate(all="ignore"):
            residual = np.where(np.isnan(x), np.clip(f, 0, heights[-1]), np.interp(x, places, heights)) - f
        derivative = np.where(np.isnan(x), np.nan, 1 / slope(x)).astype(dtype)
        return {"x": x, "dx_df": derivative, "residual": residual.astype(dtype), "converged": inside[:, 0]}

    tolerance = 32 * float(np.finfo(dtype).eps) * heights[-1]
    card = replace(log_card(dtype), solves={"solve_x_from_f": gradwire.Solve("x", "f", {"f": "dx_df"}, tolerance)})
    for seed in range(4):
        model = gradwire.Model(gradwire.FakeTransport({"serving_default": both, "solve_x_from_f": solve}, card=card))
        found = gradwire.verify(model, seed=seed).checks[-1]
        assert found.passed, [finding for finding in found.findings if not finding.passed]


def test_a_signature_that_flags_everything_is_told():
    """It is not wrong, and the table says that nothing was solved."""

    def gives_up(f):
        nan = np.full_like(f, np.nan)
        return {"x": nan, "dx_df": nan, "residual": nan, "converged": np.zeros(len(f), bool)}

    found = proof(gradwire.Model(fake(gives_up)))
    assert found.passed
    assert found.findings[-1].subject == "solve_x_from_f: none of 16 targets is solved, all are flagged"
