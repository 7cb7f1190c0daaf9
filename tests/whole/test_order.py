"""The caller's order, from the file to every surface that has no names: arguments, vectors, columns."""

from __future__ import annotations

import json
import shutil

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import gradwire
import gradwire.scipy
from gradwire import batch
from gradwire._bridges import Bridge, sizes
from gradwire._cli.plot.slices import coordinates
from gradwire._cli.query import resolve_query
from gradwire_export import export
from gradwire_export._sources import Source, function_of, read_source

pytestmark = pytest.mark.slow  # trains, exports and serves first

INPUTS, OUTPUTS = ["spot", "T", "alpha"], ["value", "cost"]  # sorted, either is another order
SIZES = {"spot": 1, "T": 2, "alpha": 1}
ROWS = 30


def _table():
    generator = np.random.default_rng(0)
    x = {name: generator.uniform(1, 2, (ROWS, size)) for name, size in SIZES.items()}
    value = (x["spot"] + 10 * x["T"] @ [[1.0], [2.0]] + 100 * x["alpha"])[:, 0]
    columns = {"cost": -value, "alpha": x["alpha"][:, 0], "T[0]": x["T"][:, 0], "T[1]": x["T"][:, 1]}
    return pd.DataFrame(columns | {"value": value, "spot": x["spot"][:, 0]})


def _train(path):
    from gradwire._cli.commands.train import command

    _table().to_csv(path / "data.csv", index=False)
    command(source=str(path / "data.csv"), to=path / "fit", inputs=",".join(INPUTS), outputs=",".join(OUTPUTS), steps=3)
    return path / "fit"


def _lists(_):
    inputs = [keras.Input((size,), name=name) for name, size in SIZES.items()]
    joined = keras.layers.Concatenate()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(1, "tanh", name=name)(joined) for name in OUTPUTS])
    for name, sign in zip(OUTPUTS, (1, -1), strict=True):
        model.get_layer(name).set_weights([sign * np.array([[0.1], [0.2], [0.3], [0.4]]), np.zeros(1)])
    return model


def _dicts(_):
    model = _lists(_)
    named = dict(zip(OUTPUTS, model.outputs, strict=True))
    return keras.Model(dict(zip(INPUTS, model.inputs, strict=True)), named)


def _stored(path):
    _dicts(path).save(path / "model.keras")
    return path / "model.keras"


def _saved_model(path):
    model = _lists(path)
    specs = [tf.TensorSpec((None, size), name=name) for name, size in SIZES.items()]

    def call(spot, T, alpha):  # noqa: N803 - the model's own name
        value, cost = model([spot, T, alpha])
        return {"value": value, "cost": cost}

    module = tf.Module()
    module.held = model.variables
    module.call = tf.function(call, input_signature=specs)
    tf.saved_model.save(module, str(path / "saved"), signatures=module.call)
    return path / "saved"


