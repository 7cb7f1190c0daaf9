"""``gradwire train --list``."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from gradwire._cli.main import app
from gradwire._cli.train import tables
from gradwire_training import problems


@pytest.fixture
def shown():
    """What the command prints."""
    done = CliRunner().invoke(app, ["train", "--list"])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_problem_is_listed_and_no_other_argument_is_needed(shown):
    """Names, and how more dimensions are asked for."""
    assert [name for name in problems.names() if name not in shown] == []
    assert "rosenbrock-5" in shown


def test_a_row_has_inputs_and_outputs_with_units_and_the_source():
    """Shapes of more than one element, units other than 1, simulated labels."""
    name, columns, function, samples, source = tables._problem_row(problems.get("basket"))
    assert (name, columns, samples) == ("basket", "spots (7) [USD] -> price [USD]", "4096, random, simulated")
    assert function == "Bachelier's call on a basket on seven correlated spots, Gaussian about 1; with its deltas"
    assert "arXiv 2005.02347" in source
    assert tables._problem_row(problems.get("log"))[1] == "x -> f"
    assert "positions (5, 3) [sigma]" in tables._problem_row(problems.get("lennard-jones"))[1]
