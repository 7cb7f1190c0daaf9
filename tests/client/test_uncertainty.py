"""Error bars as a caller gets them: in the forms of values and gradients, with points far from the samples told."""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from dataclasses import replace
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.client.models import log_both, log_card
from typer.testing import CliRunner

import gradwire
from gradwire import Domain, aio, batch
from gradwire._cli.main import app
from gradwire._cli.plot import draw, slices
from gradwire._model import Trust
from gradwire._package import Box

LIMIT = 0.5  # up to which bar a point is trusted


def _bars(x):
    """The bar is the distance from 1, and half of it for the derivative; NaN stays."""
    return {"f_std": np.abs(x - 1), "df_dx_std": np.abs(x - 1) / 2}


def _fake(limit=LIMIT, **functions):
    card = replace(log_card(), uncertainty={"bars": {"f_std": {"trusted_up_to": [limit]}}})
    both = {"serving_default": log_both, "value": lambda x: {"f": np.log(x)}, "uncertainty": _bars}
    return gradwire.FakeTransport(both | functions, card=card)


@pytest.fixture
def sure():
    """The logarithm with error bars."""
    return gradwire.Model(_fake())


@pytest.fixture
def package(monkeypatch):
    """The logarithm with error bars, wherever the command looks for a model."""
    for place in ("query", "batch"):
        monkeypatch.setattr(f"gradwire._cli.commands.{place}.open_model", lambda *_, **__: gradwire.Model(_fake()))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 1)])
def test_bars_have_the_forms_of_value_and_gradient(sure, shape):
    """Whatever the caller's array is."""
    x = np.full(shape, 1.2)
    f_std, df_dx_std = sure.uncertainty(x)
    value, gradient = sure.value_and_grad(x)
    assert (f_std.shape, df_dx_std.shape) == (value.shape, gradient.shape)
    np.testing.assert_allclose(f_std, np.full(shape, 0.2))
    np.testing.assert_allclose(df_dx_std, np.full(shape, 0.1))


def test_trusted_is_inside_of_the_domain_with_bars_as_at_the_samples(sure):
    """A large bar inside of the box, a point outside of it, and NaN are not; no points are no answers."""
    np.testing.assert_array_equal(sure.is_trusted([[1.0], [1.49], [1.6], [0.05], [np.nan]]).ravel(), [1, 1, 0, 0, 0])
    assert sure.is_trusted(1.2).shape == ()
    assert sure.is_trusted(np.empty(0)).shape == (0,)


def test_the_card_is_read_once_for_all_questions(sure, monkeypatch):
    """In a loop over single points, reading its bounds and limits would cost more than the call."""
    readers = {Trust: "of", Box: "of_card"}
    counted = {kind: mock.Mock(side_effect=getattr(kind, name)) for kind, name in readers.items()}
    for kind, name in readers.items():
        monkeypatch.setattr(kind, name, counted[kind])
    assert [bool(sure.is_trusted(x)) for x in (1.2, 1.3, 1.7)] == [True, True, False]
    assert [reader.call_count for reader in counted.values()] == [1, 1]


def test_points_far_from_the_samples_are_told_though_they_lie_in_the_box():
    """On request, by every method, and in streams; the warning is the caller's."""
    strict = gradwire.Model(_fake(), on_extrapolation="raise")
    for call in (strict.value, strict.grad, strict.uncertainty, lambda x: strict.predict("value", x=[[x]])):
        call(1.2)
        with pytest.raises(gradwire.ExtrapolationError, match="1 of 1 points are far from the samples"):
            call(1.7)
    with pytest.raises(gradwire.ExtrapolationError, match="far from the samples"):
        list(strict.stream([np.array([1.0, 1.7])]))
    assert not strict.is_trusted(1.7)
    lax = gradwire.Model(_fake(), on_extrapolation="warn")
    with pytest.warns(gradwire.ExtrapolationWarning, match="up to 1.4 times the largest that is trusted") as caught:
        lax.value([1.0, 1.7])
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradwire.Model(_fake()).value(1.7)


def test_a_package_without_bars_says_why():
    """The card's reason, in the error of whoever asks for them; the domain alone is compared then."""
    card = replace(log_card(), uncertainty={"reason": "nobody measured it"})
    model = gradwire.Model(gradwire.FakeTransport({"serving_default": log_both}, card=card), on_extrapolation="raise")
    with pytest.raises(gradwire.SignatureNotFound, match="no error bars, because nobody measured it"):
        model.uncertainty(1.0)
    assert model.grad(1.7) == pytest.approx(1 / 1.7)


