"""Errors of a model against rows of labels: closed forms, in blocks, inside and outside of the domain."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.client.models import log_both, log_card, multi_both, multi_card

from gradwire import Alias, DataError, FakeTransport, Model, UsageError, evaluate
from gradwire._cli.commands import evaluate as command
from gradwire._cli.evaluate.tables import parts_of
from gradwire._cli.main import main
from gradwire._evaluate.errors import RatioSums

X = np.linspace(0.05, 2.0, 40)  # of which the domain, [0.1, 1.9], leaves some out
INSIDE = (X >= 0.1) & (X <= 1.9)
OFF = 0.01 * np.cos(7 * np.arange(40))  # what the labels are off by


def rmse(error) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(np.square(error))))


def model(both=log_both, **card) -> Model:
    """The logarithm, or another function under its card."""
    return Model(FakeTransport({"serving_default": both}, card=replace(log_card(), **card)))


def rows(**more) -> dict[str, np.ndarray]:
    """Points of the logarithm, and labels that are off."""
    return {"x": X, "f": np.log(X) - OFF, "df_dx": 1 / X + 2 * OFF, **more}


@pytest.fixture(params=["mapping", "csv", "parquet", "npz"])
def source(request, tmp_path):
    """The same rows in several forms."""
    path = tmp_path / f"rows.{request.param}"
    match request.param:
        case "mapping":
            return rows()
        case "csv":
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(rows())
                writer.writerows(zip(*(column.tolist() for column in rows().values()), strict=True))
        case "parquet":
            pq.write_table(pa.table(rows()), path)
        case _:
            np.savez(path, **rows())
    return path


@pytest.mark.parametrize("block_rows", [1, 7, 100])
def test_errors_are_those_of_the_closed_form(source, block_rows):
    """Values and derivatives, all rows, those inside and those outside; whatever the format and the blocks."""
    result = evaluate(model(), source, block_rows=block_rows)
    assert (result.rows, result.outside, result.unlabelled, result.left_out) == (40, int((~INSIDE).sum()), (), ())
    for name, off, label in (("f", OFF, np.log(X) - OFF), ("df_dx", -2 * OFF, 1 / X + 2 * OFF)):
        each = result[name]
        for part, mask in (("all", slice(None)), ("inside", INSIDE), ("outside", ~INSIDE)):
            errors = each.parts()[part]
            assert errors.labels == off[mask].size
            assert errors.rmse == pytest.approx(rmse(off[mask]), rel=1e-9)
            assert errors.max == pytest.approx(np.abs(off[mask]).max(), rel=1e-9)
            assert errors.bias == pytest.approx(off[mask].mean(), rel=1e-6)
            assert errors.row == np.arange(40)[mask][np.abs(off[mask]).argmax()]
        assert each.spread == pytest.approx(np.std(label), rel=1e-12)
        assert each.relative(each.all) == pytest.approx(rmse(off) / np.std(label), rel=1e-9)
        assert each.points.shape == (2, 40)


def test_vectors_and_derivatives_of_vectors():
    """Rows of several elements: each element that has a label counts, in the card's shapes."""
    rng = np.random.default_rng(0)
    x, t = rng.uniform(0, 1, (9, 3)), rng.uniform(0.5, 2, (9, 1))
    true = multi_both(x, t)
    w_by_space = true["w_by_space"] + 0.5
    w_by_space[2, 1, 0] = np.nan
    columns = {f"x[{i}]": x[:, i] for i in range(3)} | {"t": t[:, 0], "w": true["w"] - 0.25, "w_by_space": w_by_space}
    result = evaluate(Model(FakeTransport({"serving_default": multi_both}, card=multi_card())), columns, block_rows=4)
    assert [(each.name, each.all.labels) for each in result.tensors] == [("w", 27), ("w_by_space", 80)]
    assert result["w"].all.bias == pytest.approx(0.25)
    assert result["w_by_space"].all.bias == pytest.approx(-0.5)
    assert result.unlabelled == ("f", "g", "f_by_space", "f_by_time", "g_by_space", "g_by_time", "w_by_time")


