"""Which elements are swept together, and from which side: against the fewest that are possible."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_export._derivatives import Blocks, Plan
from gradwire_export._derivatives import plan as plan_module
from gradwire_export._package.plans import cheapest_plans

TRIDIAGONAL = np.abs(np.subtract.outer(np.arange(30), np.arange(30))) <= 1
ARROW = TRIDIAGONAL.copy()
ARROW[0] = True
BLOCKED = np.kron(np.eye(4, dtype=bool), np.ones((3, 2), bool))


def _blocks(differentiated: dict[str, list[str]], **sizes: int) -> Blocks:
    outputs = {name: sizes[name] for name in differentiated}
    return Blocks(differentiated, outputs, {name: size for name, size in sizes.items() if name not in outputs})


def _counts(plan: Plan) -> tuple[int, int]:
    return len(plan.backward), len(plan.forward)


@pytest.mark.parametrize(
    ("differentiated", "sizes", "counts"),
    [
        ({"f": ["x"]}, {"f": 1, "x": 1000}, (1, 0)),
        ({"f": ["x"]}, {"f": 10, "x": 10}, (10, 0)),
        ({"f": ["x"]}, {"f": 50, "x": 10}, (0, 10)),
        ({"f": ["x"]}, {"f": 200, "x": 3}, (0, 3)),
        ({"price": ["many", "few"], "curve": ["few"]}, {"price": 1, "curve": 200, "many": 1000, "few": 3}, (1, 3)),
        ({"f": ["a", "b"], "g": ["a", "b"]}, {"f": 2, "g": 50, "a": 3, "b": 4}, (0, 7)),
        ({"f": ["a"], "g": ["b"]}, {"f": 5, "g": 4, "a": 9, "b": 9}, (5, 0)),  # each g beside an f
    ],
)
def test_each_pair_is_computed_from_its_cheaper_side(differentiated, sizes, counts):
    """Sweeps for few output elements, products for few input elements, both where a package has both."""
    plan = _blocks(differentiated, **sizes).cheapest()
    assert _counts(plan) == counts
    _require_separable(plan, _blocks(differentiated, **sizes))


@pytest.mark.parametrize(
    ("entries", "counts"),
    [(TRIDIAGONAL, (3, 0)), (np.eye(30, dtype=bool), (1, 0)), (ARROW, (4, 0)), (ARROW.T, (0, 4)), (BLOCKED, (0, 2))],
)
def test_independent_elements_are_swept_together(entries, counts):
    """As many groups as the densest row or column has entries, which is the fewest there can be; and one more."""
    sizes = {"f": len(entries)}, {"x": entries.shape[1]}
    blocks = Blocks({"f": ["x"]}, *sizes, {("f", "x"): entries})
    plan = blocks.cheapest()
    assert _counts(plan) == counts
    _require_separable(plan, blocks)


def _require_separable(plan: Plan, blocks: Blocks) -> None:
    """Recover a random Jacobian from the sums that a plan's sweeps and products return."""
    generator = np.random.default_rng(0)
    jacobian = {
        (f, x): generator.normal(size=(blocks.outputs[f], blocks.inputs[x]))
        * blocks.structure.get((f, x), np.ones((1, 1)))
        for f, x in blocks.pairs
    }
    for (f, x), block in jacobian.items():
        pushed = (f, x) in plan.pushed
        groups, own = (plan.forward, x) if pushed else (plan.backward, f)
        for (row, column), entry in np.ndenumerate(block):
            if not blocks.structure.get((f, x), np.ones(block.shape))[row, column]:
                continue
            element = (own, column if pushed else row)
            [group] = [group for group in groups if element in group]
            parts = [
                jacobian[f, name][row, i] if pushed else jacobian[name, x][i, column]
                for name, i in group
                if ((f, name) if pushed else (name, x)) in jacobian
            ]
            assert sum(parts) == pytest.approx(entry, rel=1e-15)


def test_a_fault_in_the_colouring_is_seen(monkeypatch):
    """Rows that have a column in common are not told apart: the check above can fail."""
    monkeypatch.setattr(plan_module, "_coloured", lambda needed, _: [list(range(len(needed)))])
    blocks = Blocks({"f": ["x"]}, {"f": 30}, {"x": 30}, {("f", "x"): TRIDIAGONAL})
    with pytest.raises(AssertionError):
        _require_separable(blocks.swept(), blocks)


@pytest.mark.parametrize("outputs", [3, 5])
def test_a_sweep_is_disturbed_by_no_pair_that_is_pushed(outputs):
    """Outputs f and g share b, which is pushed for f alone: their sweeps stay apart where g needs b from one."""
    sizes = {"f": outputs, "g": outputs}, {"a": 2, "b": 2}
    diagonal = np.eye(outputs, 2, dtype=bool)
    blocks = Blocks({"f": ["a", "b"], "g": ["b"]}, *sizes, {("f", "b"): diagonal, ("g", "b"): diagonal})
    _require_separable(blocks.mixed(frozenset({("f", "b")})), blocks)


def test_without_products_everything_is_swept():
    """Where a gradient has no gradient itself, few inputs do not help."""
    blocks = _blocks({"f": ["x"]}, f=50, x=2)
    plans = cheapest_plans(blocks, loops=False, products=False, second_products=lambda: True)
    assert [_counts(plan) for plan in (plans.first, plans.hvp, plans.hessian)] == [(50, 0)] * 3


@pytest.mark.parametrize(("second", "hessian"), [(True, (0, 2)), (False, (50, 0))])
def test_second_derivatives_are_pushed_where_products_have_products(second, hessian):
    """First derivatives need one product along a product less than second ones."""
    plans = cheapest_plans(_blocks({"f": ["x"]}, f=50, x=2), loops=False, products=True, second_products=lambda: second)
    assert _counts(plans.first) == (0, 2)
    assert _counts(plans.hessian) == _counts(plans.hvp) == hessian


def test_a_loop_is_pushed_through_where_that_pays_thrice():
    """A product of a loop costs three sweeps, and more memory."""
    for outputs, counts in ((7, (0, 2)), (6, (6, 0))):
        blocks = _blocks({"f": ["x"]}, f=outputs, x=2)
        assert _counts(cheapest_plans(blocks, loops=True, products=True).first) == counts
