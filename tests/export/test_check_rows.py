"""Where export compares a package with its model, and how much of a difference is rounding."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import CheckFailed
from gradwire._package import Box
from gradwire_export import export
from gradwire_export._checks import CheckRows
from gradwire_export._checks.model_check import require_close
from gradwire_export._package import package_spec, signatures
from gradwire_export._sources import function_of

SPEC = {"x": tf.TensorSpec((None, 3), tf.float32)}
UNIT = {"x": Box(np.full(3, -1.0), np.full(3, 1.0))}


def norm(x):
    """Homogeneous of degree one: the product of its derivative with the point is its value."""
    return tf.norm(x, axis=1, keepdims=True)


def rows_of(function):
    """The rows for a function of three elements on [-1, 1]."""
    return CheckRows.draw(package_spec(function_of(function, inputs=SPEC), ()), UNIT)


def test_directions_know_nothing_of_the_points():
    """No tangent is the point's own, or a multiple of it, and each point is tried along several."""
    at = rows_of(norm).at
    half = len(at["x"]) // 2
    assert np.array_equal(at["x"][:half], at["x"][half:])
    assert (at["x_dot"][:half] != at["x_dot"][half:]).any(axis=1).all()
    for name in ("x_dot",):
        cosine = (at["x"] * at[name]).sum(1) / np.linalg.norm(at["x"], axis=1) / np.linalg.norm(at[name], axis=1)
        assert np.abs(cosine).max() < 1 - 1e-4
        assert abs(cosine.mean()) < 0.3
    assert abs(np.corrcoef(at["x"].ravel(), rows_of(norm).neighbours["x"].ravel())[0, 1]) < 0.3


def test_the_grid_is_around_the_rows():
    """Nine rows for each, the middle one itself, the directions unchanged; a step has every row once."""
    rows = rows_of(norm)
    assert np.array_equal(rows.grid["x"][4::9], rows.at["x"])
    assert np.array_equal(rows.grid["x_dot"].reshape(-1, 9, 3), np.repeat(rows.at["x_dot"][:, None], 9, axis=1))
    assert sorted(rows.steps()) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert np.abs(rows.steps()[0]["x"] - rows.at["x"]).max() < 1e-3


def test_a_product_that_is_right_along_the_point_alone_is_refused(tmp_path, monkeypatch, run_in_one_process):
    """A jvp that returns the value is right for a norm, where the tangent is the point."""
    right = signatures.signature_body

    def wrong(spec, name):
        body = right(spec, name)
        return body if name != "jvp" else lambda tensors: (out := body(tensors)) | {"f_dot": out["f"]}

    monkeypatch.setattr(signatures, "signature_body", wrong)
    with pytest.raises(CheckFailed, match="'f_dot' of jvp differs"):
        export(norm, to=tmp_path / "m", inputs=SPEC, signatures=["jvp"])


HOMOGENEOUS = {
    "norm": norm,
    "l2_normalize": lambda x: tf.math.l2_normalize(x, axis=1),
    "UnitNormalization": keras.layers.UnitNormalization(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_homogeneous_functions_are_proved(name, tmp_path, run_in_one_process):
    """Every signature of them is written."""
    exported = export(HOMOGENEOUS[name], to=tmp_path / "m", inputs=SPEC)
    assert exported.left_out == {}
    assert exported.card.checks["proof"]["passed"]
    assert "hessian" in exported.card.signatures


def noisy(x, order):
    """A sum in float32 whose terms cancel but for the first, in one order or another."""
    hidden = np.tanh(x @ np.random.default_rng(1).normal(size=(3, 100)).astype(np.float32))
    total = x[:, 0]
    for index in order:
        total = total + hidden[:, index % 100] * np.float32(10 if index < 100 else -10)
    return total[:, None]


def test_a_difference_of_as_much_as_the_rounding_passes():
    """Two orders of summation are hundreds of eps of the scale apart, and a thousandth more is still seen."""
    grid = rows_of(norm).grid["x"]
    one, other = noisy(grid, range(200)), noisy(grid, range(199, -1, -1))
    agreement = require_close("f", one, other)
    assert agreement.eps > 32
    assert agreement.ratio < 1
    assert agreement.noise_eps > 4
    with pytest.raises(CheckFailed, match=r"allowed .* by the rounding measured there"):
        require_close("f", one * np.float32(1 + 1e-3), other)
    smooth = np.sin(grid[:, :1])
    assert require_close("f", smooth, smooth).noise_eps < 4
    with pytest.raises(CheckFailed, match="allowed 1"):
        require_close("f", smooth * np.float32(1 + 1e-3), smooth)


def test_nan_against_a_number_is_refused():
    """However much rounding there is."""
    grid = np.sin(rows_of(norm).grid["x"])
    wrong = grid.copy()
    wrong[4] = np.nan
    with pytest.raises(CheckFailed, match="differs from the trained model: at"):
        require_close("f", wrong, grid)
    assert require_close("f", wrong, wrong).ratio == 0
