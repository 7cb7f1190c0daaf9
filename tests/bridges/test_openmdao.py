"""OpenMDAO over served models: exact partial derivatives, units, several points, one call a point."""

from __future__ import annotations

import numpy as np
import openmdao.api as om
import pytest

import gradwire
import gradwire.openmdao
from gradwire._errors import UsageError

# OpenMDAO 3.45 writes its reports by default, and warns about its own recent changes.
pytestmark = pytest.mark.filterwarnings("ignore::openmdao.utils.om_warnings.OpenMDAOWarning")


@pytest.fixture
def problem(monkeypatch, tmp_path):
    """Sets up a problem of one component."""
    monkeypatch.setenv("OPENMDAO_REPORTS", "0")
    monkeypatch.chdir(tmp_path)

    def make(component, **values):
        found = om.Problem(reports=False)
        found.model.add_subsystem("served", component, promotes=["*"])
        found.setup(force_alloc_complex=False)
        for name, value in values.items():
            found.set_val(name, value)
        return found

    return make


@pytest.mark.parametrize("rows", [None, 4])
@pytest.mark.parametrize("name", ["curved", "pair"])
def test_partials_are_clean(served, problem, name, rows):
    """check_partials finds nothing, for one point and for several, whose Jacobian has a block a row."""
    model, _ = served(name)
    rng = np.random.default_rng(0)
    lead = () if rows is None else (rows,)
    at = {"x": rng.uniform(-1, 1, (*lead, 3)), "t": rng.uniform(0.5, 2, (*lead, 1))}
    found = problem(gradwire.openmdao.Component(model, rows=rows), **at)
    found.run_model()
    by_pair = found.check_partials(out_stream=None, method="fd", form="central", step=1e-5)["served"]
    assert len(by_pair) == (2 if name == "curved" else 4)
    for pair, entry in by_pair.items():
        np.testing.assert_allclose(entry["J_fwd"], entry["J_fd"], atol=1e-8, err_msg=str(pair))
    expected = model.value(at["x"], at["t"] if rows else at["t"][0])
    value = expected["f"] if isinstance(expected, dict) else expected
    np.testing.assert_allclose(found.get_val("f").ravel(), np.ravel(value))


def test_a_point_is_one_call(served, problem, point):
    """What compute and compute_partials need at one point is one call; another point is another."""
    model, calls = served("curved")
    found = problem(gradwire.openmdao.Component(model), x=point[0], t=point[1])
    found.run_model()
    totals = found.compute_totals(of=["f"], wrt=["x", "t"])
    assert calls == [("serving_default", 1)]
    a, b, c = point[0]
    t = point[1]
    expected = [2 * t * t * a * b, t * t * a * a + t * c, t * t * np.cos(c) + t * b]
    np.testing.assert_allclose(totals["f", "x"][0], expected, rtol=1e-12)
    found.set_val("t", 0.9)
    found.run_model()
    assert len(calls) == 2


def test_units_are_the_cards(served, problem):
    """Values in other units are converted by what the card says; the start is the middle of the domain."""
    found = problem(gradwire.openmdao.Component(served("curved")[0]))
    found.run_model()
    np.testing.assert_allclose(found.get_val("t"), 1.25)
    found.set_val("x", [100.0, 20.0, 30.0], units="cm")
    found.set_val("t", 2000.0, units="ms")
    found.run_model()
    expected = 4 * (0.2 + np.sin(0.3)) + 2 * 0.2 * 0.3
    np.testing.assert_allclose(found.get_val("f", units="kN"), [expected / 1000], rtol=1e-12)


def test_parameters_cannot_be_differentiated_by(with_parameter, problem):
    """An input without a derivative is discrete: its value counts, and no variable with derivatives connects to it."""
    found = problem(gradwire.openmdao.Component(with_parameter), x=[1.0, 2.0], k=np.array([3.0]))
    found.run_model()
    np.testing.assert_allclose(found.get_val("f"), [15.0])
    np.testing.assert_allclose(found.compute_totals(of=["f"], wrt=["x"])["f", "x"], [[6.0, 12.0]])
    with pytest.raises(KeyError):
        found.compute_totals(of=["f"], wrt=["k"])
    whole = om.Problem(reports=False)
    whole.model.add_subsystem("given", om.IndepVarComp("k", np.array([3.0])), promotes=["*"])
    whole.model.add_subsystem("served", gradwire.openmdao.Component(with_parameter), promotes=["*"])
    whole.setup()
    with pytest.raises(Exception, match="discrete"):
        whole.final_setup()


def test_what_cannot_be_is_refused(served):
    """A number of points that is not positive, and a complex step, are refused."""
    model, _ = served("curved")
    with pytest.raises(UsageError, match="rows=0"):
        gradwire.openmdao.Component(model, rows=0)
    found = om.Problem(reports=False)
    found.model.add_subsystem("served", gradwire.openmdao.Component(model), promotes=["*"])
    found.setup(force_alloc_complex=True)
    found.run_model()
    with pytest.raises(gradwire.DTypeError, match="complex"):
        found.check_partials(out_stream=None, method="cs")
