"""Export as a whole: written, loaded as Serving loads it, compared, put in place; or nothing is left."""

import json
import re
import stat
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import gradwire
import gradwire_export
from gradwire._errors import CheckFailed, ConversionError, PackageError, UsageError
from gradwire_export import _signatures, export

LOG = {"x": tf.TensorSpec((None, 1), tf.float64)}
DOMAIN = {"x": (0.1, 1.9)}


@pytest.fixture(scope="session")
def log_package(tmp_path_factory):
    """tf.math.log as a package, in float64."""
    base = tmp_path_factory.mktemp("models") / "log"
    return export(tf.math.log, to=base, inputs=LOG, domain=DOMAIN, units={"x": "1"})


def leftovers(base: Path) -> list[str]:
    """Everything below a directory."""
    return sorted(str(path.relative_to(base)) for path in base.rglob("*"))


def test_every_model_exports_and_answers_through_a_session(case, tmp_path):
    """Each model of the table passes the checks of export, which run it in a fresh process, and answers in process."""
    keras.utils.set_random_seed(7)
    exported = export(
        case.make(), to=tmp_path / "m", inputs=case.inputs, outputs=case.outputs, domain=None
        if case.domain == (-1.0, 1.0)
        else {"x": case.domain},
    )  # fmt: skip
    assert exported.path == tmp_path / "m" / "1"
    assert max(exported.card.checks["trained_model"]["worst_eps"].values()) <= 32
    assert exported.card.checks["taylor"]["passed"]
    with gradwire.load(exported.path) as model:
        assert set(model.signatures) >= {"serving_default", "value", "card"}
        assert model.card == exported.card


def test_log_answers_to_the_last_bit(log_package):
    """F and df/dx of tf.math.log in float64 equal NumPy's to the last bit or the one beside it."""
    x = np.random.default_rng(1).uniform(0.1, 1.9, 1000)
    with gradwire.load(log_package.path) as log:
        f, df_dx = log.value_and_grad(x)
    np.testing.assert_array_max_ulp(f, np.log(x), 1)
    np.testing.assert_array_max_ulp(df_dx, 1 / x, 1)


def test_the_card_says_what_it_is(log_package):
    """Inputs, domain, units, derivatives, checks, versions and digest are on the card, which is strict JSON."""
    card = json.loads((log_package.path / "assets" / "card.json").read_text(), parse_constant=pytest.fail)
    assert card["inputs"] == [
        {
            "name": "x",
            "dtype": "float64",
            "shape": [1],
            "unit": "1",
            "domain": {"lower": [0.1], "upper": [1.9]},
        }
    ]
    assert card["derivatives"] == {"f": {"x": "df_dx"}}
    assert card["checks"]["zero_rows"] is True
    assert card["versions"]["tensorflow"] == tf.__version__
    assert card["digest"] == gradwire_export.digest(log_package.path)


