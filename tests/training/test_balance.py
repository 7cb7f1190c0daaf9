"""In which units errors count: Huge and Savine's balance, scaled models, and weights that the caller sets."""

from __future__ import annotations

import numpy as np
import pytest

from gradwire_training import Derivative, Samples, Sobolev, Value, mlp, with_dtype

GENERATOR = np.random.default_rng(8)
A, B = GENERATOR.normal(100, 20, (40, 1)), GENERATOR.normal(0, 0.1, (40, 1))
# price moves by some hundreds with a, and by tens with b.
SAMPLES = Samples(
    {"a": A, "b": B},
    {"price": 7 * A + A * B},
    {"price": {"a": 7 + B, "b": A}},
)


@pytest.fixture
def loss_of(objective):
    """Computes a loss of a model whose weights are all zero, so that its answers are its outputs' centres."""

    def compute(loss, scale=None, samples=SAMPLES):
        model = mlp(inputs={"a": 1, "b": 1}, outputs={"price": 1}, widths=(3,), scale=scale)
        model = with_dtype(model, "float64")
        for weight in model.weights:
            weight.assign(np.zeros(weight.shape))
        return float(objective(model, samples, loss).loss_and_mae()[0])

    return compute


def _huge_savine(centre):
    """Their appendix 4 in NumPy: scaled values and derivatives, each derivative divided by its norm, n = 2 inputs."""
    y = SAMPLES.y["price"]
    value = np.mean(((y - centre) / y.std()) ** 2)
    slopes = [np.mean((column / np.sqrt(np.mean(column**2))) ** 2) for column in SAMPLES.dydx["price"].values()]
    n = len(slopes)
    return value / (1 + n) + n / (1 + n) * np.mean(slopes)


def test_a_scaled_model_has_huge_and_savines_loss(loss_of):
    """With scaling layers, the default loss is their formula; every column counts the same, whatever its unit."""
    centre = SAMPLES.y["price"].mean()
    assert loss_of(Sobolev(), scale=SAMPLES) == pytest.approx(_huge_savine(centre), rel=1e-6)


def test_an_unscaled_model_has_the_same_balance(loss_of):
    """Without scaling layers, the loss is in the outputs' own units: their formula, times the outputs' variance."""
    variance = np.var(SAMPLES.y["price"])
    assert loss_of(Sobolev()) == pytest.approx(variance * _huge_savine(0.0), rel=1e-12)


def test_values_alone_are_a_plain_mean_square_in_the_models_units(loss_of):
    """The post's loss on a network without scaling layers; in units of the spread on one with them."""
    y = SAMPLES.y["price"]
    assert loss_of(Value()) == pytest.approx(np.mean(y**2), rel=1e-12)
    assert loss_of(Value(), scale=SAMPLES) == pytest.approx(1.0, rel=1e-6)


def test_unbalanced_derivatives_are_in_the_models_units(loss_of):
    """Czarnecki's plain sum, of what the network between the scaling layers sees."""
    y, slopes = SAMPLES.y["price"], SAMPLES.dydx["price"]
    plain = np.mean(y**2) + np.mean([np.mean(column**2) for column in slopes.values()])
    assert loss_of(Sobolev(balanced=False)) == pytest.approx(plain, rel=1e-12)
    inner = [np.mean((slopes[name] * column.std() / y.std()) ** 2) for name, column in SAMPLES.x.items()]
    assert loss_of(Sobolev(balanced=False), scale=SAMPLES) == pytest.approx(1 + np.mean(inner), rel=1e-6)


@pytest.mark.parametrize(("value", "derivative"), [(4.0, None), (None, 4.0), (2.0, 3.0)])
def test_weights_replace_the_balances(loss_of, value, derivative):
    """What the caller sets is taken, and the other weight stays the balance's."""
    only_values, n = loss_of(Value()), 2
    slopes = (loss_of(Sobolev()) - only_values / (1 + n)) * (1 + n) / n
    expected = (1 / (1 + n) if value is None else value) * only_values
    expected += (n / (1 + n) if derivative is None else derivative) * slopes
    found = loss_of(Sobolev(value_weight=value, derivative_weight=derivative))
    assert found == pytest.approx(expected, rel=1e-10)


def test_each_label_counts_the_same_where_some_are_missing():
    """With half of the derivatives, they weigh half as much beside the values."""
    assert Sobolev().weights(30, 30) == (0.5, 0.5)
    assert Sobolev().weights(30, 60) == pytest.approx((1 / 3, 2 / 3))
    assert Derivative(Samples([1.0], [0.0])).weights(1, 200) == (1.0, 1.0)


def test_derivatives_that_are_zero_do_not_outweigh_all_others(loss_of):
    """A column of zeros, or of rounding, is measured by the natural slope, and the loss stays of order one."""
    dull = Samples(SAMPLES.x, SAMPLES.y, {"price": {"a": 7 + B, "b": np.full_like(B, 1e-13)}})
    assert loss_of(Sobolev(), scale=SAMPLES, samples=dull) < 2.0


def test_directions_count_in_their_own_size(loss_of):
    """A derivative along a direction is divided by its root mean square, as a partial one is."""
    moves = {"a": np.full((40, 1), 1e-3), "b": np.full((40, 1), 1e-6)}
    along = 1e-3 * (7 + B) + 1e-6 * A
    directional = Samples(SAMPLES.x, SAMPLES.y, x_dot=moves, y_dot={"price": along})
    assert loss_of(Sobolev(), scale=SAMPLES, samples=directional) == pytest.approx(1.0, rel=1e-6)