SOURCES = {"list": _lists, "dict": _dicts, "keras file": _stored, "saved": _saved_model}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of a fit of three inputs and two outputs."""
    return _train(tmp_path_factory.mktemp("order"))


@pytest.mark.parametrize("source", SOURCES)
def test_a_model_from_elsewhere_keeps_its_order(source, tmp_path):
    """Lists and dicts of Keras, in memory and from a file; a SavedModel's function; outputs by the caller's option."""
    model = SOURCES[source](tmp_path)
    read = Source(model) if isinstance(model, keras.Model) else read_source(model)
    # A SavedModel returns a dict in the order of its keys, and the caller's order is that of --outputs.
    function = function_of(read.model, outputs=OUTPUTS if source == "saved" else None)
    assert (list(function.inputs), list(function.outputs)) == (INPUTS, OUTPUTS)
    outputs = function.call({"alpha": tf.fill([1, 1], 4.0), "T": tf.constant([[2.0, 3.0]]), "spot": tf.ones([1, 1])})
    np.testing.assert_allclose(outputs["value"], [[np.tanh(3.0)]], rtol=1e-6)
    np.testing.assert_allclose(outputs["cost"], [[-np.tanh(3.0)]], rtol=1e-6)


def test_the_callers_order_is_that_of_every_surface(trained, tmp_path):
    """The card, positional arguments, vectors, and the columns of query, batch and plots."""
    package = export(trained, to=tmp_path / "models" / "f", signatures=["hvp"]).path
    with gradwire.load(package) as model:
        card = model.card
        assert [tensor.name for tensor in card.inputs] == INPUTS
        assert [tensor.name for tensor in card.outputs] == list(card.derivatives) == OUTPUTS
        assert all(list(by_input) == INPUTS for by_input in card.derivatives.values())
        assert coordinates(card).keys() == dict.fromkeys(["spot", "T[0]", "T[1]", "alpha"]).keys()
        point = {"spot": 1.1, "T": [1.2, 1.3], "alpha": 1.4}
        value, gradients = model.value_and_grad(*point.values())
        assert (list(value), list(gradients)) == (OUTPUTS, OUTPUTS)
        by_name, slopes = model.value_and_grad(alpha=1.4, T=[1.2, 1.3], spot=1.1)
        assert value == by_name
        along = model.hvp(*point.values(), 0.0, [0.0, 0.0], 1.0)
        assert list(along["value"]) == INPUTS
        np.testing.assert_array_equal(along["value"]["T"], model.hvp(**point, alpha_dot=1.0)["value"]["T"])
        bridge = Bridge(model)  # OpenMDAO's variables and UM-Bridge's lists, in their order
        assert [tensor.name for tensor in bridge.inputs] == INPUTS
        assert (sizes(bridge.inputs), [tensor.name for tensor in bridge.outputs]) == ([1, 2, 1], OUTPUTS)
        vector = gradwire.scipy.wrap(model)
        np.testing.assert_array_equal(vector.fun([1.1, 1.2, 1.3, 1.4]), [value[name] for name in OUTPUTS])
        expected = [np.concatenate([np.atleast_1d(slopes[f][x]) for x in INPUTS]) for f in OUTPUTS]
        np.testing.assert_array_equal(vector.jac([1.1, 1.2, 1.3, 1.4]), expected)
        columns = [column for f in OUTPUTS for column in (f, *(f"d{f}_d{x}" for x in INPUTS))]
        query = resolve_query(model, "grad")
        assert (list(query.signature.inputs), list(query.outputs)) == (INPUTS, columns)
        points = pd.DataFrame({"alpha": [1.4], "T": [[1.2, 1.3]], "spot": [1.1]})
        points.to_parquet(tmp_path / "points.parquet")
        result = batch.run(tmp_path / "points.parquet", tmp_path / "out.parquet", model=model)
        assert list(result.columns) == columns
        assert pq.read_table(tmp_path / "out.parquet").column("value")[0].as_py() == value["value"]


def test_the_record_of_a_fit_and_its_network_have_the_order(trained):
    """fit.json and model.keras, as the command writes them."""
    record = json.loads((trained / "fit.json").read_text())
    assert [tensor["name"] for tensor in record["inputs"]] == INPUTS
    assert [tensor["name"] for tensor in record["outputs"]] == OUTPUTS
    model = keras.models.load_model(trained / "model.keras", compile=False)
    assert (list(model.input), list(model.output)) == (INPUTS, OUTPUTS)


def test_a_record_with_another_order_than_its_model_is_exported_in_its_own(trained, tmp_path):
    """Records written before the order was the caller's name inputs sorted: their positions stay what they were."""
    path = shutil.copytree(trained, tmp_path / "fit")
    record = json.loads((path / "fit.json").read_text())
    record["inputs"].sort(key=lambda tensor: tensor["name"])
    record["outputs"].sort(key=lambda tensor: tensor["name"])
    (path / "fit.json").write_text(json.dumps(record))
    source = read_source(path)
    function = function_of(source.model, inputs=source.inputs, named=source.outputs)
    assert (list(function.inputs), list(function.outputs)) == (sorted(INPUTS), sorted(OUTPUTS))