def test_saved_model_cli_runs_every_signature(log_package, tmp_path):
    """TensorFlow's own tool runs the package."""
    cli = Path(sys.executable).with_name("saved_model_cli")
    np.save(tmp_path / "x.npy", np.array([[0.5], [1.0]]))
    np.save(tmp_path / "query.npy", np.zeros(1, np.int32))
    for signature, name in (("serving_default", "x"), ("value", "x"), ("card", "query")):
        command = [cli, "run", "--dir", log_package.path, "--tag_set", "serve", "--signature_def", signature]
        inputs = ["--inputs", f"{name}={tmp_path / name}.npy"]
        done = subprocess.run([*command, *inputs], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("-0.69314718" in done.stdout) == (signature != "card")


def test_another_user_may_read_the_package(log_package):
    """A container serves as another user than the one who exported."""
    assert stat.S_IMODE(log_package.path.stat().st_mode) == 0o755


def test_versions_count_up_and_are_never_overwritten(tmp_path):
    """The next export is the next version; a version that exists is refused and stays as it is."""
    first = export(tf.math.log, to=tmp_path / "log", inputs=LOG, domain=DOMAIN)
    (tmp_path / "log" / "0000009").mkdir()
    second = export(tf.math.log, to=tmp_path / "log", inputs=LOG, domain=DOMAIN)
    assert (first.path.name, second.path.name) == ("1", "10")
    before = gradwire_export.digest(first.path)
    with pytest.raises(PackageError, match="versions are never overwritten"):
        export(tf.math.log, to=tmp_path / "log", inputs=LOG, domain=DOMAIN, version=1)
    assert gradwire_export.digest(first.path) == before


def test_a_package_that_differs_is_removed(tmp_path, monkeypatch):
    """A derivative that is 1% off fails the comparison with the model, and nothing is left of the version."""
    right = _signatures.value_and_gradients

    def wrong(function, tensors, zeros):
        values, gradients = right(function, tensors, zeros)
        return values, {"f": {"x": gradients["f"]["x"] * 1.01}}

    monkeypatch.setattr(_signatures, "value_and_gradients", wrong)
    with pytest.raises(CheckFailed, match="'df_dx' of serving_default differs from the trained model"):
        export(tf.math.log, to=tmp_path / "models" / "log", inputs=LOG, domain=DOMAIN)
    assert leftovers(tmp_path) == []


class Scaled(tf.Module):
    """Divides by the batch's largest value."""

    def __call__(self, x):
        return x / tf.reduce_max(x)


def _trained_normalisation() -> keras.Model:
    layer = keras.layers.BatchNormalization()
    x = keras.Input((2,), name="x")
    return keras.Model(x, keras.layers.Lambda(lambda y: layer(y, training=True), output_shape=(2,))(x))


COUPLED = {
    "maximum of the batch": (Scaled(), {"x": tf.TensorSpec((None, 1), tf.float32)}),
    "mean of the batch": (lambda x: x - tf.reduce_mean(x), {"x": tf.TensorSpec((None, 1), tf.float64)}),
    "cumulative sum": (tf.cumsum, {"x": tf.TensorSpec((None, 1), tf.float64)}),
    "batch normalisation in training": (_trained_normalisation(), None),
}


@pytest.mark.parametrize("name", COUPLED)
def test_rows_that_depend_on_one_another_are_refused(name, tmp_path):
    """A derivative row by row has no meaning then; the message says which output, and nothing is left."""
    source, inputs = COUPLED[name]
    with pytest.raises(ConversionError, match=r"'.*' of a row depends on the other rows"):
        export(source, to=tmp_path / "m", inputs=inputs)
    assert leftovers(tmp_path) == []


def test_python_code_inside_the_graph_is_refused(tmp_path):
    """numpy_function lives in this process only: the fresh one says so, and nothing is left."""

    @tf.custom_gradient
    def outside(x):
        return tf.ensure_shape(tf.numpy_function(np.log, [x], tf.float64), (None, 1)), lambda up: up / x

    with pytest.raises(CheckFailed, match="fails when served"):
        export(outside, to=tmp_path / "m", inputs=LOG, domain=DOMAIN)
    assert leftovers(tmp_path) == []


BAD = {
    "directory that is no training result": (lambda tmp: tmp, {}, PackageError, "is not a training result"),
    "file that is no model": (lambda tmp: tmp / "broken.keras", {}, PackageError, "as a Keras model"),
    "nothing there": (lambda tmp: tmp / "nowhere", {}, PackageError, "is not a training result"),
    "domain of an unknown input": (
        lambda _: tf.math.log,
        {"domain": {"y": (0, 1)}},
        UsageError,
        "domain names input 'y'",
    ),
    "domain upside down": (lambda _: tf.math.log, {"domain": {"x": (2, 1)}}, UsageError, "lower <= upper"),
    "domain of another shape": (
        lambda _: tf.math.log,
        {"domain": {"x": ([0, 0], [1, 1])}},
        UsageError,
        "rows of shape",
    ),
    "infinite domain": (lambda _: tf.math.log, {"domain": {"x": (0, np.inf)}}, UsageError, "finite lower"),
    "units of an unknown input": (lambda _: tf.math.log, {"units": {"y": "m"}}, UsageError, "units name"),
    "nothing finite": (
        lambda _: tf.math.log,
        {"domain": {"x": (-2, -1)}},
        CheckFailed,
        "finite at none of the points",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_message_and_leaves_nothing(name, tmp_path):
    """Each mistake is named, and no half package stays behind."""
    source, arguments, kind, message = BAD[name]
    (tmp_path / "broken.keras").write_bytes(b"not a zip")
    inputs = LOG if source(tmp_path) is tf.math.log else None
    with pytest.raises(kind, match=message):
        export(source(tmp_path), to=tmp_path / "models" / "m", inputs=inputs, **arguments)
    assert leftovers(tmp_path) == ["broken.keras"]


def test_a_target_that_cannot_be_written_is_refused(tmp_path):
    """A file stands where the directory would go."""
    (tmp_path / "models").write_text("")
    with pytest.raises(PackageError, match="cannot write to"):
        export(tf.math.log, to=tmp_path / "models" / "log", inputs=LOG, domain=DOMAIN)


def test_a_keras_file_exports(tmp_path):
    """A .keras file is a source of its own; what a fit would know is unknown."""
    model = keras.Sequential(
        [keras.Input((2,), name="x"), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)]
    )
    model.save(tmp_path / "net.keras")
    exported = export(tmp_path / "net.keras", to=tmp_path / "models" / "net")
    assert (exported.card.name, exported.card.trained, exported.card.inputs[0].domain) == ("net", None, None)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 2)).astype(np.float32)
    with gradwire.load(tmp_path / "models" / "net") as package:
        np.testing.assert_allclose(package.value(x), np.asarray(model(x))[:, 0], rtol=1e-6)


def test_the_digest_follows_the_weights_and_not_the_card(log_package, tmp_path):
    """Another card is the same function; another weight is not."""
    import shutil

    copy = shutil.copytree(log_package.path, tmp_path / "1")
    (copy / "assets" / "card.json").write_text("{}")
    assert gradwire_export.digest(copy) == log_package.card.digest
    graph = copy / "saved_model.pb"
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert gradwire_export.digest(copy) != log_package.card.digest
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", log_package.card.digest)
