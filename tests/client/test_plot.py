"""`gradwire plot`: the slices are the function's, and the images show them."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

import gradwire
from gradwire._cli.main import app
from gradwire._cli.plot.figure import figure_of
from gradwire._cli.plot.slices import coordinates, slices


def test_a_curve_and_its_derivative(log):
    """Over all of the domain on the card."""
    [curve] = slices(log, ["x"], points=50)
    np.testing.assert_array_equal(curve.x, np.linspace(0.1, 1.9, 50))
    assert [line.label for line in (*curve.values, *curve.derivatives)] == ["f", "df_dx"]
    np.testing.assert_array_equal(curve.values[0].y, np.log(curve.x))
    np.testing.assert_array_equal(curve.derivatives[0].y, 1 / curve.x)
    assert curve.fixed == ""


def test_slices_hold_everything_else_in_the_middle(multi, closed_forms):
    """One element varies; the derivatives are those with respect to it; all slices are one call."""
    assert list(coordinates(multi.card)) == ["x[0]", "x[1]", "x[2]", "t"]
    second, last = slices(multi, ["x[1]", "t"], points=9)
    assert second.fixed == "x[0] = 0, x[2] = 2, t = 1.25"
    x = np.stack([np.zeros(9), np.linspace(0, 2, 9), np.full(9, 2.0)], 1)
    truth = closed_forms["multi"](x, np.full((9, 1), 1.25))
    assert [line.label for line in second.values] == ["f", "g", "w[0]", "w[1]", "w[2]"]
    np.testing.assert_array_equal(second.values[1].y, truth["g"][:, 0])
    derivatives = {line.label: line.y for line in second.derivatives}
    np.testing.assert_array_equal(derivatives["f_by_space[1]"], truth["f_by_space"][:, 1])
    np.testing.assert_array_equal(derivatives["w_by_space[1,1]"], truth["w_by_space"][:, 1, 1])
    np.testing.assert_allclose(
        derivatives["g_by_space[1]"], np.gradient(second.values[1].y, second.x, edge_order=2), atol=0.05
    )
    assert [line.label for line in last.derivatives][:2] == ["f_by_time", "g_by_time"]


def test_a_place_and_a_domain_can_be_given(multi):
    """--at and --domain instead of the card's."""
    [curve] = slices(multi, ["t"], points=3, domain={"t": (1.0, 3.0)}, at={"x": np.array([[1.0, 2.0, 3.0]])})
    np.testing.assert_array_equal(curve.x, [1, 2, 3])
    np.testing.assert_array_equal(curve.values[0].y, [14, 28, 42])


def test_every_output_has_axes_with_units(multi):
    """One of values and one of derivatives each, whose unit is the output's by the input's; nothing is cut."""
    pytest.importorskip("matplotlib", reason="the client alone draws nothing")
    units = {"x": "m", "t": "year", "f": "USD", "g": "1", "w": "m"}
    card = replace(
        multi.card,
        inputs=tuple(replace(tensor, unit=units[tensor.name]) for tensor in multi.card.inputs),
        outputs=tuple(replace(tensor, unit=units[tensor.name]) for tensor in multi.card.outputs),
    )
    functions = {"serving_default": partial(multi.predict, "serving_default")}
    model = gradwire.Model(gradwire.FakeTransport(functions, card=card))
    figure = figure_of("multi", slices(model, ["x[1]", "t"], points=9))
    labels = [[axes.get_ylabel() for axes in figure.axes[column::2]] for column in (0, 1)]
    space = ["f [USD]", "f_by_space[1] [USD/m]", "g", "g_by_space[1] [1/m]", "w [m]", "w_by_space"]
    time = ["f [USD]", "f_by_time [USD/year]", "g", "g_by_time [1/year]", "w [m]", "w_by_time [m/year]"]
    assert labels == [space, time]
    assert [axes.get_xlabel() for axes in figure.axes[-2:]] == ["x[1] [m]", "t [year]"]
    assert [len(axes.lines) for axes in figure.axes[::2]] == [1, 1, 1, 1, 3, 3]


@pytest.mark.slow
def test_what_is_fixed_is_told_in_lines_that_fit():
    """The elements of a long vector are wrapped, and those beyond a dozen counted: no title runs into the next."""
    pytest.importorskip("matplotlib", reason="the client alone draws nothing")
    card = gradwire.Card(
        name="atoms",
        inputs=(
            gradwire.CardTensor(
                "positions", "float64", (6, 3), domain=gradwire.Domain([[0.0] * 3] * 6, [[2.5] * 3] * 6)
            ),
        ),
        outputs=(gradwire.CardTensor("energy", "float64", (1,)),),
        derivatives={"energy": {"positions": "df"}},
        signatures=(),
    )
    functions = {"serving_default": lambda positions: {"energy": positions[:, 0, :1], "df": positions}}
    model = gradwire.Model(gradwire.FakeTransport(functions, card=card))
    figure = figure_of("atoms", slices(model, ["positions[0,0]", "positions[5,2]"], points=3))
    title = figure.axes[0].get_title()
    assert max(map(len, title.splitlines())) <= 46
    assert title.count("=") == 12
    assert title.endswith("and 5 more")
    figure.draw_without_rendering()
    left, right = (axes.title.get_window_extent() for axes in figure.axes[:2])
    assert left.x0 >= 0
    assert left.x1 <= right.x0
    assert right.x1 <= figure.bbox.x1


@pytest.mark.slow
def test_the_command_writes_an_image(stand_in, tmp_path):
    """A PNG with a column a slice, and its name on standard output."""
    pytest.importorskip("matplotlib", reason="the client alone draws nothing")

    def width(*along):
        to = tmp_path / "plot.png"
        done = CliRunner().invoke(app, ["plot", stand_in.target, "multi", "--to", str(to), *along])
        assert done.exit_code == 0, done.output
        assert done.stdout.strip() == str(to)
        data = to.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        return struct.unpack(">I", data[16:20])[0]

    assert width() == 2 * width("--along", "x[2],t")


def test_the_terminal_shows_value_and_derivative(stand_in):
    """In braille dots, with the names of both, and numbers at the axes."""
    pytest.importorskip("plotille", reason="the client alone draws nothing")
    done = CliRunner().invoke(app, ["plot", stand_in.target, "log"])
    assert done.exit_code == 0, done.output
    assert "along x" in done.stdout
    for name in ("f", "df_dx"):
        assert f"── {name}" in done.stdout
    assert sum("\N{BRAILLE PATTERN BLANK}" <= c <= "\N{BRAILLE PATTERN DOTS-12345678}" for c in done.stdout) > 1000
    assert "0.1" in done.stdout


MISTAKES = {
    "no such element": (["multi", "--along", "x"], "expected some of ['x[0]', 'x[1]', 'x[2]', 't']"),
    "no such input": (["multi", "--at", "y=1"], "sent extra: {y}; missing but required: {}; --at takes ['t', 'x']"),
    "two places": (["multi", "--at", "t=1;2"], "one point for each input"),
    "not an image": (["log", "--to", "plot.gif"], ".png, .svg, .pdf"),
    "no directory": (["log", "--to", "nowhere/plot.png"], "make it first"),
    "no card": (["same64"], "card"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_reported(name, stand_in):
    """With what was got, and what was expected."""
    arguments, message = MISTAKES[name]
    done = CliRunner().invoke(app, ["plot", stand_in.target, *arguments])
    assert isinstance(done.exception, gradwire.UsageError)
    assert message in str(done.exception)