@pytest.mark.parametrize("limit", [[0.1, 0.2], "wide", None, -1.0])
def test_a_card_that_does_not_say_what_is_trusted_is_refused(limit):
    """A card is untrusted text."""
    model = gradwire.Model(_fake(limit=limit))
    with pytest.raises(gradwire.PackageError, match="trust"):
        model.is_trusted(1.0)


def test_the_asynchronous_model_does_the_same():
    """Bars, trust, and the check of every call."""

    async def answers():
        async with await aio.Model.open(
            aio.InThreads(_fake()), gradwire._model.Options(on_extrapolation="raise")
        ) as model:
            stds, trusted = await model.uncertainty([1.2, 1.4]), await model.is_trusted([1.2, 1.7])
            with pytest.raises(gradwire.ExtrapolationError, match="far from the samples"):
                await model.value(1.7)
            return stds, trusted

    (f_std, _), trusted = asyncio.run(answers())
    np.testing.assert_allclose(f_std, [0.2, 0.4])
    np.testing.assert_array_equal(trusted, [True, False])


@pytest.mark.usefixtures("package")
def test_a_query_shows_bars_and_flags_points():
    """As columns, in every format."""
    shown = CliRunner().invoke(
        app, ["query", "log", "--compute", "uncertainty", "--input", "x=1.2; 1.7", "--format", "json"]
    )
    columns = json.loads(shown.stdout)
    assert list(columns) == ["x", "f_std", "df_dx_std", "trusted"]
    np.testing.assert_allclose(columns["df_dx_std"], [0.1, 0.35])
    assert columns["trusted"] == [True, False]


@pytest.mark.usefixtures("package")
def test_a_batch_adds_bars_and_flags_rows_on_request(tmp_path):
    """Beside values and derivatives; without the option the columns are those that they were."""
    (tmp_path / "in.csv").write_text("x\n1.2\n1.7\n")
    for option, added in ((["--uncertainty"], ["f_std", "df_dx_std", "trusted"]), ([], [])):
        out = tmp_path / f"out{len(added)}.parquet"
        done = CliRunner().invoke(app, ["batch", str(tmp_path / "in.csv"), str(out), "--model", "log", *option])
        assert done.exit_code == 0, done.output
        table = pq.read_table(out)
        assert table.column_names == ["x", "f", "df_dx", *added]
        if added:
            np.testing.assert_allclose(table["f_std"], [0.2, 0.7])
            assert table["trusted"].to_pylist() == [True, False]


def test_a_batch_of_a_package_without_bars_is_refused_before_it_starts(tmp_path):
    """And leaves nothing."""
    (tmp_path / "in.csv").write_text("x\n1.2\n")
    model = gradwire.Model(gradwire.FakeTransport({"serving_default": log_both}, card=log_card()))
    with pytest.raises(gradwire.SignatureNotFound, match="no error bars"):
        batch.run(tmp_path / "in.csv", tmp_path / "out.parquet", model=model, uncertainty=True)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_plot_has_bands_and_marks_far_points(sure, log):
    """The nominal 95 % to either side of every line; nothing where the model has no bars."""
    [curve] = slices(sure, ["x"], points=19)
    lower, upper = curve.values[0].band
    np.testing.assert_allclose(upper - curve.values[0].y, 1.959964 * np.abs(curve.x - 1), atol=1e-12)
    np.testing.assert_allclose(
        curve.derivatives[0].y - curve.derivatives[0].band[0], 0.979982 * np.abs(curve.x - 1), atol=1e-12
    )
    np.testing.assert_array_equal(curve.far, np.abs(curve.x - 1) > LIMIT)
    assert (lower <= upper).all()
    [bare] = slices(log, ["x"], points=3)
    assert bare.values[0].band is None
    assert not bare.far.any()


