"""The page about a fit, and the numbers that it and the command show."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gradwire._cli.train import show_summary
from gradwire._errors import PackageError
from gradwire_training import Samples, report, summarize
from gradwire_training._data.samples import Provenance
from gradwire_training._fit import TensorComparison, Unmeasured
from gradwire_training._report.report import Report
from gradwire_training._report.summary import Summary

ATTACK = '<script>alert("x")</script>'


class _Page(HTMLParser):
    """What a browser would see: elements, the resources that they name, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.resources, self.text, self.styles = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.resources += [value for key, value in attrs if key in ("src", "href", "xlink:href", "action", "data")]
        self.styles += [value for key, value in attrs if key == "style"]

    def handle_data(self, data):
        (self.styles if self.tags[-1:] == ["style"] else self.text).append(data)


@pytest.fixture(scope="module")
def reported(quick, tmp_path_factory):
    """The report of the quick fit."""
    return report(quick, to=tmp_path_factory.mktemp("reported") / "log")


@pytest.fixture(scope="module")
def page(reported):
    """Its page, parsed."""
    return _Page(reported.page.read_text())


@pytest.mark.slow
def test_the_page_is_one_file_that_needs_nothing_else(page):
    """No script, no frame, no link or picture outside itself."""
    assert not {"script", "iframe", "object", "embed", "link", "base", "form"} & set(page.tags)
    assert [name for name in page.resources if not name.startswith(("#", "data:image/"))] == []
    assert [style for style in page.styles if "url(" in style.replace("url(#", "") or "@import" in style] == []


def test_the_page_shows_the_plots_that_lie_beside_it(reported, page):
    """As many drawings as PNG files."""
    assert [path.name for path in reported.pictures] == [
        "value.png",
        "derivative.png",
        "error.png",
        "history.png",
    ]
    assert all(path.is_file() for path in reported.pictures)
    assert page.tags.count("svg") == page.tags.count("figcaption") == 4


def test_the_page_tells_the_errors_and_the_optimisers(quick, reported, page):
    """The numbers are the result's."""
    cells = {text.strip() for text in page.text}
    for name in ("f", "df_dx"):
        assert {name, f"{quick.errors[name]['max']:.3g}", f"{quick.errors[name]['rmse']:.3g}"} <= cells
    assert f"Against {quick.errors['against']}." in cells
    assert any(quick.message in text for text in cells)
    for phase in reported.summary.phases:
        assert {phase.optimizer, f"{phase.steps:,}", f"{phase.after:.3g}"} <= cells
    assert sum(phase.steps for phase in reported.summary.phases) == quick.steps


@pytest.mark.slow
def test_names_on_the_page_are_escaped(quick, changed, tmp_path):
    """A formula, a source, a name that hold markup are shown, not obeyed."""
    known = quick.request.samples.provenance.truth
    truth = replace(known, name=ATTACK, formula=ATTACK, source=ATTACK)
    samples = Samples([0.5, 1.0], [0.0, 0.1], [1.0, 1.0], provenance=Provenance(truth=truth, spacing="linear", seed=0))
    hostile = changed(quick, request=replace(quick.request, samples=samples), message=ATTACK)
    page = _Page(report(hostile, to=tmp_path).page.read_text())
    assert "script" not in page.tags
    assert sum(ATTACK in text for text in page.text) >= 4


@pytest.mark.slow
def test_the_same_fit_gives_the_same_page(quick, reported, tmp_path):
    """No date, no random name: pages can be compared."""
    again = report(quick, to=tmp_path / "log").page.read_text()
    assert again.replace(str(tmp_path / "log"), "") == reported.page.read_text().replace(str(reported.page.parent), "")


@pytest.mark.slow
def test_a_page_that_cannot_be_written_is_refused(quick, tmp_path):
    """A directory where the page should be is named."""
    (tmp_path / "report.html").mkdir()
    with pytest.raises(PackageError, match=r"cannot write .*report\.html: .*give another place"):
        report(quick, to=tmp_path)


def _tensor(predicted, expected):
    return TensorComparison("f", "value", None, predicted=np.array(predicted), expected=np.array(expected))


def test_errors_of_a_tensor():
    """max, rmse, and the rmse as a fraction of the truth's standard deviation, in closed form."""
    tensor = _tensor([1.0, 2.0, 5.0, 4.0, 9.0], [1.0, 2.0, 3.0, 4.0, np.nan])
    assert (tensor.max, tensor.rmse) == (2.0, 1.0)
    assert tensor.relative == pytest.approx(1 / np.sqrt(1.25))


def test_a_tensor_without_finite_predictions_has_no_errors():
    """None, not a number that could be taken for one; a constant truth has no spread."""
    broken = _tensor([1.0, np.nan], [1.0, 2.0])
    assert (broken.max, broken.rmse, broken.relative) == (None, None, None)
    constant = _tensor([1.0, 3.0], [2.0, 2.0])
    assert (constant.max, constant.relative) == (1.0, None)


def test_the_summary_has_the_errors_of_the_result(quick):
    """Two ways to the same numbers: the record's errors, and the table's."""
    summary = summarize(quick)
    for row in summary.errors:
        assert row.max == pytest.approx(quick.errors[row.name]["max"])
        assert row.rmse == pytest.approx(quick.errors[row.name]["rmse"])
    assert (summary.points, summary.against) == (quick.errors["points"], quick.errors["against"])
    assert summary.phases[-1].after == quick.history["loss"][-1]


@pytest.mark.parametrize(
    ("output", "wrt", "unit"),
    [("USD", "1", "USD"), ("USD", "USD", "1"), ("USD", "1/year", "USD/(1/year)"), ("J", "m", "J/m")],
)
def test_a_derivative_has_the_unit_of_a_ratio(quick, changed, output, wrt, unit):
    """Output over input, as short as it goes."""
    samples = Samples([0.5, 1.0], [0.0, 0.1], [1.0, 1.0], units={"x": wrt, "f": output})
    result = changed(quick, request=replace(quick.request, samples=samples))
    assert {tensor.name: tensor.unit for tensor in result.comparison.tensors} == {"f": output, "df_dx": unit}


def test_the_command_prints_a_table_of_the_fit(reported, capsys):
    """Errors and the place go to standard output, the rest to standard error."""
    show_summary(reported, to=reported.page.parent)
    said, told = capsys.readouterr()
    assert {"f", "df_dx"} <= set(said.split())
    assert said.rstrip().endswith(str(reported.page.parent))
    assert reported.summary.message in told
    assert str(reported.summary.phases[0]) in told
    assert "report.html" in told


def test_many_derivatives_without_a_label_are_counted(capsys):
    """A dozen are listed, and the rest counted: the page and the card have all of them."""
    unmeasured = tuple(Unmeasured(f"df_dx{i}", None, "never labelled") for i in range(40))
    rows = _tensor([1.0, 2.0], [1.0, 2.5])
    summary = Summary("done", "", 1.0, "2 held-out rows", 2, (rows,), unmeasured, ("second derivatives: …",), ())
    show_summary(Report(Path("report.html"), (), summary), to=Path("build"))
    told = capsys.readouterr().out
    assert "df_dx11 " in told
    assert "df_dx12 " not in told
    assert "28 more" in told
    assert told.count("never labelled") == 13
    assert max(map(len, told.splitlines())) <= 80
