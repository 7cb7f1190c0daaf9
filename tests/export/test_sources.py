"""What export reads: .keras files, SavedModels, and code in them only on request."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwire
from gradwire._errors import ConversionError, PackageError, UsageError
from gradwire_export import export, row_derivatives
from gradwire_export._checks.fresh_process import Request
from gradwire_export._sources.function import function_of
from gradwire_export._sources.saved_model import SavedFunction
from gradwire_export._sources.source import read_source


def recurrent() -> keras.Model:
    """Two inputs, a loop over one of them, two named outputs."""
    keras.utils.set_random_seed(1)
    x, z = keras.Input((4, 2), name="x"), keras.Input((1,), name="z")
    hidden = keras.layers.GRU(3)(x)
    return keras.Model(
        {"x": x, "z": z},
        {"price": keras.layers.Dense(1)(hidden) * z, "rate": keras.layers.Dense(2)(hidden) + z},
    )


@pytest.fixture(scope="module")
def model():
    """The model that the sources hold."""
    return recurrent()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """It as a SavedModel, exported by Keras."""
    path = tmp_path_factory.mktemp("saved") / "gru"
    model.export(path, verbose=False)
    return path


@pytest.fixture(scope="module")
def rows():
    """Rows of both inputs."""
    generator = np.random.default_rng(0)
    return {name: generator.uniform(-1, 1, (5, *row)).astype("f") for name, row in (("x", (4, 2)), ("z", (1,)))}


def differentiated(function, rows):
    """The outputs and first derivatives of a Function."""
    wrt = {output: ["x", "z"] for output in ("price", "rate")}
    tensors = {name: tf.constant(array) for name, array in rows.items()}
    shapes = {"price": (1,), "rate": (2,)}
    return tf.function(lambda x: row_derivatives(function.call, x, wrt, shapes))(tensors)


@pytest.mark.slow
def test_a_saved_model_has_the_models_derivatives(model, saved, rows):
    """Its loops read variables, so it is frozen: values and derivatives are those of the model in Python."""
    source = read_source(saved)
    function = function_of(source.model, inputs=source.inputs)
    assert (set(function.inputs), set(function.outputs)) == ({"x", "z"}, {"price", "rate"})
    assert function.variables == ()  # frozen
    values, gradients = differentiated(function, rows)  # through loops that TensorFlow has loaded
    expected_values, expected = differentiated(function_of(model), rows)
    for output in ("price", "rate"):
        np.testing.assert_allclose(values[output], expected_values[output], rtol=1e-5, atol=1e-6)
        for wrt in ("x", "z"):
            np.testing.assert_allclose(gradients[output][wrt], expected[output][wrt], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_saved_model_becomes_a_package(run_in_one_process, tmp_path):
    """Without loops its variables stay variables; names are its signature's; it answers through a Session."""
    keras.utils.set_random_seed(2)
    net = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(4, "tanh"), keras.layers.Dense(1)])
    net.export(tmp_path / "saved", verbose=False)
    exported = export(tmp_path / "saved", to=tmp_path / "models" / "net", signatures=[])
    assert dict(exported.card.derivatives) == {"output_0": {"x": "doutput_0_dx"}}
    assert (exported.path / "variables" / "variables.index").exists()
    x = np.random.default_rng(0).uniform(-1, 1, (4, 3)).astype(np.float32)
    with gradwire.load(exported.path) as package:
        np.testing.assert_allclose(package.value(x), np.asarray(net(x))[:, 0], rtol=1e-5)


def test_a_saved_models_signature_is_chosen_by_name(tmp_path):
    """Another than serving_default; one that is not there is named beside those that are."""
    module = tf.Module()
    spec = tf.TensorSpec((None, 1), tf.float64, name="x")
    square = tf.function(lambda x: {"square": x * x}).get_concrete_function(spec)
    cube = tf.function(lambda x: {"cube": x**3}).get_concrete_function(spec)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": square, "cube": cube})
    x = tf.constant([[2.0]], tf.float64)
    assert read_source(tmp_path).model(x)["square"].numpy().tolist() == [[4]]
    assert read_source(tmp_path, signature="cube").model(x)["cube"].numpy().tolist() == [[8]]
    with pytest.raises(UsageError, match=r"no signature 'root', expected one of \['cube', 'serving_default'\]"):
        SavedFunction(tmp_path, "root")


