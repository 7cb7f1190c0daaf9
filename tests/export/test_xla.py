"""compile="xla": the same numbers, a few compiled sizes, said on the card, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import gradwire
from gradwire._errors import ConversionError, UsageError
from gradwire_export import export
from gradwire_export._package.xla import MAX_REQUEST, batch_sizes, batching_text, compiled
from gradwire_serving._core import load_version
from gradwire_serving._wire import warm_up

pytestmark = pytest.mark.slow  # compiles every signature in every size

WIDTH = 256  # a wide layer, so that a block is small: 2,048 rows in float64
SIZES = [1, 8, 64, 512, 1024, 2048]
X = {"x": tf.TensorSpec((None, 1), tf.float64)}


def waves(x):
    """A sum of many waves: closed form of f, and by hand of its derivative."""
    steps = tf.range(1, WIDTH + 1, dtype=tf.float64) / WIDTH
    return tf.reduce_sum(tf.sin(x * steps), 1, keepdims=True)


def by_hand(x):
    """What waves gives, and its derivative, in NumPy."""
    steps = np.arange(1, WIDTH + 1) / WIDTH
    return np.sin(x[:, None] * steps).sum(1), (steps * np.cos(x[:, None] * steps)).sum(1)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The waves, compiled, with one signature more than the least."""
    to = tmp_path_factory.mktemp("models") / "waves"
    return export(waves, to=to, inputs=X, signatures=["jvp"], compile="xla")


@pytest.mark.parametrize("rows", [0, 1, 2, 9, 2048, 2049, 5000])
def test_compiled_rows_are_right_at_every_size(package, rows):
    """Filled up, exact, in blocks and with a tail: each row's own value and derivative."""
    x = np.random.default_rng(rows).uniform(-3, 3, rows)
    with gradwire.load(package.path) as model:
        f, df_dx = model.value_and_grad(x)
    expected = by_hand(x)
    np.testing.assert_allclose(f, expected[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(df_dx, expected[1], rtol=1e-12, atol=1e-12)


def test_the_card_says_that_it_is_compiled(package):
    """By what, in which sizes, and what a CPU server needs."""
    assert package.card.compiled == {
        "by": "xla",
        "batch_sizes": SIZES,
        "needs": "--xla_cpu_compilation_enabled=true",
    }


def test_no_warm_up_record_is_above_what_a_batching_server_takes(package):
    """A record of each size for each signature, 1,000 rows in place of 1,024 and none above; one for the card.

    With plain --enable_batching a server takes 1,000 rows at most and refuses a package whose warm-up has more.
    """
    file = package.path / "assets.extra" / "tf_serving_warmup_requests"
    asked: dict[str, list[int]] = {}
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        rows = {proto.tensor_shape.dim[0].size for proto in request.inputs.values()}
        asked.setdefault(request.model_spec.signature_name, []).extend(rows)
    assert SIZES[-2:] == [1024, 2048]
    counts = [*SIZES[:-2], 1000]  # padded to 1,024
    assert asked == {"serving_default": counts, "value": counts, "jvp": counts, "card": [1]}


def test_the_embedded_server_loads_it_with_its_warm_up(package):
    """Every record runs, or the version would not be served."""
    load_version(package.path, warm_up).close()


def test_a_batching_server_is_told_the_same_sizes(package):
    """Increasing, and the last is the largest request, or Serving refuses the model ("must match max_batch_size")."""
    text = (package.path / "batching_params.pbtxt").read_text()
    allowed = [int(line.split()[1]) for line in text.splitlines() if line.startswith("allowed_batch_sizes")]
    assert allowed[: len(SIZES)] == SIZES
    assert allowed == sorted(set(allowed))
    assert allowed[-1] == MAX_REQUEST
    assert f"max_batch_size {{ value: {MAX_REQUEST} }}" in text


@pytest.mark.parametrize("block", [256, 512, 1024, 65536, 131072])
def test_sizes_end_at_the_block(block):
    """There is a size for every number of rows up to a block, and few of them."""
    sizes = batch_sizes(block)
    assert sizes[0] == 1
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == block
    assert len(sizes) <= 12
    assert len(batching_text(sizes).splitlines()) < 40


def test_only_the_sizes_are_compiled():
    """What XLA sees: 0 and 1 rows as 1, 2 as 8, 65 as 512; a large call as full blocks and a filled tail."""

    def seen(tensors):
        rows = tf.shape(tensors["x"])[0]
        return {"f": tf.fill([rows], rows) + tf.zeros_like(tf.repeat(tensors["x"][:1, 0], WIDTH, 0)[0], tf.int32)}

    call = tf.function(compiled("seen", seen, X))
    rows = {count: call({"x": tf.zeros((count, 1), tf.float64)})["f"].numpy() for count in (0, 1, 2, 65)}
    assert rows[0].shape == (0,)
    assert {count: found.tolist() for count, found in rows.items() if count} == {
        1: [1],
        2: [8] * 2,
        65: [512] * 65,
    }


def test_what_xla_cannot_compile_is_refused_by_name(tmp_path):
    """The operation is named, and nothing is left; without compile it exports."""
    with pytest.raises(ConversionError, match="XLA cannot compile signature 'serving_default': Dawsn"):
        export(tf.math.special.dawsn, to=tmp_path / "m", inputs=X, signatures=[], compile="xla")
    assert not (tmp_path / "m").exists()


def test_another_compiler_is_refused(tmp_path):
    """Only xla is known."""
    with pytest.raises(UsageError, match="compile is 'llvm', expected 'xla' or nothing"):
        export(tf.math.exp, to=tmp_path / "m", inputs=X, compile="llvm")
