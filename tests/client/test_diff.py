"""What sets two packages apart, from Python and by the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gradwire
from gradwire import Domain, FakeTransport, Model
from gradwire._cli.commands import diff as command
from gradwire._cli.main import app

ERRORS = {"against": "log", "f": {"max": 1e-3}, "df_dx": {"max": 2e-2}}


def logarithm(
    make: Callable[..., Model],
    change: Callable[[Any], Any] = lambda f: f,
    dtype: str = "float64",
    **card: Any,
) -> Model:
    """Gives log x with its values changed; ``card`` replaces parts of its card."""
    model = make(dtype)
    told = replace(model.card, **card)

    def both(x: np.ndarray) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):
            return {"f": change(np.log(x)).astype(dtype), "df_dx": (1 / x).astype(dtype)}

    return Model(FakeTransport({"serving_default": both}, card=told))


def test_a_package_does_not_differ_from_itself(make_log: Callable[..., Model], make_multi: Callable[..., Model]):
    """Nothing is said, every tensor is the same, bit by bit; the digests are held against each other."""
    found = gradwire.diff(make_log(), make_log())
    assert (found.card, found.unlike, found.same_digest) == ((), "", None)
    assert [(c.tensor, c.largest, c.ulps) for c in found.tensors] == [("f", 0, 0), ("df_dx of f wrt x", 0, 0)]
    assert not found.differs()
    assert len(gradwire.diff(make_multi(), make_multi()).tensors) == 9
    same = [logarithm(make_log, digest=digest) for digest in ("sha256:a", "sha256:a", "sha256:b")]
    assert gradwire.diff(same[0], same[1]).same_digest
    assert gradwire.diff(same[0], same[2]).same_digest is False
    assert not gradwire.diff(same[0], same[2]).differs()  # another way to the same numbers


def test_another_order_is_a_difference(make_multi: Callable[..., Model]):
    """Callers by position would get other numbers; the points by name are the same."""
    model = make_multi()
    turned = replace(model.card, inputs=model.card.inputs[::-1])
    functions = {name: function for name, function in model._transport._functions.items() if name != "card"}
    difference = gradwire.diff(model, Model(FakeTransport(functions, card=turned)))
    (entry,) = difference.card
    names = [tensor.name for tensor in model.card.inputs]
    assert (entry.what, entry.first, entry.second) == ("order of the inputs", names, names[::-1])
    assert entry.matters


def test_the_largest_difference_is_found_where_it_is(make_log: Callable[..., Model]):
    """Its size, in four measures, and its place."""
    shifted = logarithm(make_log, lambda f: f + 1e-6 * (f < -2))
    found = gradwire.diff(logarithm(make_log), shifted, points=4000)
    f, df = found.tensors
    assert f.largest == pytest.approx(1e-6)
    assert f.relative == pytest.approx(1e-6 / -math.log(0.1 + 1.8 / 64), rel=0.02)  # a margin of the domain is left out
    assert f.ulps == pytest.approx(1e-6 / np.spacing(2.0), rel=0.01)
    assert f.at["x"][0] < math.exp(-2)
    assert df.largest == 0
    assert found.differs()
    assert not found.differs(tolerance=1e-6)


def test_a_number_against_nan_is_as_far_as_can_be(make_log: Callable[..., Model]):
    """NaN in both is the same; in one of them no tolerance covers it."""
    holed = logarithm(make_log, lambda f: np.where(f < -1, np.nan, f))
    assert gradwire.diff(holed, holed).tensors[0].largest == 0
    found = gradwire.diff(make_log(), holed)
    assert found.tensors[0].largest == math.inf
    assert found.differs(tolerance=1e9)


def test_float32_and_float64_are_compared_at_the_same_points(make_log: Callable[..., Model]):
    """Points are exact in the coarser dtype, so that what is left is the rounding of f and df: an ulp of float32."""
    found = gradwire.diff(make_log("float64"), make_log("float32"))
    assert [entry.what for entry in found.card] == ["input x", "output f"]
    assert all(0 < computed.ulps < 1.1 for computed in found.tensors)
    assert found.differs(1.0)  # a caller sees another dtype


def test_what_the_cards_say(make_log: Callable[..., Model]):
    """Domain and units matter to a caller; errors and versions are told."""
    x = replace(make_log().card.inputs[0], unit="USD", species=("Ar",), domain=Domain([0.5], [3.0]))
    other = logarithm(make_log, inputs=(x,), errors=ERRORS, versions={"tensorflow": "2.22"})
    found = gradwire.diff(make_log(), other)
    assert {entry.what: (entry.first, entry.second) for entry in found.card if entry.matters} == {
        "signatures": (["card", "serving_default", "value"], ["card", "serving_default"]),
        "unit of x": (None, "USD"),
        "species of x": (None, ("Ar",)),
        "domain of x": ([[0.1], [1.9]], [[0.5], [3.0]]),
    }
    assert {entry.what for entry in found.card if not entry.matters} == {
        "errors: against",
        "errors: f: max",
        "errors: df_dx: max",
        "versions: tensorflow",
    }
    xs = [computed.at["x"][0] for computed in found.tensors]
    assert all(0.5 <= x <= 1.9 for x in xs)


def test_packages_with_nothing_in_common(make_log: Callable[..., Model], make_multi: Callable[..., Model]):
    """Other inputs, or domains apart: nothing can be compared, and the reason is told."""
    found = gradwire.diff(make_log(), make_multi())
    assert "the inputs differ" in found.unlike
    assert found.differs(math.inf)
    far = replace(make_log().card.inputs[0], domain=Domain([5.0], [6.0]))
    apart = logarithm(make_log, inputs=(far,))
    assert "do not overlap" in gradwire.diff(make_log(), apart).unlike
    assert not gradwire.diff(make_log(), apart, domain={"x": (0.5, 6)}).unlike
    with pytest.raises(gradwire.UsageError, match="0 points"):
        gradwire.diff(make_log(), make_log(), points=0)


def run(*arguments: str) -> Any:
    """The command, in this process."""
    return CliRunner().invoke(app, ["diff", *arguments])


def test_the_command_compares_servers(stand_in: Any):
    """The exit code is 0 for the same, 1 for others; the table and JSON say the same."""
    log, narrow = f"{stand_in.target}/log", f"{stand_in.target}/log32"
    same = run(log, log)
    assert same.exit_code == 0
    assert "a caller would not notice" in same.stdout
    other = run(log, narrow)
    assert other.exit_code == command.DIFFER == 1
    assert "df_dx of f wrt x" in other.stdout
    assert "the packages differ" in other.stdout
    found = json.loads(run(log, narrow, "--format", "json").stdout)
    assert found["differs"]
    assert found["tensors"][0]["tensor"] == "f"
    assert 0 < found["tensors"][0]["ulps"] < 1.1


def test_the_command_says_what_it_takes(stand_in: Any):
    """A word that is no directory and no address is misuse."""
    with pytest.raises(gradwire.UsageError, match="localhost:8500/log"):
        app(["diff", "nope", f"{stand_in.target}/log"], standalone_mode=False)