def test_a_signature_of_something_else_is_refused(tmp_path):
    """Only a SavedModel has signatures to choose from."""
    with pytest.raises(UsageError, match="the source is not a SavedModel"):
        export(tf.math.log, to=tmp_path / "m", signature="serving_default")
    with pytest.raises(UsageError, match="is not a SavedModel"):
        read_source(tmp_path, signature="serving_default")


def test_a_broken_saved_model_is_refused(tmp_path):
    """The message says where, in one line."""
    (tmp_path / "saved_model.pb").write_bytes(b"\xff nothing")
    with pytest.raises(PackageError, match="as a SavedModel") as refused:
        read_source(tmp_path)
    assert "\n" not in str(refused.value)


def test_code_in_a_keras_file_runs_only_on_request(tmp_path):
    """A Lambda layer is refused, with the option that would run it; with the option it is the model."""
    x = keras.Input((1,), name="x")
    keras.Model(x, keras.layers.Lambda(lambda y: y * y)(x)).save(tmp_path / "square.keras")
    with pytest.raises(PackageError, match="--unsafe-lambda"):
        read_source(tmp_path / "square.keras")
    model = read_source(tmp_path / "square.keras", unsafe_lambda=True).model
    assert np.asarray(model(np.full((1, 1), 3, np.float32))).tolist() == [[9]]


def test_a_keras_file_names_inputs_and_outputs(model, tmp_path):
    """Inputs by the Keras inputs, outputs by the dict; a single unnamed output is f."""
    model.save(tmp_path / "gru.keras")
    function = function_of(read_source(tmp_path / "gru.keras").model)
    assert (set(function.inputs), set(function.outputs)) == ({"x", "z"}, {"price", "rate"})
    keras.Sequential([keras.Input((2,), name="spot"), keras.layers.Dense(1)]).save(tmp_path / "one.keras")
    one = function_of(read_source(tmp_path / "one.keras").model)
    assert (list(one.inputs), list(one.outputs)) == (["spot"], ["f"])


v1 = tf.compat.v1
PAIRS = ([0, 1], [1.0, 2.0])  # of the tables: parameter n -> factor


def _by_hand(x, n=None):
    """Sine of x times the weights 1 and 2, times the factor of n: value, and derivative with respect to x."""
    factor = 1.0 if n is None else np.array([PAIRS[1][int(index)] for index in n[:, 0]])[:, None]
    return np.sin(x) @ [[1.0], [2.0]] * factor, np.cos(x) * [1.0, 2.0] * factor


def _of_tensorflow_1(path, *, reference=False, table=False, loop=False, several=()):
    """A SavedModel of TensorFlow 1: a graph, a session and what they need."""
    builder = v1.saved_model.Builder(str(path))
    for index, tags in enumerate(several or (["serve"],)):
        with tf.Graph().as_default(), v1.Session() as session:
            inputs = {"x": v1.placeholder(tf.float32, (None, 2), name="x")}
            weight = v1.get_variable(
                "w", initializer=tf.constant([[1.0], [2.0]]) * (1.0 + index), use_resource=not reference
            )
            output = tf.sin(inputs["x"]) @ weight
            if table:
                inputs["n"] = v1.placeholder(tf.int64, (None, 1), name="n")
                pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(PAIRS[0], tf.int64), tf.constant(PAIRS[1]))
                output *= tf.lookup.StaticHashTable(pairs, 0.0).lookup(inputs["n"])
            if loop:
                v1.disable_control_flow_v2()
                output = v1.while_loop(lambda y: y[0, 0] > 9, tf.sin, [output])
                v1.enable_control_flow_v2()
            session.run([v1.global_variables_initializer(), v1.tables_initializer()])
            signatures = {"serving_default": v1.saved_model.predict_signature_def(inputs, {"y": output})}
            if index == 0:
                builder.add_meta_graph_and_variables(session, tags, signatures, main_op=v1.tables_initializer())
            else:
                builder.add_meta_graph(tags, signatures)
    builder.save()
    return path


