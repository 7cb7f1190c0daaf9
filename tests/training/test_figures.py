"""What is in the plots: the numbers of the result, on the axes and in the colours that the legend says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from gradwire._pages import DERIVATIVE_COLOR, VALUE_COLOR, Parity, parity_figure
from gradwire_training import Samples
from gradwire_training._fit import evaluate
from gradwire_training._report.figures import learning_curve_plot, plots_of


def axes_of(plots, name):
    """The one panel of a plot."""
    (axes,) = next(plot for plot in plots if plot.name == name).figure.axes
    return axes


def lines_of(axes):
    """The lines of a panel by label."""
    return {line.get_label(): line for line in axes.lines}


@pytest.fixture(scope="module")
def plots(quick):
    """Those of the quick fit of the logarithm."""
    return plots_of(quick)


@pytest.fixture(scope="module")
def fitted(quick):
    """Its model at any points: value and derivative."""

    def at(x):
        values, derivatives = evaluate(quick.model, quick.binding, {"x": np.reshape(x, (-1, 1))}, {"f": ["x"]})
        return {"value": values["f"].ravel(), "derivative": derivatives["f"]["x"].ravel()}

    return at


@pytest.mark.parametrize(
    ("name", "truth", "color"),
    [("value", np.log, VALUE_COLOR), ("derivative", np.reciprocal, DERIVATIVE_COLOR)],
    ids=["value", "derivative"],
)
def test_a_curve_is_the_fit_over_the_truth_with_the_samples(plots, fitted, quick, name, truth, color):
    """Each line has its own numbers, all over the domain."""
    axes = axes_of(plots, name)
    lines = lines_of(axes)
    fit, samples = lines.pop("fit"), lines.pop("samples")
    (known,) = lines.values()
    x = known.get_xdata()
    assert (x.min(), x.max()) == (0.1, 1.9)
    np.testing.assert_allclose(known.get_ydata(), truth(x), rtol=1e-12)
    np.testing.assert_allclose(fit.get_ydata(), fitted(fit.get_xdata())[name], rtol=1e-5)
    assert np.ptp(fit.get_xdata()) == np.ptp(x)
    assert fit.get_color() == color
    np.testing.assert_array_equal(samples.get_xdata(), quick.request.samples.x["x"].ravel())
    np.testing.assert_allclose(samples.get_ydata(), truth(samples.get_xdata()), rtol=1e-12)


def test_beside_held_out_rows_the_fit_is_a_curve_too(quick, changed, fitted):
    """Where no truth is known it is the model between the rows, which are points."""
    x = np.linspace(0.1, 1.9, 8)
    rows, held = (Samples(x[part], np.log(x[part]), 1 / x[part]) for part in (slice(0, None, 2), slice(1, None, 2)))
    plots = plots_of(changed(quick, request=replace(quick.request, samples=rows, validation=held)))
    for name, truth in (("value", np.log), ("derivative", np.reciprocal)):
        lines = lines_of(axes_of(plots, name))
        np.testing.assert_allclose(lines["fit"].get_ydata(), fitted(lines["fit"].get_xdata())[name], rtol=1e-5)
        np.testing.assert_allclose(lines["the held-out rows"].get_ydata(), truth(x[1::2]), rtol=1e-12)


def test_the_errors_are_differences_from_the_truth(plots, fitted):
    """Of value and derivative, on a logarithmic axis, with the largest in the legend."""
    axes = axes_of(plots, "error")
    assert axes.get_yscale() == "log"
    for line, (name, truth) in zip(axes.lines, {"value": np.log, "derivative": np.reciprocal}.items(), strict=True):
        x = line.get_xdata()
        error = np.abs(fitted(x)[name] - truth(x))
        np.testing.assert_allclose(line.get_ydata(), error, rtol=1e-2, atol=1e-6)
        assert line.get_color() == {"value": VALUE_COLOR, "derivative": DERIVATIVE_COLOR}[name]
        assert line.get_label().endswith(f"at most {line.get_ydata().max():.1e}")


def test_axes_have_units(quick, changed):
    """Of the input, the output, and the derivative, their ratio."""
    samples = Samples([0.5, 1.0], [0.0, 0.1], [1.0, 1.0], units={"x": "s", "f": "m"})
    plots = plots_of(changed(quick, request=replace(quick.request, samples=samples)))
    labels = {name: axes_of(plots, name) for name in ("value", "derivative")}
    assert {name: (axes.get_xlabel(), axes.get_ylabel()) for name, axes in labels.items()} == {
        "value": ("x [s]", "f [m]"),
        "derivative": ("x [s]", "df/dx [m/s]"),
    }


def test_the_history_is_the_results(plots, quick):
    """Loss and mean absolute error by step."""
    lines = lines_of(axes_of(plots, "history"))
    mae = lines.pop("mean absolute error of the values")
    np.testing.assert_array_equal(mae.get_ydata(), quick.history["mae"])
    loss = np.concatenate([line.get_ydata() for label, line in lines.items() if label.startswith("loss")])
    assert set(quick.history["loss"]) == set(loss)


def test_a_learning_curve_has_medians_and_ranges():
    """A line of medians and a band from the smallest to the largest, in the colour and by the name of the loss."""
    curves = {
        "f": {"value": [(5, 0.1, 0.2, 0.4), (10, 0.05, 0.1, 0.3)], "sobolev": [(5, 0.01, 0.03, 0.05)]},
        "df_dx": {"value": [], "sobolev": [(5, 0.1, 0.3, 0.5)]},
    }
    figure = learning_curve_plot(curves, measure="max", seeds=3).figure
    first, second = figure.axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("f", "df_dx")
    lines = lines_of(first)
    assert lines["values alone"].get_xydata().tolist() == [[5, 0.2], [10, 0.1]]
    assert lines["values and derivatives"].get_xydata().tolist() == [[5, 0.03]]
    assert [line.get_color() for line in lines.values()] == [VALUE_COLOR, DERIVATIVE_COLOR]
    band = first.collections[0]
    assert {tuple(vertex) for vertex in band.get_paths()[0].vertices} >= {(5, 0.1), (5, 0.4), (10, 0.05), (10, 0.3)}
    assert to_hex(band.get_facecolor()[0]) == VALUE_COLOR
    assert list(lines_of(second)) == ["values and derivatives"]
    assert (first.get_xscale(), first.get_yscale(), first.get_ylabel()) == ("log", "log", "largest error")


def test_a_parity_panel_has_labels_across_and_predictions_up():
    """Below, what the model has too much; both ends of the grey line are equal."""
    expected, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    figure = parity_figure([Parity("f", "USD", expected, predicted, 1.0, 0.6, 0.5)], VALUE_COLOR, "label")
    upper, lower = figure.axes
    np.testing.assert_array_equal(upper.collections[0].get_offsets(), np.stack([expected, predicted], axis=1))
    np.testing.assert_array_equal(
        lower.collections[0].get_offsets(), np.stack([expected, predicted - expected], axis=1)
    )
    assert upper.lines[0].get_xydata().tolist() == [[1, 1], [4, 4]]
    assert upper.get_title(loc="left") == "f [USD]"
    assert (lower.get_xlabel(), upper.get_ylabel(), lower.get_ylabel()) == (
        "label [USD]",
        "model [USD]",
        "model - label",
    )


@pytest.mark.slow
def test_of_many_tensors_the_worst_have_panels():
    """In their own order, and the title says how many there are."""
    one = np.ones(2)
    tensors = [Parity(f"f{index}", None, one, one, 0.0, 0.0, float(index)) for index in range(15)]
    figure = parity_figure(tensors, VALUE_COLOR, "truth")
    titles = [title for axes in figure.axes if (title := axes.get_title(loc="left"))]
    assert titles == [f"f{index}" for index in range(3, 15)]
    assert "12 of 15" in figure.get_suptitle()