def test_the_terminal_has_bands_and_says_where_points_are_far(sure, log):
    """Dots to either side of a line, within the axis; neither where the model has no bars."""
    pytest.importorskip("plotille", reason="the client alone draws nothing")
    [curve], [bare] = (slices(model, ["x"], points=181) for model in (sure, log))
    shown, plain = (draw(each, 100).plain for each in (curve, bare))
    near = curve.x[~curve.far]
    told = f"x 0.1 to {near[0] - 0.01:.4g}, {near[-1] + 0.01:.4g} to 1.9\n"
    assert f"far from the samples, as the bars tell: {told}" in shown
    assert shown.count("dots: its 95 % band") == 2
    assert "band" not in plain
    assert "far" not in plain

    def highest(text):
        return max(map(float, re.findall(r"^ *(-?[\d.]+) \|", text.split("df_dx")[0], re.MULTILINE)))

    assert highest(shown) > np.log(1.9) + 1.96 * 0.9 > highest(plain)


# A triangle of unlike atoms, in lengths of its sides.
TRIANGLES = {"H-O": Domain([0.9, 0.95], [1.0, 1.1]), "H-H": Domain([1.4], [1.6])}


def _water(*, has_bars=True, **changes):
    """Water in a box of its own, of which turned molecules reach out; its energy is nothing."""
    box = Domain(
        [[0.0, 0.0, 0.0], [0.9, 0.0, 0.0], [0.0, 0.9, 0.0]], [[0.1, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.1, 0.0]]
    )
    positions = gradwire.CardTensor("r", "float64", (3, 3), domain=box, species=("O", "H", "H"), **changes)
    card = replace(
        log_card(),
        inputs=(positions,),
        derivatives={"f": {"r": "df_dr"}},
        uncertainty={"bars": {"f_std": {"trusted_up_to": [1.0]}}} if has_bars else {"reason": "other layers"},
    )
    functions = {
        "serving_default": lambda r: {"f": r[:, 0, :1], "df_dr": r},
        "value": lambda r: {"f": r[:, 0, :1]},
        "uncertainty": lambda r: {"f_std": 0 * r[:, 0, :1], "df_dr_std": r},
    }
    if not has_bars:
        del functions["uncertainty"]
    return gradwire.FakeTransport(functions, card=card)


def _molecule(lengths=(0.95, 1.0), angle=100.0):
    """Water with two lengths and an angle."""
    turn = np.radians(angle)
    return np.array([[0, 0, 0], [lengths[0], 0, 0], [lengths[1] * np.cos(turn), lengths[1] * np.sin(turn), 0]])


@pytest.mark.parametrize(
    ("molecule", "inside"),
    [
        (_molecule(), True),
        (_molecule((1.0, 0.95)), True),  # the atoms are numbered otherwise
        (_molecule((0.9, 1.0)), True),  # at a bound
        (_molecule((0.95, 1.15)), False),
        (_molecule((1.0, 1.05), angle=60.0), False),
        (np.full((3, 3), np.nan), False),
    ],
)
def test_the_domain_of_atoms_is_that_of_their_distances(molecule, inside):
    """However a cluster lies and is turned, by trust, by the check of calls, and in an evaluation."""
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    x = molecule @ turn + [7.0, -3.0, 2.0]
    felt, boxed = (gradwire.Model(_water(**changes)) for changes in ({"distances": TRIANGLES}, {}))
    without_bars = gradwire.Model(_water(has_bars=False, distances=TRIANGLES))
    assert not boxed.is_trusted(x)
    for model in (felt, without_bars):
        assert model.is_trusted(x) == inside
        assert model.is_trusted(np.stack([x, x + 1])).tolist() == [inside] * 2
        evaluation = gradwire.evaluate(model, {"r": x[None], "f": x[None, 0, :1]})
        assert (evaluation.outside, evaluation.untrusted) == (int(not inside), int(not inside))
    with pytest.raises(gradwire.SignatureNotFound, match="no error bars"):
        gradwire.Model(_water(has_bars=False)).is_trusted(x)  # a box is not enough
    strict = gradwire.Model(_water(distances=TRIANGLES), on_extrapolation="raise")
    if inside:
        strict.value(x)
    else:
        with pytest.raises(gradwire.ExtrapolationError, match="by the distances of its atoms; the first is point 0"):
            strict.value(x)


def test_distances_on_a_card_are_read_and_checked():
    """They survive JSON; those of other atoms are refused by name."""
    transport = _water(distances=TRIANGLES)
    card = gradwire.Model(transport).card
    assert gradwire.Card.from_json(card.to_json()).inputs[0].distances == TRIANGLES
    lacking = gradwire.Model(_water(distances={"H-O": Domain([1.0], [2.0])}))
    with pytest.raises(gradwire.UsageError, match="the card has no 2 distances 'H-O' of 'r'"):
        lacking.is_trusted(_molecule())
