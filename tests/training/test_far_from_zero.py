"""Columns far from zero: right in float32 where it tells rows apart, else refused with float64 as the way out."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from gradwire._errors import DataError
from gradwire_training import Samples, Value, fit, mlp, with_dtype
from gradwire_training._fit.evaluation import evaluate
from gradwire_training._models import IoBinding, units_of

RANDOM = np.random.default_rng(3)
OFFSETS = RANDOM.uniform(0, 1000, 120)  # of spread 290
WAY_OUT = r"give dtype='float64' \(--dtype float64\)"


def _wave(shift, offsets=OFFSETS):
    """Return f = sin((x - shift) / 200) with its derivative."""
    x = shift + offsets
    return Samples(x, np.sin((x - shift) / 200), np.cos((x - shift) / 200) / 200)


def _scaled(samples, **settings):
    shapes = ({name: column.shape[1:] for name, column in table.items()} for table in (samples.x, samples.y))
    inputs, outputs = shapes
    return mlp(inputs=inputs, outputs=outputs, widths=(16,), activation="tanh", scale=samples, **settings)


def _errors_where_it_is_exact(result, shift):
    """Return the largest errors of f and df/dx at points that float32 has: what is left is the package's own."""
    x = (shift + RANDOM.uniform(0, 1000, 400)).astype(np.float32).astype(np.float64)[:, None]
    values, derivatives = evaluate(result.model, result.binding, {"x": x}, {"f": ["x"]})
    f, df = np.sin((x - shift) / 200), np.cos((x - shift) / 200) / 200
    return np.abs(values["f"] - f).max(), np.abs(derivatives["f"]["x"] - df).max()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shift", [0.0, 1e3, 1e5, 1e7])
def test_a_shift_changes_nothing_where_rows_are_told_apart(shift, dtype):
    """With x divided before the centre is subtracted, the errors at 1e7 would be 0.1 and 0.005."""
    samples = _wave(shift)
    f, df = _errors_where_it_is_exact(fit(_scaled(samples), samples, steps=150, dtype=dtype), shift)
    assert f < 2e-4
    assert df < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("shift", [1e8, 1e9])
def test_rows_that_float32_does_not_tell_apart_need_float64(shift):
    """The message has the way out, and the way out is right."""
    samples = _wave(shift)
    with pytest.raises(DataError, match=rf"x 'x' lies near 1e\+0[89] with a spread of 2\d\d: .*{WAY_OUT}"):
        fit(_scaled(samples), samples, steps=150)
    result = fit(_scaled(samples), samples, steps=150, dtype="float64")
    assert result.errors["f"]["max"] < 2e-4
    assert result.notes == ()


@pytest.mark.slow
def test_what_float32_rounds_noticeably_is_said():
    """Near 1e6 it rounds by 0.03 of 290: the errors hold it, and the note says that no fit undoes it."""
    near, far = (fit(_scaled(_wave(shift)), _wave(shift), steps=5) for shift in (1e4, 1e6))
    assert near.notes == ()
    (note,) = far.notes
    assert "float32 rounds it by up to 0.03" in note


def test_the_difference_from_the_centre_is_exact():
    """Float32 points less the centre, a float32 number, have no rounding at all."""
    samples = _wave(5.4e6)
    centred = _scaled(samples).layers[0]
    x = samples.x["x"].astype(np.float32)
    centre = -np.asarray(centred.offset).ravel()[0]
    assert centre == np.float32(centre)
    np.testing.assert_array_equal(np.asarray(centred(x)).astype(np.float64), x.astype(np.float64) - centre)


def test_columns_near_zero_keep_one_layer():
    """Models that exist stay what they are, to the bit."""
    names = [layer.name for layer in _scaled(_wave(1e3)).layers]
    assert names[0] == "x_scaled"
    assert "x_centred" not in names
    assert [layer.name for layer in _scaled(_wave(1e5)).layers][:2] == ["x_centred", "x_scaled"]
    constant = Samples({"x": OFFSETS, "c": np.full(120, 1.7e9)}, {"f": OFFSETS})
    model = _scaled(constant)
    assert "c_centred" not in [layer.name for layer in model.layers]  # nothing is divided: one layer is exact
    np.testing.assert_array_equal(model.get_layer("c_scaled")(np.full((3, 1), 1.7e9, np.float32)), 0)


@pytest.mark.parametrize("rows", [3, 7, 120])
def test_a_constant_column_has_no_rows_to_tell_apart(rows):
    """The mean of 0.2, 0.2, 0.2 is not 0.2 to the last bit, and that difference is no spread."""
    x = np.linspace(0, 1, rows)
    samples = Samples({"x": x, "c": np.full(rows, 0.2)}, {"f": x})
    assert fit(_scaled(samples), samples, loss=Value(), steps=2).notes == ()


@pytest.mark.parametrize("extra", [{}, {"t": OFFSETS}], ids=["sequential", "functional"])
def test_units_are_those_of_all_scaling_layers(extra):
    """Behind a layer that only subtracts, the one that divides counts, also in a copy."""
    samples = Samples({"x": 1e7 + OFFSETS, **extra}, {"f": OFFSETS})
    model = _scaled(samples)
    for each in (model, keras.models.clone_model(model)):
        units = units_of(each, IoBinding.of(each, samples))
        np.testing.assert_allclose(units.inputs["x"], OFFSETS.std(), rtol=1e-6)
        np.testing.assert_allclose(units.outputs["f"], OFFSETS.std(), rtol=1e-6)


