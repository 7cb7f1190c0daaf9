"""The plots of a fit."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace

import keras
import numpy as np
import pytest
from matplotlib import pyplot as plt

from gradwire._errors import PackageError
from gradwire._pages import GRID, INK, thinned
from gradwire_training import Samples, draw, fit, mlp
from gradwire_training._data.samples import Provenance
from gradwire_training._fit import TensorComparison
from gradwire_training._report.figures import plots_of
from gradwire_training._report.figures.curve import _Curve
from gradwire_training._report.figures.parity import MOST_POINTS, _some

CURVE = ["value.png", "derivative.png", "error.png", "history.png"]
PARITY = ["values.png", "derivatives.png", "history.png"]


def _pixels(path):
    """Decodes an 8-bit PNG far enough to tell what is drawn: its size and its distinct filtered rows."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    start, packed = 8, b""
    while start < len(data):
        (length,) = struct.unpack(">I", data[start : start + 4])
        if data[start + 4 : start + 8] == b"IDAT":
            packed += data[start + 8 : start + 8 + length]
        start += length + 12
    return width, height, np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, -1)


def _plots(result):
    return {plot.name: plot for plot in plots_of(result)}


@pytest.fixture(scope="module")
def drawn(quick, tmp_path_factory):
    """The quick fit's plots."""
    return draw(quick, to=tmp_path_factory.mktemp("drawn") / "deeper")


@pytest.fixture(scope="module")
def pair_fit():
    """A short fit of two inputs, one of two numbers, and two outputs, one of two numbers."""
    generator = np.random.default_rng(5)
    shapes = {"price": {"a": (2,), "b": (1,)}, "pair": {"a": (2, 2), "b": (2, 1)}}
    samples = Samples(
        {"a": generator.normal(size=(9, 2)), "b": generator.normal(size=(9, 1))},
        {"price": generator.normal(size=(9, 1)), "pair": generator.normal(size=(9, 2))},
        {output: {wrt: generator.normal(size=(9, *row)) for wrt, row in by.items()} for output, by in shapes.items()},
    )
    model = mlp(inputs={"a": 2, "b": 1}, outputs={"price": 1, "pair": 2}, widths=(3,), activation="tanh", seed=0)
    return fit(model, samples, optimizer="lm", steps=2)


def test_four_plots_are_written_of_a_curve(drawn):
    """Value, derivative, errors and history; pyplot, which would keep the figures alive, has none of them."""
    assert [path.name for path in drawn] == CURVE
    assert plt.get_fignums() == []


@pytest.mark.parametrize("index", range(4), ids=CURVE)
def test_each_plot_shows_something(drawn, index):
    """It is 1080 x 675, and most of its rows differ from an empty one."""
    width, height, rows = _pixels(drawn[index])
    assert (width, height) == (1080, 675)
    assert len(np.unique(rows, axis=0)) > height / 4


@pytest.mark.slow
def test_several_inputs_and_outputs_get_parity_plots(pair_fit, tmp_path):
    """One panel for each output and one for each derivative, named as in a package."""
    assert [path.name for path in draw(pair_fit, to=tmp_path)] == PARITY
    plots = _plots(pair_fit)
    titles = {
        name: [axes.get_title(loc="left") for axes in plots[name].figure.axes] for name in ("values", "derivatives")
    }
    assert sorted(filter(None, titles["values"])) == ["pair", "price"]
    assert sorted(filter(None, titles["derivatives"])) == ["dpair_da", "dpair_db", "dprice_da", "dprice_db"]


def test_a_parity_panel_says_the_errors_of_the_result(pair_fit):
    """Its largest error and rmse are those of the result, to the digits shown."""
    texts = [
        note.get_text() for axes in _plots(pair_fit)["values"].figure.axes for note in axes.texts
    ]  # fmt: skip - as it reads
    errors = [pair_fit.errors[name] for name in ("price", "pair")]
    assert sorted(texts) == sorted(f"max {error['max']:.2g}\nrmse {error['rmse']:.2g}" for error in errors)


def test_a_parity_panel_always_shows_the_worst_points():
    """Of many points some are left out, but never the largest errors."""
    generator = np.random.default_rng(1)
    expected = generator.normal(size=9_000)
    errors = generator.normal(size=9_000) * 1e-3
    errors[4321] = 7.0
    labels, shown = _some(TensorComparison("f", "value", None, predicted=expected + errors, expected=expected))
    assert len(shown) == len(labels) == MOST_POINTS
    assert np.abs(shown - labels).max() == pytest.approx(7.0)


@pytest.mark.slow
def test_a_model_without_finite_predictions_has_parity_plots(pair_fit, changed):
    """The panels say so."""
    model = keras.models.clone_model(pair_fit.model)
    model.set_weights([np.full(weight.shape, np.nan) for weight in model.weights])
    plots = _plots(changed(pair_fit, model=model))
    assert "no finite prediction" in plots["values"].svg()
    assert "no finite prediction" in plots["derivatives"].svg()


