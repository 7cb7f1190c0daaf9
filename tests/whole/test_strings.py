"""Strings as inputs, at every door: they pass, or are refused in one line by the input's name, with what to do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

import gradwire
from gradwire import Card, CardTensor, FakeTransport, Model, Signature, TensorSpec, batch
from gradwire._cli.main import app, main
from gradwire._cli.plot import slices
from gradwire._cli.query import draw_points, resolve_query
from gradwire._errors import ConversionError, DataError, DTypeError, GradwireError, UsageError
from gradwire_export import export
from gradwire_training import Samples, Value, fit

SPECS = {"s": tf.TensorSpec((None, 1), tf.string), "x": tf.TensorSpec((None, 1), tf.float32)}
WORDS, X = ["a", "b", "?"], [1.0, 2.0, 3.0]
FACTORS = {"a": 1.0, "b": 2.0}  # 0.5 for other words


def function():
    """A callable with a table."""
    keys, values = tf.constant(list(FACTORS)), tf.constant(list(FACTORS.values()))
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), 0.5)
    return lambda s, x: tf.sin(x) * table.lookup(s)


def keras_model():
    """A Keras model of a StringLookup and a number."""
    s, x = keras.Input((1,), name="s", dtype="string"), keras.Input((1,), name="x")
    found = keras.layers.Embedding(3, 2)(keras.layers.StringLookup(vocabulary=["a", "b"])(s))
    return keras.Model([s, x], keras.layers.Dense(1)(keras.layers.Concatenate()([keras.layers.Flatten()(found), x])))


class Saved(tf.Module):
    """The function, to be saved."""

    def __init__(self) -> None:
        super().__init__()
        table = tf.lookup.KeyValueTensorInitializer(tf.constant(list(FACTORS)), tf.constant(list(FACTORS.values())))
        self.table = tf.lookup.StaticHashTable(table, 0.5)

    @tf.function(input_signature=list(SPECS.values()))
    def __call__(self, s, x):
        return {"f": tf.sin(x) * self.table.lookup(s)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The directory of a stock SavedModel: no card, and strings."""
    path, module = tmp_path_factory.mktemp("strings") / "saved" / "1", Saved()
    tf.saved_model.save(module, str(path), signatures=module.__call__)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table with a column of words."""
    path = tmp_path_factory.mktemp("strings") / "words.csv"
    path.write_text("s,x,f\na,1,0.8\nb,2,1.8\na,3,0.1\n")
    return path


def stranger() -> Model:
    """A model whose card has an input of strings, such as somebody else may write."""

    def called(s, x):
        factor = np.array([[FACTORS.get(word.decode(), 0.5)] for word in s.ravel()], np.float32)
        return {"f": factor * np.sin(x), "df_dx": factor * np.cos(x)}

    spec = {
        name: TensorSpec(name, "string" if name == "s" else "float32", (None, 1)) for name in ("s", "x", "f", "df_dx")
    }
    inputs, outputs = ({name: spec[name] for name in names} for names in (("s", "x"), ("f", "df_dx")))
    tensors = {name: CardTensor(name, spec[name].dtype, (1,)) for name in ("s", "x", "f")}
    card = Card(
        "words", (tensors["s"], tensors["x"]), (tensors["f"],), {"f": {"x": "df_dx"}}, ("serving_default", "card")
    )
    signature = Signature("serving_default", inputs, outputs)
    return Model(FakeTransport({"serving_default": called}, card=card, signatures=[signature]))


def in_batch(model, table):
    """Its inputs alone in a file."""
    rows = table.with_name("rows.csv")
    rows.write_text("s,x\na,1\n")
    batch.run(rows, table.with_name("results.csv"), model=model)


def test_a_client_calls_with_strings(saved):
    """By any method, text or bytes; in process, and by the command, whose words are split like numbers."""
    expected = np.sin(X) * [1, 2, 0.5]
    with gradwire.load(saved) as model:
        for words in (WORDS, [word.encode() for word in WORDS], np.array(WORDS, object)):
            outputs = model.predict("serving_default", s=np.reshape(words, (-1, 1)), x=np.reshape(X, (-1, 1)))
            np.testing.assert_allclose(outputs["f"].ravel(), expected, rtol=1e-6)
    values, derivatives = stranger().value_and_grad(WORDS, X)
    np.testing.assert_allclose(values["f"], expected, rtol=1e-6)
    np.testing.assert_allclose(derivatives["f"]["x"], np.cos(X) * [1, 2, 0.5], rtol=1e-6)
    points = ["--input", "s= a; b ;?", "--input", "x=1;2;3", "--format", "csv"]
    printed = CliRunner().invoke(app, ["query", str(saved), "--signature", "serving_default", *points])
    assert printed.exit_code == 0, printed.output
    header, *rows = [line.split(",") for line in printed.stdout.splitlines()]
    assert header == ["s", "x", "f"]
    assert [row[0] for row in rows] == WORDS
    np.testing.assert_allclose([float(row[2]) for row in rows], expected, rtol=1e-6)


BEHIND = (
    "input 's' is string, and a package takes numbers: look the strings up before the call, and export the model behind"
)
NO_POINTS = "input 's' is string, of which no points can be drawn: call the model at points of your own"
BY_ITSELF = "input 's' is string, and tables hold numbers: give it by itself, gradwire query --input s=TEXT"
NUMERIC = Samples({"s": [0.0, 1.0, 0.0], "x": X}, {"f": X})
Doors = dict[str, tuple[object, type[GradwireError], str]]

EXPORTS: Doors = {
    "a function": (lambda to, _: export(function(), to=to, inputs=SPECS, wrt=["x"]), ConversionError, BEHIND),
    "a function, differentiated": (lambda to, _: export(function(), to=to, inputs=SPECS), ConversionError, BEHIND),
    "a function, with a domain": (
        lambda to, _: export(function(), to=to, inputs=SPECS, wrt=["x"], domain={"s": ("a", "b")}),
        ConversionError,
        BEHIND,
    ),
    "a function, compiled": (
        lambda to, _: export(function(), to=to, inputs=SPECS, wrt=["x"], compile="xla"),
        ConversionError,
        BEHIND,
    ),
    "a StringLookup": (lambda to, _: export(keras_model(), to=to, wrt=["x"]), ConversionError, BEHIND),
    "a SavedModel": (lambda to, saved: export(saved, to=to, wrt=["x"]), ConversionError, BEHIND),
    "an output": (
        lambda to, _: export(lambda x: {"f": x, "t": tf.strings.as_string(x)}, to=to, inputs={"x": SPECS["x"]}),
        ConversionError,
        r"output 't' is string: only floating-point numbers have derivatives; leave it out, outputs=\[…\]",
    ),
}


@pytest.mark.parametrize("door", EXPORTS)
def test_a_package_takes_no_strings(door, saved, tmp_path):
    """Whatever is exported, and before anything is written."""
    go, kind, message = EXPORTS[door]
    with pytest.raises(kind, match=message) as refused:
        go(tmp_path / "m", saved)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "m").exists()


FITS: Doors = {
    "a StringLookup": (
        lambda _: fit(keras_model(), NUMERIC, loss=Value(), steps=2),
        UsageError,
        "x 's' of the model is string, and a fit takes numbers: fit the model behind the lookup",
    ),
    "samples": (
        lambda _: Samples({"s": WORDS, "x": X}, {"f": X}),
        DataError,
        "x 's' has dtype <U1, expected real numbers: .* words become numbers by a column of 0 and 1 for each",
    ),
    "a table": (
        lambda table: Samples.read(table, inputs=["s", "x"], outputs=["f"]),
        DataError,
        "column 's' holds 'a' in row 0 .*, expected a number: .* make numbers of words: a column of 0 and 1 for each",
    ),
}


@pytest.mark.parametrize("door", FITS)
def test_a_fit_takes_no_strings(door, table):
    """Neither from a model nor from its rows."""
    go, kind, message = FITS[door]
    with pytest.raises(kind, match=message) as refused:
        go(table)
    assert "\n" not in str(refused.value)


CALLS: Doors = {
    "numbers": (lambda model, _: model.value([1.0], [2.0]), DTypeError, "input 's' holds float64, expected string"),
    "verify": (lambda model, _: gradwire.verify(model), UsageError, NO_POINTS),
    "verify rows": (lambda model, _: gradwire.verify(model, rows={"s": WORDS, "x": X}), UsageError, NO_POINTS),
    "random points": (lambda model, _: draw_points(model, resolve_query(model, "value"), 3, 0), UsageError, NO_POINTS),
    "plot": (lambda model, _: slices(model, ["x"], points=3), UsageError, NO_POINTS),
    "evaluate": (gradwire.evaluate, DataError, BY_ITSELF),
    "batch": (in_batch, DataError, BY_ITSELF),
}


@pytest.mark.parametrize("door", CALLS)
def test_what_draws_points_or_reads_tables_refuses_a_strangers_strings(door, table):
    """A card of somebody else's may have them."""
    go, kind, message = CALLS[door]
    with pytest.raises(kind, match=message) as refused:
        go(stranger(), table)
    assert "\n" not in str(refused.value)
    assert not table.with_name("results.csv").exists()


COMMANDS = {
    "export": (["export", "{saved}", "--to", "{to}", "--wrt", "x"], BEHIND),
    "train": (["train", "{table}", "--inputs", "s,x", "--outputs", "f", "--to", "{to}"], "make numbers of words"),
    "query a table": (["query", "{saved}", "--signature", "serving_default", "--input", "@{table}"], BY_ITSELF),
    "query a column": (
        ["query", "{saved}", "--signature", "serving_default", "--input", "s=@{table}", "--input", "x=1"],
        BY_ITSELF,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("door", COMMANDS)
def test_a_command_says_it_in_one_line(door, saved, table, tmp_path, capfd, monkeypatch):
    """With the exit code of a mistake."""
    words, message = COMMANDS[door]
    monkeypatch.setattr(
        "sys.argv", ["gradwire", *(word.format(saved=saved, table=table, to=tmp_path / "m") for word in words)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    told = capfd.readouterr().err.strip()
    assert ended.value.code in (1, 2)
    assert message in told
    assert told.splitlines()[-1].startswith("gradwire: ")
    assert not (tmp_path / "m").exists()