@pytest.mark.slow
def test_a_network_of_several_inputs_subtracts_too():
    """Each input by itself; rows that are vectors element by element."""
    x = np.stack([5.4e6 + OFFSETS, OFFSETS], axis=1)
    samples = Samples({"x": x, "u": OFFSETS / 1000}, {"f": np.sin(OFFSETS / 200)})
    result = fit(_scaled(samples), samples, loss=Value(), steps=150)
    exact = x.astype(np.float32).astype(np.float64)
    values, _ = evaluate(result.model, result.binding, samples.x | {"x": exact}, {})
    rounded_away = np.abs(np.sin(OFFSETS / 200) - np.sin((exact[:, 0] - 5.4e6) / 200)).max()
    assert np.abs(values["f"].ravel() - np.sin(OFFSETS / 200)).max() < rounded_away + 1e-3


def test_labels_tell_what_a_spread_hides():
    """Two clusters far apart have a large spread; within one, f changes more than float32 resolves."""
    x = np.concatenate([np.linspace(0, 1, 50), 1e9 + np.linspace(0, 1, 50)])
    y, slope = np.tile(np.sin(5 * np.linspace(0, 1, 50)), 2), np.tile(5 * np.cos(5 * np.linspace(0, 1, 50)), 2)
    for samples, message in (
        (Samples(x, y, slope), "float32 rounds it so that 'f' changes by up to"),
        (Samples(x, y), "float32 cannot tell 50 of 100 rows apart, though their 'f' differs"),
    ):
        with pytest.raises(DataError, match=rf"{message}.*{WAY_OUT}"):
            fit(_scaled(samples), samples, loss=Value(), steps=2)
        assert fit(_scaled(samples), samples, loss=Value(), steps=2, dtype="float64").notes == ()


def test_rows_that_merge_by_chance_or_with_one_label_are_fitted():
    """Among many random rows some pairs are neighbours in float32; and equal labels lose nothing."""
    generator = np.random.default_rng(0)
    x = 1 + generator.uniform(0, 1e-3, 400)  # 8,400 float32 numbers: some 19 rows share one
    noisy = Samples(x, generator.normal(size=400))
    assert len(np.unique(x.astype(np.float32))) < 400
    fit(_scaled(noisy), noisy, loss=Value(), steps=2)
    steps = np.concatenate([np.linspace(0, 1, 20), 1e9 + np.linspace(0, 1, 20)])
    flat = Samples(steps, (steps > 5).astype(float))
    fit(_scaled(flat), flat, loss=Value(), steps=2)


def test_numbers_beyond_float32_are_refused():
    """1e100 would be infinite."""
    samples = Samples(1e100 * np.linspace(1, 2, 9), np.linspace(0, 1, 9))
    with pytest.raises(DataError, match=WAY_OUT):
        fit(mlp(inputs={"x": 1}, outputs={"f": 1}), samples, loss=Value(), steps=2)


def _lifted(shift, spread=1.0):
    """Return f = shift + spread sin(x / 200) with its derivative."""
    wave = _wave(0.0)
    return Samples(wave.x, {"f": shift + spread * wave.y["f"]}, {"f": {"x": spread * wave.dydx["f"]["x"]}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "dtype"), [(1e4, "float32"), (1e4, "float64"), (1e8, "float64"), (1.7e12, "float64")]
)
def test_an_output_far_from_zero_is_fitted_around_its_centre(shift, dtype):
    """The error of f is that near zero and half a step of the dtype; its derivative does not feel the shift."""
    samples = _lifted(shift)
    result = fit(_scaled(samples), samples, steps=150, dtype=dtype)
    step = float(np.spacing(np.asarray(shift, dtype)))
    assert result.errors["f"]["max"] < 2e-4 + step
    assert result.errors["df_dx"]["max"] < 1e-5
    assert bool(result.notes) == (dtype == "float32")


@pytest.mark.parametrize(("shift", "spread"), [(1e8, 1.0), (-1e6, 1.0), (1e6, 0.1), (1e39, 1e38)])
def test_an_output_that_float32_cannot_tell_apart_needs_float64(shift, spread):
    """The message has where it lies, how far it spreads, and the way out; before a step is taken."""
    samples = _lifted(shift, spread)
    with pytest.raises(
        DataError, match=rf"y 'f' lies near -?1[.0-9]*e\+\d+ with a spread of .*: float32 rounds it.*{WAY_OUT}"
    ):
        fit(_scaled(samples), samples, steps=2)


def test_what_float32_rounds_of_an_output_is_said():
    """Near 1e4 it rounds by 0.0005 of 0.7: a note; labels that are missing, or constant, say nothing."""
    y = 1e4 + np.sin(OFFSETS / 200)
    y[::2] = np.nan
    samples = Samples(OFFSETS, {"f": y, "c": np.full(120, 1e8)}, {})
    (note,) = fit(_scaled(samples), samples, loss=Value(), steps=2).notes
    assert "y 'f' lies near 1e+04 with a spread of 0.6" in note
    assert "float32 rounds it by up to 0.000488, which no fit can undo" in note


def test_a_centre_that_float32_does_not_hold_is_held_by_two_layers():
    """In float64, at Unix seconds and a spread of one: both ends are scaled to mean 0 and deviation 1 all the same."""
    x = 1.7e9 + RANDOM.normal(size=50)
    model = with_dtype(_scaled(Samples(x, x, np.ones(50))), "float64")
    assert [layer.name for layer in model.layers][-2:] == ["f_centred", "f"]
    inward, outward = model.layers[:2], model.layers[-2:]
    scaled = inward[1](inward[0](x[:, None]))
    np.testing.assert_allclose([np.mean(scaled), np.std(scaled)], [0, 1], atol=1e-6)
    np.testing.assert_allclose(outward[1](outward[0](scaled)), x[:, None], rtol=1e-15)
