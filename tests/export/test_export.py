"""Export as a whole: written, loaded as Serving loads it, compared, renamed into place; or nothing is left."""

import contextlib
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
from gradwire_export import export
from gradwire_export._checks.fresh_process import Request, run_fresh
from gradwire_export._package import signatures

LOG = {"x": tf.TensorSpec((None, 1), tf.float64)}
DOMAIN = {"x": (0.1, 1.9)}


pytestmark = pytest.mark.usefixtures("run_in_one_process")


@pytest.fixture(scope="session")
def log_package(tmp_path_factory):
    """tf.math.log as a package, in float64."""
    base = tmp_path_factory.mktemp("models") / "log"
    return export(tf.math.log, to=base, inputs=LOG, domain=DOMAIN, units={"x": "1"})


def leftovers(base: Path) -> list[str]:
    """Everything below a directory."""
    return sorted(str(path.relative_to(base)) for path in base.rglob("*"))


@pytest.mark.slow
def test_log_is_right_to_the_last_bit(log_package):
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
            "species": None,
            "distances": None,
        }
    ]
    assert card["derivatives"] == {"f": {"x": "df_dx"}}
    assert card["second_derivatives"] == {"f": {"x": {"x": "d2f_dx2"}}}
    assert card["signatures"] == ["serving_default", "value", "jvp", "vjp", "hvp", "hessian", "card"]
    assert card["checks"]["zero_rows"] is True
    assert card["versions"]["tensorflow"] == tf.__version__
    assert card["digest"] == gradwire_export.digest(log_package.path)


def test_every_signature_of_log_has_its_closed_form(log_package):
    """By raw call: 1/x, -1/x², and their products with tangents and cotangents, named as the contract says."""
    x, v = np.random.default_rng(1).uniform(0.1, 1.9, (2, 50, 1))
    df, d2f = 1 / x, -1 / x**2
    with gradwire.load(log_package.path) as log:
        actual = {
            "jvp": log.predict("jvp", x=x, x_dot=v),
            "vjp": log.predict("vjp", x=x, f_bar=v),
            "hvp": log.predict("hvp", x=x, x_dot=v),
            "hessian": log.predict("hessian", x=x),
        }
    expected = {
        "jvp": {"f": np.log(x), "f_dot": df * v},
        "vjp": {"f": np.log(x), "x_bar": df * v},
        "hvp": {"f": np.log(x), "df_dx": df, "df_dx_dot": d2f * v},
        "hessian": {"f": np.log(x), "df_dx": df, "d2f_dx2": d2f[:, :, None]},
    }
    for signature, outputs in expected.items():
        assert actual[signature].keys() == outputs.keys()
        for name, array in outputs.items():
            assert actual[signature][name].shape == array.shape
            np.testing.assert_allclose(actual[signature][name], array, rtol=1e-15, atol=1e-15)


def test_warm_up_has_a_record_of_every_signature(log_package):
    """No signature is cold for its first caller."""
    from tensorflow_serving.apis import prediction_log_pb2

    file = log_package.path / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))
    ]
    names = [log.predict_log.request.model_spec.signature_name for log in logs]
    assert set(names) == set(log_package.card.signatures)