@pytest.mark.parametrize("how", ["alias of the card", "declared", "declared, with its column"])
def test_own_names_of_labels_have_their_sign_and_factor(how):
    """A column `slope` is -10 times the derivative: its errors are told in its own size."""
    slope = -10 * (1 / X + 2 * OFF)
    if how == "alias of the card":
        result = evaluate(model(aliases={"slope": Alias("f", "x", -10.0)}), {"x": X, "slope": slope})
    elif how == "declared":
        result = evaluate(model(), {"x": X, "slope": slope}, derivatives={"slope": ("-10*f", "x")})
    else:
        result = evaluate(model(), {"x": X, "d f": slope}, derivatives={"slope": ("-10*f", "x", "d f")})
    each = result["slope"]
    assert (each.tensor, each.output, each.input) == ("df_dx", "f", "x")
    assert each.all.rmse == pytest.approx(20 * rmse(OFF))
    assert each.all.bias == pytest.approx(20 * OFF.mean(), rel=1e-6)
    np.testing.assert_allclose(np.sort(each.points[0]), np.sort(slope))


def test_columns_of_other_names():
    """Inputs and outputs are mapped; a derivative may be named by the columns; what is left out is told."""
    columns = {"Mach": X, "lift": np.log(X) - OFF, "dlift_dMach": 1 / X, "run": X}
    result = evaluate(model(), columns, inputs={"x": "Mach"}, outputs={"f": "lift"}, ignore=["run"])
    assert result["f"].all.rmse == pytest.approx(rmse(OFF))
    assert result["df_dx"].all.max < 1e-12
    assert result.left_out == ("run",)


def test_missing_labels_and_undefined_predictions():
    """NaN is a missing label; a prediction that is not finite makes an error unknown, and is counted."""
    labels = np.log(X) - OFF
    labels[::2] = np.nan
    result = evaluate(model(), rows(f=labels))
    assert result["f"].all.labels == 20
    assert result["f"].all.rmse == pytest.approx(rmse(OFF[1::2]))

    def broken(x):
        return {name: np.where(x > 1.95, np.nan, value) for name, value in log_both(x).items()}

    result = evaluate(model(broken), rows())
    assert (result["f"].all.rmse, result["f"].all.undefined) == (None, int((X > 1.95).sum()))
    assert result["f"].inside.rmse == pytest.approx(rmse(OFF[INSIDE]))
    assert result["f"].relative(result["f"].all) is None


@pytest.mark.parametrize(
    ("columns", "options", "error", "words"),
    [
        ({"f": X}, {}, DataError, "no column 'x'"),
        ({"x": X, "g": X}, {}, DataError, "no labels"),
        ({"x": X, "f": X}, {"inputs": {"y": "x"}}, UsageError, "inputs names 'y'"),
        ({"x": X, "f": X}, {"outputs": {"f": "g"}}, DataError, "no column 'g'"),
        ({"x": X, "f": X}, {"outputs": {"f": "x"}}, DataError, "stands for two tensors"),
        ({"x": X, "f": X}, {"derivatives": {"slope": ("g", "x")}}, UsageError, "an output of"),
        ({"x": X, "f": X}, {"derivatives": {"slope": ("f", "x")}}, DataError, "no column 'slope'"),
        (rows(slope=X), {"derivatives": {"slope": ("f", "x")}}, DataError, "are one derivative"),
        ({"x": X, "f": np.where(X > 1, np.inf, X)}, {}, DataError, "infinity in row 20"),
        ({"x": X, "f": np.ones((40, 2))}, {}, DataError, "rows of shape"),
        ({"x": X[:0], "f": X[:0]}, {}, DataError, "no rows"),
        ({"x": X, "f": X[:7]}, {}, DataError, "different numbers of rows"),
    ],
)
def test_what_cannot_be_measured_is_refused(columns, options, error, words):
    """By name, before anything is computed."""
    with pytest.raises(error, match=words):
        evaluate(model(), columns, **options)


def test_a_baseline_is_measured_on_the_same_rows():
    """The ratio of the errors, and of what the baseline does not have, nothing."""

    def worse(x):
        return {"f": np.log(x) + OFF.reshape(-1, 1), "df_dx": 1 / x}

    result = evaluate(model(), rows(), baseline=model(worse))
    ratio = result["f"].ratio
    assert (ratio.rmse, ratio.baseline) == pytest.approx((rmse(OFF), rmse(2 * OFF)))
    assert ratio.ratio == pytest.approx(0.5)
    assert 1 < ratio.by_chance < 2  # a half in every row is below 1 / this: no exchange of rows comes near
    assert result["df_dx"].ratio.ratio == pytest.approx(1.0)
    values_alone = model(derivatives={}, signatures=("serving_default",))
    assert evaluate(model(), rows(), baseline=values_alone)["df_dx"].ratio is None
    with pytest.raises(UsageError, match="the baseline has inputs"):
        evaluate(model(), rows(), baseline=Model(FakeTransport({"serving_default": multi_both}, card=multi_card())))