@pytest.mark.slow
def test_only_labels_that_were_fitted_are_drawn(quick, log):
    """A fit of values alone shows no derivative samples; one of derivatives shows its pins."""
    curves = {
        loss: _Curve.of(replace(quick, request=replace(quick.request, loss=log.loss(loss))))
        for loss in ("value", "derivative", "sobolev")
    }
    drawn = {
        loss: (int(np.isfinite(curve.value.samples).sum()), int(np.isfinite(curve.derivative.samples).sum()))
        for loss, curve in curves.items()
    }
    assert drawn == {"value": (19, 0), "derivative": (1, 19), "sobolev": (19, 19)}
    pinned = np.isfinite(curves["derivative"].value.samples)
    assert curves["derivative"].sample_x[pinned].tolist() == [1.0]


def test_a_curve_has_the_band_of_its_error_bars(quick):
    """1.96 standard deviations to either side of value and derivative."""
    curve, plots = _Curve.of(quick), _plots(quick)
    stds = quick.uncertainty().model({"x": curve.even_x[:, None].astype(np.float32)})
    for name, function, std in (("value", curve.value, "f_std"), ("derivative", curve.derivative, "df_dx_std")):
        upper = function.fit + 1.959964 * np.asarray(stds[std]).ravel()
        (axes,) = plots[name].figure.axes
        (band,) = axes.collections
        drawn = band.get_paths()[0].vertices
        assert drawn[:, 1].max() == pytest.approx(upper.max(), rel=1e-6)
        assert "95% error bars" in plots[name].svg()


def test_rows_held_out_are_drawn_as_points(quick, changed):
    """Where no truth is known, the fit is shown against the rows that it was not fitted to."""
    x = np.linspace(0.1, 1.9, 8)
    fitted, held = (Samples(x[part], np.log(x[part]), 1 / x[part]) for part in (slice(0, None, 2), slice(1, None, 2)))
    result = changed(quick, request=replace(quick.request, samples=fitted, validation=held))
    curve = _Curve.of(result)
    assert not curve.is_truth
    np.testing.assert_array_equal(curve.x, x[1::2])
    assert "the held-out rows" in _plots(result)["value"].svg()


@pytest.mark.slow
def test_a_fit_without_a_finite_value_is_drawn(log, tmp_path):
    """Where there is nothing to show the axes stay empty: a diverged fit has plots too."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), keras.layers.Rescaling(float("inf"))])
    result = fit(model, log.samples(), optimizer="sgd", steps=3)
    assert [path.name for path in draw(result, to=tmp_path)] == CURVE


def test_the_learning_curve_has_a_colour_for_each_optimiser(quick):
    """Steps that each optimiser took are told in the legend, and the second begins where the first ended."""
    steps = np.arange(1, 11)
    names = np.array(["adam"] * 4 + ["lbfgs"] * 6)
    history = {"step": steps, "loss": 1.0 / steps, "mae": 0.1 / steps, "optimizer": names}
    (axes,) = _plots(replace(quick, history=history))["history"].figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    first, second = lines["loss: adam, 4 steps"], lines["loss: lbfgs, 6 steps"]
    assert first.get_color() != second.get_color()
    assert first.get_xdata()[-1] == second.get_xdata()[0] == 4


def test_thinning_keeps_the_last_point():
    """A line of a million steps is drawn with a few thousand points, the last among them."""
    steps = np.arange(1, 1_000_001)
    left, (column,) = thinned(steps, [steps * 2.0], 2_000)
    assert len(left) <= 2_000
    assert (left[-1], column[-1]) == (1_000_000, 2_000_000.0)


@pytest.mark.slow
def test_a_plot_in_a_page_takes_the_colours_of_the_page(quick):
    """Ink and grid follow the theme, the background is clear, and ids are the picture's own."""
    for name, plot in _plots(quick).items():
        svg = plot.svg()
        assert "currentColor" in svg
        assert INK not in svg
        assert GRID not in svg
        assert re.findall(rf'id="(?!{name}-)[^"]*"', svg) == []
        assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= set(re.findall(r'id="([^"]*)"', svg))


def test_names_are_shown_as_they_are(quick, changed):
    """A dollar sign is no formula, and markup is text."""
    truth = replace(quick.request.samples.provenance.truth, formula="cost in $ <b>of $</b>")
    samples = Samples([0.5, 1.0], [0.0, 0.1], [1.0, 1.0], provenance=Provenance(truth=truth, spacing="linear", seed=0))
    svg = _plots(changed(quick, request=replace(quick.request, samples=samples)))["value"].svg()
    assert svg.count("cost in $ &lt;b&gt;of $&lt;/b&gt;") == 2  # in the title and in the legend


def test_a_place_that_cannot_be_written_is_refused(quick, tmp_path):
    """A file where the directory should be is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match=r"cannot write plots to .*give another place"):
        draw(quick, to=tmp_path / "file")
