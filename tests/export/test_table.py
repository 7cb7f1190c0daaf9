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

pytestmark = pytest.mark.slow  # exports two dozen packages and loads each in a fresh process

ROWS = 8  # of those that export runs
STEP = 1e-3  # of the differences: leaves 1e-10 of the scale in float64
FIRST = {"float32": 3e-5, "float64": 1e-9}  # of a tensor's scale: rounding, and what the differences leave
SECOND = {"float32": 2e-4, "float64": 1e-8}


class Exported:
    """A package, what its signatures returned to export, and the model in float64."""

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
        inputs, self.by = {}, {}
        for request, response in run.last:
            if request.signature != "card" and request.signature not in self.by:  # the first is at all rows
                inputs |= {name: rows[:ROWS] for name, rows in request.inputs.items()}
                self.by[request.signature] = {
                    name: array[:ROWS].astype(np.float64) for name, array in response.outputs.items()
                }
        wide = {name: rows if rows.dtype.kind == "i" else rows.astype(np.float64) for name, rows in inputs.items()}
        self.x = {name: wide[name] for name in self.double.inputs}
        self.tangents = {wrt: wide[tangent_name(wrt)] for wrt in self.wrt}
        self.cotangents = {output: wide[cotangent_name(output)] for output in self.double.outputs}

    def moved(self, h):
        """The inputs, h along the tangents."""
        return {n: a + h * self.tangents[n] if n in self.wrt else a for n, a in self.x.items()}

    def values(self, h):
        """The float64 model's outputs there."""
        outputs = self.double.call({n: tf.constant(a) for n, a in self.moved(h).items()})
        return {n: a.numpy() for n, a in outputs.items()}

    def gradients(self, h):
        """The gradient of every output element there: {output: {input: (rows, output elements, input elements)}}."""
        x = {n: tf.constant(a) for n, a in self.moved(h).items()}
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([x[n] for n in self.wrt])
            elements = {
                name: tf.unstack(tf.reshape(value, [ROWS, -1]), axis=1) for name, value in self.double.call(x).items()
            }
        zero = tf.UnconnectedGradients.ZERO
        return {
            name: {
                n: np.stack(
                    [
                        np.reshape(tape.gradient(scalar, x[n], unconnected_gradients=zero), (ROWS, -1))
                        for scalar in scalars
                    ],
                    axis=1,
                )
                for n in self.wrt
            }
            for name, scalars in elements.items()
        }

    def flat(self, signature, name):
        """A response as (rows, elements)."""
        return self.by[signature][name].reshape(ROWS, -1)

    def close(self, actual, expected, tolerance):
        """Asserts that two arrays agree, to a part of their scale."""
        scale = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance[self.dtype] * scale)


def saved(module, specs, directory):
    """Writes a module as a SavedModel, as others would."""
    traced = tf.function(module.__call__).get_concrete_function(
        **{name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in specs.items()}
    )
    tf.saved_model.save(module, str(directory), signatures={"serving_default": traced})
    return directory


def difference(function):
    """Sixth-order central difference of a dict-valued function of a scalar, at 0."""
    total = None
    for steps, weight in ((1, 45), (2, -9), (3, 1)):
        ahead, behind = function(steps * STEP), function(-steps * STEP)
        part = tf.nest.map_structure(lambda a, b, w=weight: w * (a - b) / (60 * STEP), ahead, behind)
        total = part if total is None else tf.nest.map_structure(np.add, total, part)
    return total


@pytest.fixture(scope="module")
def exported(case, run_in_one_process, tmp_path_factory):
    """Each model in turn, exported, run and proved."""
    return Exported(case, run_in_one_process, tmp_path_factory.mktemp("models"))


def test_export_compared_every_signature(exported):
    """Export's own comparison with the model covers every signature, stays within rounding, and zero rows are rows."""
    checks = exported.card.checks
    assert set(checks["trained_model"]["worst_eps"]) == set(exported.card.signatures) - {"card"}
    assert all(max(worst.values()) <= 32 for worst in checks["trained_model"]["worst_eps"].values())
    assert checks["warnings"] == []


def test_the_proof_passes(exported):
    """All checks of verify pass, and each had something to compare."""
    checks = exported.card.checks
    names = ("taylor", "adjoint", "reference", "rows", "non_finite", "kinks", "special")
    failed = {name: checks[name] for name in names if not checks[name]["passed"]}
    assert failed == {}
    assert checks["proof"]["passed"]
    assert all(checks[name]["findings"] for name in names)


def test_values_are_the_models(exported):
    """Every signature that gives outputs gives those of the model in float64."""
    expected = exported.values(0.0)
    for signature in exported.by:
        for output, array in expected.items():
            exported.close(exported.by[signature][output], array, FIRST)


def test_tangents_are_differences_of_the_values(exported):
    """jvp, and the first derivatives along the same tangent, against differences in float64."""
    along = difference(exported.values)
    for output, df in along.items():
        exported.close(exported.by["jvp"][tangent_name(output)], df, FIRST)
        for signature in {"serving_default", "hvp", "hessian"} & set(exported.by):
            product = sum(
                np.einsum(
                    "bkj,bj->bk",
                    exported.flat(signature, name).reshape(ROWS, df.reshape(ROWS, -1).shape[1], -1),
                    exported.tangents[wrt].reshape(ROWS, -1),
                )
                for wrt, name in exported.card.derivatives[output].items()
            )
            exported.close(product, df.reshape(ROWS, -1), FIRST)


def test_cotangents_pair_with_tangents(exported):
    """⟨f_bar, f_dot⟩ = ⟨x_bar, x_dot⟩ in every row, with f_dot from differences: vjp is the transpose."""
    along = difference(exported.values)
    left = sum(
        np.sum(df.reshape(ROWS, -1) * exported.cotangents[n].reshape(ROWS, -1), axis=1) for n, df in along.items()
    )
    right = sum(
        np.sum(exported.flat("vjp", cotangent_name(n)) * exported.tangents[n].reshape(ROWS, -1), axis=1)
        for n in exported.wrt
    )
    exported.close(right, left, FIRST)


def test_second_derivatives_are_differences_of_the_gradient(exported):
    """The signature hvp against differences of a float64 tape along the tangent, element by element."""
    expected = difference(exported.gradients)
    for output, by_input in exported.card.derivatives.items():
        for wrt, name in by_input.items():
            actual = exported.flat("hvp", tangent_name(name))
            exported.close(actual, expected[output][wrt].reshape(ROWS, -1), SECOND)


def test_hessians_times_tangents_are_hvps_and_symmetric(exported):
    """The blocks of hessian, each pair of inputs once, make up the hvp; a block of one input is symmetric."""
    if "hessian" not in exported.by:
        pytest.skip("without hessian")
    sizes = {wrt: exported.x[wrt][0].size for wrt in exported.wrt}
    for output, pairs in exported.card.second_derivatives.items():
        total = dict.fromkeys(exported.wrt, 0.0)
        for one, others in pairs.items():
            for other, name in others.items():
                block = exported.flat("hessian", name).reshape(ROWS, -1, sizes[one], sizes[other])
                v, w = (exported.tangents[n].reshape(ROWS, -1) for n in (one, other))
                total[one] = total[one] + np.einsum("bkij,bj->bki", block, w)
                if one == other:
                    exported.close(block, np.swapaxes(block, 2, 3), SECOND)
                else:
                    total[other] = total[other] + np.einsum("bkij,bi->bkj", block, v)
        for wrt, name in exported.card.derivatives[output].items():
            exported.close(total[wrt].reshape(ROWS, -1), exported.flat("hvp", tangent_name(name)), SECOND)
