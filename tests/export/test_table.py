"""Every model of the table by every signature: exported, loaded in a fresh process, against float64 and one another.

What export itself ran in the fresh process is recorded and judged here once more, by other means: sixth-order
differences of the same model in float64.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from gradwire._package.contract import cotangent_name, tangent_name
from gradwire_export import export

ROWS = 8  # of those that export runs
STEP = 1e-3  # of the differences: leaves 1e-10 of the scale in float64
FIRST = {"float32": 3e-5, "float64": 1e-9}  # of a tensor's scale: rounding, and what the differences leave
SECOND = {"float32": 2e-4, "float64": 1e-8}


class Answered:
    """A package's answers to what export asked, and the model in float64."""

    def __init__(self, case, run, directory) -> None:
        options = dict(case.options)
        specs = case.specs(case.dtype)
        if case.domain != (-1.0, 1.0):
            options["domain"] = dict.fromkeys(specs or {"x": ()}, case.domain)
        source = case.model()
        if case.saved:
            source, specs = saved(source, specs, directory / "saved"), None
        self.card = export(source, to=directory / "m", inputs=specs, **options).card
        self.dtype = case.dtype
        self.double = case.double()
        self.wrt = self.double.wrt
        asked, self.by = {}, {}
        for call, answer in run.last:
            if call.signature != "card" and call.signature not in self.by:  # the first is at all rows
                asked |= {name: rows[:ROWS] for name, rows in call.inputs.items()}
                self.by[call.signature] = {
                    name: array[:ROWS].astype(np.float64) for name, array in answer.outputs.items()
                }
        given = {name: rows if rows.dtype.kind == "i" else rows.astype(np.float64) for name, rows in asked.items()}
        self.x = {name: given[name] for name in self.double.inputs}
        self.tangents = {wrt: given[tangent_name(wrt)] for wrt in self.wrt}
        self.cotangents = {output: given[cotangent_name(output)] for output in self.double.outputs}

    def moved(self, h):
        """The inputs, h along the tangents."""
        return {n: a + h * self.tangents[n] if n in self.wrt else a for n, a in self.x.items()}

    def values(self, h):
        """The float64 model's outputs there."""
        found = self.double.call({n: tf.constant(a) for n, a in self.moved(h).items()})
        return {n: a.numpy() for n, a in found.items()}

    def gradients(self, h):
        """The gradient of every output number there: {output: {input: (rows, output numbers, input numbers)}}."""
        x = {n: tf.constant(a) for n, a in self.moved(h).items()}
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x[n] for n in self.wrt])
            found = {
                name: tf.unstack(tf.reshape(value, [ROWS, -1]), axis=1) for name, value in self.double.call(x).items()
            }
        zero = tf.UnconnectedGradients.ZERO
        return {
            name: {
                n: np.stack(
                    [
                        np.reshape(tape.gradient(number, x[n], unconnected_gradients=zero), (ROWS, -1))
                        for number in numbers
                    ],
                    axis=1,
                )
                for n in self.wrt
            }
            for name, numbers in found.items()
        }

    def flat(self, signature, name):
        """An answer as (rows, numbers)."""
        return self.by[signature][name].reshape(ROWS, -1)

    def close(self, found, expected, tolerance):
        """Asserts that two arrays agree, to a part of their scale."""
        scale = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance[self.dtype] * scale)


def saved(module, specs, directory):
    """Writes a module as a SavedModel, as others would."""
    traced = tf.function(module.__call__).get_concrete_function(
        **{name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()}
    )
    tf.saved_model.save(module, str(directory), signatures={"serving_default": traced})
    return directory


def difference(function):
    """Sixth-order central difference of a dict-valued function of one number, at 0."""
    total = None
    for steps, weight in ((1, 45), (2, -9), (3, 1)):
        ahead, behind = function(steps * STEP), function(-steps * STEP)
        part = tf.nest.map_structure(lambda a, b, w=weight: w * (a - b) / (60 * STEP), ahead, behind)
        total = part if total is None else tf.nest.map_structure(np.add, total, part)
    return total


@pytest.fixture(scope="module")
def answered(case, run_in_one_process, tmp_path_factory):
    """Each model in turn, exported, run and proved."""
    return Answered(case, run_in_one_process, tmp_path_factory.mktemp("models"))


