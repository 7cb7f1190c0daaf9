"""A package holds its network: a fit starts from it, with its weights, and both are measured on the same rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import gradwire_training as training
from gradwire import PackageError, UsageError
from gradwire._package import NETWORK_FILE
from gradwire_export import export, read_network

pytestmark = pytest.mark.slow  # fits and exports first

DOMAIN = {"spot": (0.5, 1.5), "vol": (0.1, 0.4)}


def samples(count=40, seed=0) -> training.Samples:
    """Price = spot^2 vol, and one of its derivatives, as a desk calls it."""
    rng = np.random.default_rng(seed)
    spot, vol = rng.uniform(0.5, 1.5, count), rng.uniform(0.1, 0.4, count)
    columns = {"spot": spot, "vol": vol, "price": spot**2 * vol, "vega": 0.01 * spot**2}
    options = {"inputs": ["spot", "vol"], "outputs": ["price"], "derivatives": {"vega": ("0.01*price", "vol")}}
    return training.Samples.read(columns, **options, units={"price": "USD"})


@pytest.fixture(scope="module")
def place(tmp_path_factory, run_in_one_process) -> Path:
    """A fit in build/price, and its package in models/price/1, with the reference points on its card."""
    place = tmp_path_factory.mktemp("start")
    rows = samples()
    model = training.mlp(inputs={"spot": (1,), "vol": (1,)}, outputs={"price": (1,)}, widths=(5,), scale=rows, seed=1)
    result = training.fit(model, rows, loss=training.Sobolev(value_weight=2.0), optimizer="lbfgs", steps=15, seed=4)
    result.save(place / "build" / "price")
    export(place / "build" / "price", to=place / "models" / "price", signatures=())
    return place


@pytest.mark.parametrize("source", ["build/price", "models/price", "models/price/1", "build/price/model.keras"])
def test_what_is_loaded_is_what_was_fitted(place, source):
    """Weights, scaling, names and settings, from a fit, a package, its directory, or a Keras file."""
    start = training.load(place / source)
    fitted = keras.models.load_model(place / "build/price/model.keras")
    x = {"spot": np.array([[0.7], [1.2]], "float32"), "vol": np.array([[0.2], [0.3]], "float32")}
    np.testing.assert_array_equal(start.model(x)["price"], fitted(x)["price"])
    if source.endswith(".keras"):
        return
    assert (start.inputs, start.outputs, start.units) == (("spot", "vol"), ("price",), {"price": "USD"})
    assert (start.aliases["vega"].factor, start.trained["seed"]) == (0.01, 4)
    assert start.trained["loss"]["value_weight"] == 2.0
    assert start.source.endswith("models/price/1" if "models" in source else source)
    assert start.digest.startswith("sha256:") == ("models" in source)


def test_a_fit_starts_there_and_tells_both(place, tmp_path):
    """As from the model itself; the record, the summary and the page have the errors of both on the same rows."""
    start, rows, held_out = training.load(place / "models/price"), samples(60, seed=1), samples(30, seed=2)
    result = training.fit(start, rows, optimizer="lbfgs", steps=8, validation=held_out)
    again = training.fit(start.model, rows, optimizer="lbfgs", steps=8, validation=held_out)
    assert result.loss == again.loss
    assert (again.before, again.origin) == (None, None)
    assert result.origin == start.origin
    x = {name: column.astype("float32") for name, column in held_out.x.items()}
    error = np.asarray(start.model(x)["price"]).reshape(-1) - held_out.y["price"].reshape(-1)
    before = float(np.sqrt(np.mean(error.astype(float) ** 2)))
    assert result.errors["price"]["rmse_before"] == pytest.approx(before, rel=1e-5)
    assert "rmse_before" not in again.errors["price"]
    price, vega = training.summarize(result).changes
    assert (price.name, price.before, price.after) == (
        "price",
        pytest.approx(before, rel=1e-5),
        result.errors["price"]["rmse"],
    )
    assert (vega.name, vega.before) == ("vega", pytest.approx(0.01 * result.errors["dprice_dvol"]["rmse_before"]))
    assert price.ratio == pytest.approx(price.after / before)
    result.save(tmp_path / "new")
    page = training.report(result, to=tmp_path / "new").page.read_text()
    assert "Before and after" in page
    assert "models/price/1" in page
    assert json.loads((tmp_path / "new/fit.json").read_text())["trained"]["origin"] == start.origin


def broken(place: Path, tmp_path: Path, change) -> Path:
    """A copy of the package with another network."""
    package = tmp_path / "1"
    shutil.copytree(place / "models/price/1", package)
    text = (package / NETWORK_FILE).read_text()
    (package / NETWORK_FILE).unlink()
    if (changed := change(text)) is not None:
        (package / NETWORK_FILE).write_text(changed)
    return package


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: None, "does not hold its network"),
        (lambda text: text[:-20], "cannot be built again"),
        (lambda text: text.replace('"sigmoid"', '"tanh"'), "not the package's at its reference points"),
        (lambda text: text.replace('"units": 5', '"units": 6'), "cannot be built again"),
        (lambda text: text.replace('"class_name": "Flatten"', '"class_name": "Nonsense"'), "cannot be built again"),
    ],
)
def test_another_network_is_refused(place, tmp_path, change, words):
    """A start that is not the package would be a start from nowhere; the way out is named."""
    with pytest.raises(PackageError, match=rf"{words}.*give the directory of the fit"):
        read_network(broken(place, tmp_path, change))


@pytest.mark.usefixtures("without_card_checks")
def test_layers_of_all_kinds_come_back_with_their_weights(tmp_path):
    """Shared layers, several of one class, and the statistics of a batch normalisation, in float64."""
    dtype = "float64"
    a, b = (keras.Input((2,), name=name, dtype=dtype) for name in "ab")
    shared = keras.layers.Dense(3, "tanh", dtype=dtype)
    joined = keras.layers.Concatenate(dtype=dtype)([shared(a), shared(b)])
    inner = keras.layers.BatchNormalization(dtype=dtype)(keras.layers.Dense(3, "softplus", dtype=dtype)(joined))
    model = keras.Model({"a": a, "b": b}, {"f": keras.layers.Dense(1, dtype=dtype)(inner)})
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1.0, weight.shape) for weight in model.get_weights()])
    package = export(model, to=tmp_path / dtype, domain={"a": (0, 1), "b": (0, 1)}, signatures=()).path
    again = read_network(package)
    for ours, theirs in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("without_card_checks")
def test_a_function_has_no_network(tmp_path):
    """It is exported as before, and cannot be fitted again."""
    import tensorflow as tf

    specs = {"x": tf.TensorSpec((None, 1), tf.float32)}
    export(lambda x: 2 * x, to=tmp_path / "f", inputs=specs, domain={"x": (0, 1)}, signatures=())
    with pytest.raises(PackageError, match="does not hold its network"):
        training.load(tmp_path / "f")
    for path, error in ((tmp_path / "nowhere", PackageError), (tmp_path, PackageError)):
        with pytest.raises(error):
            training.load(path)
    with pytest.raises(UsageError, match="expected a Keras model"):
        training.fit("models/price", samples())