@pytest.mark.slow
def test_saved_model_cli_runs_the_package(log_package, tmp_path):
    """TensorFlow's own tool runs it, here a product with the Hessian."""
    cli = Path(sys.executable).with_name("saved_model_cli")
    np.save(tmp_path / "x.npy", np.array([[0.5], [1.0]]))
    command = [cli, "run", "--dir", log_package.path, "--tag_set", "serve", "--signature_def", "hvp"]
    inputs = ["--inputs", f"x={tmp_path / 'x.npy'};x_dot={tmp_path / 'x.npy'}"]
    done = subprocess.run([*command, *inputs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "-0.69314718" in done.stdout


@pytest.mark.slow
def test_a_fresh_process_responds_or_reports_what_fails(log_package, tmp_path):
    """Each request gets its outputs or the reason of its failure; a package that does not load is refused."""
    requests = [Request("value", {"x": np.ones((2, 1))}), Request("value", {"x": np.ones((2, 1), np.int32)})]
    response, failed = run_fresh(log_package.path, requests)
    assert response.outputs["f"].tolist() == [[0.0], [0.0]]
    assert "to be double but int32 is provided" in failed.failure
    with pytest.raises(PackageError, match="does not load in a fresh process"):
        run_fresh(tmp_path, requests)


def test_another_user_may_read_the_package(log_package):
    """A container serves as another user than the one who exported."""
    assert stat.S_IMODE(log_package.path.stat().st_mode) == 0o755


@pytest.mark.slow
def test_versions_count_up_and_are_never_overwritten(tmp_path, without_card_checks):
    """The next export is the next version; a version that exists is refused and stays as it is."""
    first = export(tf.math.log, to=tmp_path / "log", inputs=LOG, domain=DOMAIN, signatures=[])
    (tmp_path / "log" / "0000009").mkdir()
    second = export(tf.math.log, to=tmp_path / "log", inputs=LOG, domain=DOMAIN, signatures=[])
    assert (first.path.name, second.path.name) == ("1", "10")
    before = gradwire_export.digest(first.path)
    with pytest.raises(PackageError, match="versions are never overwritten"):
        export(tf.math.log, to=tmp_path / "log", inputs=LOG, domain=DOMAIN, signatures=[], version=1)
    assert gradwire_export.digest(first.path) == before


def plant(monkeypatch, signature, change):
    """Changes what a signature of every package computes: ``change`` takes and returns outputs by name."""
    right = signatures.signature_body

    def wrong(spec, name):
        body = right(spec, name)
        return (lambda tensors: change(body(tensors))) if name == signature else body

    monkeypatch.setattr(signatures, "signature_body", wrong)


def scaled(tensor, factor):
    """The change that multiplies one output."""
    return lambda outputs: outputs | {tensor: outputs[tensor] * factor}


WRONG = {
    ("serving_default", "df_dx"): "'df_dx' of serving_default",
    ("value", "f"): "'f' of value",
    ("jvp", "f_dot"): "'f_dot' of jvp",
    ("vjp", "x_bar"): "'x_bar' of vjp",
    ("hvp", "df_dx_dot"): "'df_dx_dot' of hvp",
    ("hessian", "d2f_dx2"): "'df_dx_dot' of hessian",
}


@pytest.mark.slow
@pytest.mark.parametrize(("signature", "tensor"), WRONG)
def test_a_signature_that_differs_is_refused(signature, tensor, tmp_path, monkeypatch):
    """Each signature is compared with the model: a tensor that is 1e-3 off is refused, and nothing is left."""
    plant(monkeypatch, signature, scaled(tensor, 1.001))
    chosen = [signature] if signature in ("jvp", "vjp", "hvp", "hessian") else []
    with pytest.raises(CheckFailed, match=f"{WRONG[signature, tensor]} differs from the trained model"):
        export(tf.math.log, to=tmp_path / "models" / "log", inputs=LOG, domain=DOMAIN, signatures=chosen)
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(("eps", "passes"), [(8, True), (100, False)])
def test_a_hundred_eps_of_scale_are_refused_and_eight_are_not(eps, passes, tmp_path, monkeypatch, without_card_checks):
    """The tolerance is between what kernels may differ by (4.3 eps were measured) and the smallest real fault."""
    plant(monkeypatch, "serving_default", scaled("df_dx", 1 + eps * np.finfo(np.float64).eps))
    refused = pytest.raises(CheckFailed, match=r"eps of its scale, allowed 1\d.* by the rounding measured there")
    with contextlib.nullcontext() if passes else refused:
        export(tf.math.log, to=tmp_path / "m", inputs=LOG, domain=DOMAIN, signatures=[])


@pytest.mark.slow
def test_a_row_that_moves_by_a_hundred_eps_in_another_batch_is_refused(tmp_path):
    """The tolerance of rows in other batches is as tight: here a row alone is 1e-14 of the scale off."""

    def coupled(x):
        return tf.math.log(x) + 230 * np.finfo(np.float64).eps / tf.cast(tf.shape(x)[0], x.dtype)

    with pytest.raises(ConversionError, match=r"of a row depends on the other rows of the batch \(row 0 alone\)"):
        export(coupled, to=tmp_path / "m", inputs=LOG, domain=DOMAIN, signatures=[])


@pytest.mark.slow
def test_a_signature_without_one_of_its_outputs_is_refused(tmp_path, monkeypatch):
    """What is missing is named, a second derivative too."""
    plant(monkeypatch, "hessian", lambda outputs: {"f": outputs["f"], "df_dx": outputs["df_dx"]})
    with pytest.raises(CheckFailed, match=r"hessian returns \['df_dx', 'f'\], expected \['df_dx', 'df_dx_dot', 'f'\]"):
        export(tf.math.log, to=tmp_path / "m", inputs=LOG, domain=DOMAIN, signatures=["hessian"])


class Scaled(tf.Module):
    """Divides by the batch's largest value."""

    def __call__(self, x):
        return x / tf.reduce_max(x)


COUPLED = {
    "maximum of the batch": (Scaled(), {"x": tf.TensorSpec((None, 1), tf.float32)}),
    "mean of the batch": (lambda x: x - tf.reduce_mean(x), {"x": tf.TensorSpec((None, 1), tf.float64)}),
    "cumulative sum": (tf.cumsum, {"x": tf.TensorSpec((None, 1), tf.float64)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COUPLED)
def test_rows_that_depend_on_one_another_are_refused(name, tmp_path):
    """A derivative row by row has no meaning then; the message says which output, and nothing is left."""
    source, inputs = COUPLED[name]
    with pytest.raises(ConversionError, match=r"'.*' of a row depends on the other rows"):
        export(source, to=tmp_path / "m", inputs=inputs, signatures=[])
    assert leftovers(tmp_path) == []


class Attention(tf.Module):
    """Attends over the batch."""

    def __call__(self, x):
        return tf.nn.softmax(x @ tf.transpose(x)) @ x


@pytest.mark.slow
def test_attention_over_the_batch_is_refused(tmp_path):
    """A row that looks at its neighbours is told by them."""
    with pytest.raises(ConversionError, match="of a row depends on the other rows"):
        export(Attention(), to=tmp_path / "m", inputs={"x": tf.TensorSpec((None, 2), tf.float32)}, signatures=[])


def test_batch_normalisation_in_training_is_refused(tmp_path):
    """It looks at the whole batch, and changes its own variables: the message says which, and what to do."""
    layer = keras.layers.BatchNormalization(name="norm")
    x = keras.Input((2,), name="x")
    model = keras.Model(x, keras.layers.Lambda(lambda y: layer(y, training=True), output_shape=(2,))(x))
    with pytest.raises(ConversionError, match=r"norm.* as batch normalisation in training mode does"):
        export(model, to=tmp_path / "m")
    assert leftovers(tmp_path) == []


def test_a_step_beside_another_path_is_warned_of_by_name(tmp_path, without_card_checks):
    """The function x + floor(x) has the derivative 1 and jumps: Python warns, and the card says so too."""
    with pytest.warns(gradwire_export.DerivativeWarning, match=r"through Floor \('Floor'\), a step") as caught:
        exported = export(lambda x: x + tf.floor(x), to=tmp_path / "m", inputs=LOG, domain=DOMAIN, signatures=[])
    assert exported.card.checks["warnings"] == [str(warning.message) for warning in caught]


@pytest.mark.slow
def test_parameters_are_passed_and_not_differentiated(tmp_path):
    """With wrt the other inputs, integers too, are parameters: no derivative, no tangent, no cotangent of theirs."""

    def chosen(n, x, scale):
        return tf.gather(tf.constant([1.0, 2.0, 3.0], tf.float64), n) * x**3 * tf.cast(scale, tf.float64)

    inputs = {
        "n": tf.TensorSpec((None, 1), tf.int32),
        "x": tf.TensorSpec((None, 1), tf.float64),
        "scale": tf.TensorSpec((None, 1), tf.float32),
    }
    exported = export(chosen, to=tmp_path / "m", inputs=inputs, wrt=["x"], domain={"n": (0, 2)})
    card = exported.card
    assert (card.derivatives, card.inputs[1].domain) == ({"f": {"x": "df_dx"}}, None)
    n, x, scale = np.array([[0], [1], [2]], np.int32), np.full((3, 1), 2.0), np.ones((3, 1), np.float32)
    with gradwire.load(exported.path) as model:
        outputs = model.predict("hvp", n=n, x=x, scale=scale, x_dot=np.ones((3, 1)))
        assert set(model.signatures["vjp"].inputs) == {"n", "x", "scale", "f_bar"}
        assert set(model.signatures["vjp"].outputs) == {"f", "x_bar"}
    np.testing.assert_allclose(outputs["df_dx"], 3 * x**2 * (n + 1))
    np.testing.assert_allclose(outputs["df_dx_dot"], 6 * x * (n + 1))


def test_an_integer_that_the_model_does_not_take_is_named(tmp_path):
    """Without a domain integers are drawn from 0 to 1; the failure names them, and what to do."""
    inputs = {"n": tf.TensorSpec((None,), tf.int32), "x": tf.TensorSpec((None,), tf.float64)}
    table = tf.constant([1.0], tf.float64)
    with pytest.raises(CheckFailed, match=r"'n' was drawn from 0 to 1: give a domain"):
        export(lambda n, x: tf.gather(table, n) * x, to=tmp_path / "m", inputs=inputs, wrt=["x"], signatures=[])
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_some_outputs_and_signatures(tmp_path, without_card_checks):
    """Of a model's outputs those that are named, and of the signatures those that are chosen."""

    def both(x):
        return {"price": x * x, "bucket": tf.cast(x, tf.int32)}

    exported = export(both, to=tmp_path / "m", inputs=LOG, outputs=["price"], signatures=["vjp"])
    assert [tensor.name for tensor in exported.card.outputs] == ["price"]
    assert exported.card.signatures == ("serving_default", "value", "vjp", "card")
    assert exported.card.second_derivatives == {}
    with gradwire.load(exported.path) as model:
        assert set(model.signatures) == set(exported.card.signatures)


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
    "infinite domain": (lambda _: tf.math.log, {"domain": {"x": (0, np.inf)}}, UsageError, "finite bounds"),
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
        export(source(tmp_path), to=tmp_path / "models" / "m", inputs=inputs, signatures=[], **arguments)
    assert leftovers(tmp_path) == ["broken.keras"]


def test_a_target_that_cannot_be_written_is_refused(tmp_path):
    """A file stands where the directory would go."""
    (tmp_path / "models").write_text("")
    with pytest.raises(PackageError, match="cannot write to"):
        export(tf.math.log, to=tmp_path / "models" / "log", inputs=LOG, domain=DOMAIN)


@pytest.mark.slow
def test_a_keras_file_exports(tmp_path, without_card_checks):
    """A .keras file is a source of its own; what a fit would know is unknown."""
    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
    model.save(tmp_path / "net.keras")
    exported = export(tmp_path / "net.keras", to=tmp_path / "models" / "net")
    assert (exported.card.name, exported.card.trained, exported.card.inputs[0].domain) == ("net", None, None)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 2)).astype(np.float32)
    with gradwire.load(tmp_path / "models" / "net") as package:
        np.testing.assert_allclose(package.value(x), np.asarray(model(x))[:, 0], rtol=1e-6, atol=1e-7)


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