def _of_tensorflow_2(path, *, mutable=False, loop=False):
    """A SavedModel of TensorFlow 2 with a table, and perhaps a loop that reads a variable."""
    module = tf.Module()
    module.weight = tf.Variable([[1.0], [2.0]])
    keys, values = tf.constant(PAIRS[0], tf.int64), tf.constant(PAIRS[1])
    if mutable:
        module.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, 0.0)
        module.table.insert(keys, values)
    else:
        module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.0)

    def function(x, n):
        y = tf.sin(x) @ module.weight
        if loop:
            y = tf.while_loop(lambda i, _: i < 1, lambda i, _: (i + 1, tf.sin(x) @ module.weight), [0, y])[1]
        return {"y": y * module.table.lookup(n)}

    specs = tf.TensorSpec((None, 2), tf.float32, name="x"), tf.TensorSpec((None, 1), tf.int64, name="n")
    tf.saved_model.save(module, str(path), signatures=tf.function(function).get_concrete_function(*specs))
    return path


FOREIGN = {
    "TensorFlow 1, reference variables": lambda path: _of_tensorflow_1(path, reference=True),
    "TensorFlow 1, variables": _of_tensorflow_1,
    "TensorFlow 1, a table": lambda path: _of_tensorflow_1(path, table=True),
    "TensorFlow 1, a table and reference variables": lambda path: _of_tensorflow_1(path, table=True, reference=True),
    "several tag sets": lambda path: _of_tensorflow_1(path, several=(["serve"], ["train"])),
    "a table": _of_tensorflow_2,
    "a mutable table": lambda path: _of_tensorflow_2(path, mutable=True),
    "a table and a loop": lambda path: _of_tensorflow_2(path, loop=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_saved_model_has_the_derivatives_of_its_closed_form(
    name, tmp_path, run_in_one_process, without_card_checks
):
    """Variables and tables of either TensorFlow come along: a process that has never seen them answers right."""
    exported = export(FOREIGN[name](tmp_path / "saved"), to=tmp_path / "m", wrt=["x"], signatures=[])
    x = np.random.default_rng(0).uniform(-1, 1, (6, 2)).astype("f")
    points = {"x": x}
    if "table" in name:
        points["n"] = np.array([[0], [1]] * 3)
    (response,) = run_in_one_process(exported.path, [Request("serving_default", points)])
    y, dy_dx = _by_hand(x, points.get("n"))
    np.testing.assert_allclose(response.outputs["y"], y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(response.outputs["dy_dx"], dy_dx, rtol=1e-5, atol=1e-6)


def test_tags_choose_a_graph(tmp_path):
    """Another than that of the tag serve; where there is none such, all are named."""
    path = _of_tensorflow_1(tmp_path / "saved", several=(["train"], ["serve", "gpu"]))
    x = np.full((1, 2), 0.5, "f")
    y, _ = _by_hand(x)
    np.testing.assert_allclose(read_source(path, tags=["train"]).model(tf.constant(x))["y"], y, rtol=1e-6)
    for tags, named in ((None, "serve"), (["gpu"], "gpu")):
        with pytest.raises(
            UsageError, match=rf"no graph with the tags {named}, but some with gpu,serve; train: .*--tags"
        ):
            read_source(path, tags=tags)
    with pytest.raises(UsageError, match="tags names"):
        export(tf.math.log, to=tmp_path / "m", tags=["serve"])


def test_a_loop_of_tensorflow_1_is_refused_by_name(tmp_path):
    """Its gradient is not saved with it."""
    path = _of_tensorflow_1(tmp_path / "saved", loop=True)
    with pytest.raises(ConversionError, match=r"saved holds Enter \('while/Enter'\), a loop or branch of TensorFlow 1"):
        read_source(path)