def test_export_found_every_signature_right(answered):
    """Export's own comparison with the model covers every signature, stays within rounding, and zero rows are rows."""
    checks = answered.card.checks
    assert set(checks["trained_model"]["worst_eps"]) == set(answered.card.signatures) - {"card"}
    assert all(max(worst.values()) <= 32 for worst in checks["trained_model"]["worst_eps"].values())
    assert checks["warnings"] == []


def test_the_proof_passes(answered):
    """The checks of ``verify`` find nothing; each of them found something to look at."""
    checks = answered.card.checks
    names = ("taylor", "adjoint", "reference", "rows", "non_finite", "kinks")
    failed = {name: checks[name] for name in names if not checks[name]["passed"]}
    assert failed == {}
    assert checks["proof"]["passed"]
    assert all(checks[name]["findings"] for name in names)


def test_values_are_the_models(answered):
    """Every signature that gives outputs gives those of the model in float64."""
    expected = answered.values(0.0)
    for signature in answered.by:
        for output, array in expected.items():
            answered.close(answered.by[signature][output], array, FIRST)


def test_tangents_are_differences_of_the_values(answered):
    """jvp, and the first derivatives along the same tangent, against differences in float64."""
    slopes = difference(answered.values)
    for output, slope in slopes.items():
        answered.close(answered.by["jvp"][tangent_name(output)], slope, FIRST)
        for signature in {"serving_default", "hvp", "hessian"} & set(answered.by):
            along = sum(
                np.einsum(
                    "bkj,bj->bk",
                    answered.flat(signature, name).reshape(ROWS, slope.reshape(ROWS, -1).shape[1], -1),
                    answered.tangents[wrt].reshape(ROWS, -1),
                )
                for wrt, name in answered.card.derivatives[output].items()
            )
            answered.close(along, slope.reshape(ROWS, -1), FIRST)


def test_cotangents_pair_with_tangents(answered):
    """⟨f_bar, f_dot⟩ = ⟨x_bar, x_dot⟩ in every row, with f_dot from differences: vjp is the transpose."""
    slopes = difference(answered.values)
    left = sum(
        np.sum(slope.reshape(ROWS, -1) * answered.cotangents[n].reshape(ROWS, -1), axis=1)
        for n, slope in slopes.items()
    )
    right = sum(
        np.sum(answered.flat("vjp", cotangent_name(n)) * answered.tangents[n].reshape(ROWS, -1), axis=1)
        for n in answered.wrt
    )
    answered.close(right, left, FIRST)


def test_second_derivatives_are_differences_of_the_gradient(answered):
    """The signature hvp against differences of a float64 tape along the tangent, number by number."""
    slopes = difference(answered.gradients)
    for output, by_input in answered.card.derivatives.items():
        for wrt, name in by_input.items():
            found = answered.flat("hvp", tangent_name(name))
            answered.close(found, slopes[output][wrt].reshape(ROWS, -1), SECOND)


def test_hessians_times_tangents_are_hvps_and_symmetric(answered):
    """The blocks of hessian, each pair of inputs once, make up the hvp; a block of one input is symmetric."""
    if "hessian" not in answered.by:
        pytest.skip("without hessian")
    sizes = {wrt: answered.x[wrt][0].size for wrt in answered.wrt}
    for output, pairs in answered.card.second_derivatives.items():
        total = dict.fromkeys(answered.wrt, 0.0)
        for one, others in pairs.items():
            for other, name in others.items():
                block = answered.flat("hessian", name).reshape(ROWS, -1, sizes[one], sizes[other])
                v, w = (answered.tangents[n].reshape(ROWS, -1) for n in (one, other))
                total[one] = total[one] + np.einsum("bkij,bj->bki", block, w)
                if one == other:
                    answered.close(block, np.swapaxes(block, 2, 3), SECOND)
                else:
                    total[other] = total[other] + np.einsum("bkij,bi->bkj", block, v)
        for wrt, name in answered.card.derivatives[output].items():
            answered.close(total[wrt].reshape(ROWS, -1), answered.flat("hvp", tangent_name(name)), SECOND)