def _of_equal_quality(errors: str, rows_: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Errors of two models that err alike, ``(rows, elements)``."""
    match errors:
        case "normal":
            return tuple(rng.standard_normal((2, rows_, 1)))
        case "heavy tails":
            return tuple(rng.standard_t(2, (2, rows_, 1)))
        case "few rows have nearly all":
            return tuple(rng.standard_normal((2, rows_, 3)) * np.exp(2 * rng.standard_normal((rows_, 1))))
        case _:  # the labels' noise is in both
            return tuple(rng.standard_normal((rows_, 1)) + 0.5 * rng.standard_normal((2, rows_, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("count", [10, 25])
@pytest.mark.parametrize("errors", ["normal", "heavy tails", "few rows have nearly all", "noise of the labels"])
def test_equally_good_models_pass_the_limit_as_seldom_as_promised(count, errors):
    """Over 300 samples of few rows, in blocks: a limit for 5 % is passed by some 5 %, whatever the errors are like."""
    rng, passed = np.random.default_rng(count), 0
    for _ in range(300):
        a, b = _of_equal_quality(errors, count, rng)
        sums = RatioSums(0.0)
        for rows_ in (slice(0, 4), slice(4, None)):
            sums.add(a[rows_], b[rows_], np.zeros_like(a[rows_]))
        ratio = sums.ratio()
        passed += ratio.ratio > ratio.limit(0.05)
    assert 5 <= passed <= 27  # 15 are expected; more or fewer come once in 500 cases


@pytest.mark.parametrize("count", [12, 14, 600])
def test_the_limit_is_that_of_all_ways_to_exchange_rows(count, monkeypatch):
    """Enumerated, drawn at random, or with most rows taken together: the same to what draws allow, in either order."""
    rng = np.random.default_rng(3)
    a, b = 1.2 * rng.standard_normal((count, 1)), rng.standard_normal((count, 1))
    signs = 1.0 - 2.0 * rng.integers(0, 2, (10_000, count))
    differences = (a**2 - b**2)[:, 0]
    moved, total = signs @ differences, float(np.sum(a**2 + b**2))
    expected = float(np.quantile(np.sqrt((total + moved) / (total - moved)), 0.95))
    for first, second in ((a, b), (b, a)):
        sums = RatioSums(0.0)
        sums.add(first, second, np.zeros_like(a))
        assert math.log(sums.ratio().limit(0.05)) == pytest.approx(math.log(expected), rel=0.06)


def test_a_model_that_is_worse_in_every_row_passes_no_limit():
    """However small the chance that is allowed: of ten rows all ways are 1,024."""
    a, b = np.linspace(2, 3, 10)[:, None], np.ones((10, 1))
    sums = RatioSums(0.0)
    sums.add(a, b, a)
    ratio = sums.ratio()
    assert 1 < ratio.limit(1e-6) < ratio.ratio


def test_few_rows_and_errors_of_rounding_have_no_ratio_to_speak_of():
    """Fewer than ten that differ have no limit; two errors below rounding are equal; NaN is counted."""
    sums = RatioSums(1e-7)
    sums.add(np.full((9, 1), 2.0), np.full((9, 1), 1.0), np.ones((9, 1)))
    sums.add(np.ones((50, 1)), np.ones((50, 1)), np.ones((50, 1)))
    assert (sums.ratio().ratio, sums.ratio().limit(0.05)) == (pytest.approx(math.sqrt(86 / 59)), None)
    sums = RatioSums(1e-7)
    sums.add(np.full((9, 1), 2e-8), np.full((9, 1), 0.0), np.ones((9, 1)))
    assert sums.ratio().ratio == 1.0
    sums.add(np.full((1, 1), np.inf), np.full((1, 1), 1.0), np.ones((1, 1)))
    assert (sums.ratio().undefined, sums.ratio().ratio) == (1, 1.0)


@pytest.mark.slow
def test_the_command_measures_a_server_without_tensorflow(stand_in, tmp_path):
    """Table and JSON; only the light client is loaded. The file's name may follow the address and the name alone."""
    path = tmp_path / "rows.csv"
    text = "".join(f"{x!r},{math.log(x) - 0.125!r}\n" for x in X.tolist())
    path.write_text(f"x,f\n{text}")

    def run(*words, expect=0):
        code = (
            f"import sys; sys.argv = ['gradwire', 'evaluate', *{[str(word) for word in words]!r}]\n"
            "from gradwire._cli import main\n"
            "try: main()\n"
            "finally: assert 'tensorflow' not in sys.modules and 'matplotlib' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    data = json.loads(run(stand_in.target, "log", path, "--json").stdout)
    assert data["tensors"][0]["all"]["rmse"] == pytest.approx(0.125)
    assert (data["rows"], data["outside"]) == (40, int((~INSIDE).sum()))
    shown = run(stand_in.target, "log", path)
    assert "rows outside of the domain" in shown.stdout
    assert "df_dx" in shown.stderr
    assert "NAME FILE" in run(stand_in.target, path, expect=2).stderr


def _with_bars(limit: float = 1.0) -> Model:
    """The logarithm with error bars, trusted up to a value of 1.5 x."""
    functions = {
        "serving_default": log_both,
        "value": lambda x: {"f": np.log(x)},
        "uncertainty": lambda x: {"f_std": 0.01 * x, "df_dx_std": np.full_like(x, 0.01)},
    }
    card = replace(log_card(), uncertainty={"bars": {"f_std": {"trusted_up_to": [0.01 * limit]}}})
    return Model(FakeTransport(functions, card=card))


def test_rows_that_are_trusted_are_told_from_others():
    """Errors and coverage of either; a label within 1.96 standard deviations is inside its bar."""
    result = evaluate(_with_bars(1.5), rows(), block_rows=7)
    near = INSIDE & (X <= 1.5)
    assert (result.untrusted, result.to_dict()["untrusted"]) == (int((~near).sum()), int((~near).sum()))
    for name, off, bar in (("f", OFF, 0.01 * X), ("df_dx", -2 * OFF, np.full_like(X, 0.01))):
        for part, mask in (("all", X > 0), ("inside", INSIDE), ("trusted", near), ("untrusted", ~near)):
            errors = result[name].parts()[part]
            assert (errors.labels, errors.rmse) == (int(mask.sum()), pytest.approx(rmse(off[mask])))
            assert errors.covered == pytest.approx(np.mean(np.abs(off[mask]) <= 1.959964 * bar[mask]))
            assert result.to_dict()["tensors"][0][part]["labels"] == int(mask.sum())
    slopes = evaluate(_with_bars(1.5), {"x": X, "df_dx": 1 / X})  # of a value that has no labels
    assert slopes["df_dx"].untrusted.labels == int((~near).sum())
    bare = evaluate(model(), rows())
    assert (bare.untrusted, bare["f"].trusted, bare["f"].all.covered) == (None, None, None)
    assert "trusted" not in bare.to_dict()["tensors"][0]


@pytest.mark.parametrize(
    ("made", "points", "titles"),
    [
        (model(), X, ["37 rows inside of the domain", "3 rows outside of the domain"]),
        (model(), X[INSIDE], ["37 rows, all inside of the domain"]),
        (_with_bars(1.5), X, ["29 rows trusted", "11 rows not trusted, 3 outside of the domain"]),
        (_with_bars(9.0), X[INSIDE], ["37 rows, all trusted"]),
    ],
)
def test_the_parts_of_the_rows_have_a_table_each(made, points, titles):
    """By trust where there are error bars, by the domain where there are none."""
    evaluation = evaluate(made, {"x": points, "f": np.log(points)})
    assert [title for _, title in parts_of(evaluation)] == titles


def test_the_page_has_the_tables_and_a_picture_of_every_tensor(tmp_path, monkeypatch, capsys):
    """One file without scripts; names from a card are escaped, and a tensor without finite predictions has a panel."""
    pytest.importorskip("matplotlib", reason="the client alone draws no pictures")
    pytest.importorskip("jinja2", reason="the client alone writes no pages")

    def halved(x):
        return {"f": log_both(x)["f"], "df_dx": np.full_like(x, np.nan)}

    made = model(halved, name="<script>log</script>")
    monkeypatch.setattr(command, "open_model", lambda target, name, **_: made)
    np.savez(tmp_path / "rows.npz", **rows(run=X))
    page = tmp_path / "page.html"
    words = ["evaluate", str(tmp_path), str(tmp_path / "rows.npz"), "--html", str(page), "--baseline", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["gradwire", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, capsys.readouterr().err
    text = page.read_text()
    assert "<script" not in text
    assert text.count("<svg") == 2
    assert all(
        word in text for word in ("3 rows outside of the domain", "Columns left out: run", "no finite prediction")
    )
    assert f"{rmse(OFF[INSIDE]):.3g}" in text
