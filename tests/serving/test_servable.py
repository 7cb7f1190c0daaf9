"""A Servable: a package in process, with the results and texts of a server."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from gradwire._errors import PackageError, ServerError
from gradwire_export._package.blocks import MIN_BLOCK, split
from gradwire_serving import Servable
from gradwire_serving._core.floating_point import CAN_FLUSH
from gradwire_serving._core.signature import SMALL

ONE = np.ones((1, 1), np.float32)


@pytest.fixture(scope="module")
def log(models: Path) -> Servable:
    """The model log."""
    return Servable.load(models / "log" / "1")


def test_it_computes_every_output_or_the_selected_ones(log: Servable):
    """An absent signature name means serving_default; no filter means every output."""
    x = np.array([[1.0], [2.0]], np.float32)
    everything = log.run("", {"x": x})
    assert sorted(everything) == ["df_dx", "f"]
    np.testing.assert_allclose(everything["df_dx"], 1 / x + x, rtol=1e-6)
    assert list(log.run("serving_default", {"x": x}, ["f"])) == ["f"]
    assert sorted(log.signature_defs["value"].outputs) == ["f"]


def test_shapes_are_not_checked_and_dtypes_are_not_cast(log: Servable):
    """Any shape that the operations allow passes, as in Serving; a wrong dtype is the runtime's error."""
    assert log.run("", {"x": np.ones(3, np.float32)})["f"].shape == (3,)
    assert log.run("", {"x": np.ones((0, 1), np.float32)})["f"].shape == (0, 1)
    with pytest.raises(ServerError, match=r"^Expects arg\[0\] to be float but double is provided$") as caught:
        log.run("", {"x": np.ones((1, 1))})
    assert caught.value.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("signature", "inputs", "outputs", "code", "message"),
    [
        ("nope", {"x": ONE}, None, "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        ("", {"x": ONE}, ["f", "f"], "INVALID_ARGUMENT", "duplicate output tensor alias: f"),
        (
            "",
            {},
            None,
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            "__saved_model_init_op",
            {},
            None,
            "OUT_OF_RANGE",
            "Node 'NoOp' (type: 'NoOp', num of outputs: 0) does not have output 0",
        ),
    ],
)
def test_a_wrong_call_gets_servings_code_and_text(
    log: Servable,
    signature: str,
    inputs: dict[str, np.ndarray],
    outputs: list[str] | None,
    code: str,
    message: str,
):
    """The exception has the code and the text that were recorded from TensorFlow Serving."""
    with pytest.raises(ServerError) as caught:
        log.run(signature, inputs, outputs)
    assert (caught.value.code, str(caught.value)) == (code, message)


def test_scalars_and_strings_keep_their_form(models: Path):
    """A result of rank 0 is an array of rank 0; strings are object arrays of bytes, zero bytes and all."""
    types = Servable.load(models / "types" / "1")
    b = types.run("scalar", {"a": np.array(1.5)})["b"]
    assert (type(b), b.shape, b.dtype, b.item()) == (np.ndarray, (), np.float64, 3.0)
    o = types.run("strings", {"s": np.array([b"a", b"\xff\x00"], object)})["o"]
    assert (o.dtype, o.tolist()) == (object, [b"a!", b"\xff\x00!"])
    types.close()


def test_an_absent_input_takes_the_signatures_default(models: Path):
    """A SignatureDef's default stands in for an absent input, and only then."""
    defaults = Servable.load(models / "defaults" / "1")
    x = np.ones((1, 3), np.float32)
    assert defaults.run("", {"x": x})["f"][0, 0] == 30
    assert defaults.run("", {"x": x, "t": ONE})["f"][0, 0] == 3
    defaults.close()


def test_many_threads_share_one(log: Servable):
    """Calls from eight threads at once each get their own result."""

    def call(i: int) -> bool:
        x = np.full((i % 7 + 1, 1), 1.0 + i, np.float32)
        return np.allclose(log.run("", {"x": x})["df_dx"], 1 / x + x)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(200)))


def test_a_timeout_stops_the_computation(models: Path):
    """A computation of hours ends with DEADLINE_EXCEEDED."""
    slow = Servable.load(models / "slow" / "1")
    with pytest.raises(ServerError) as caught:
        slow.run("", {"x": np.full((1, 1), 1e8, np.float32)}, timeout=0.05)
    assert (caught.value.code, str(caught.value)) == ("DEADLINE_EXCEEDED", "Deadline Exceeded")
    slow.close()


@pytest.mark.parametrize("timeout", [1e-4, 0.0, -1.0])
def test_a_timeout_below_a_millisecond_is_a_timeout(models: Path, timeout: float):
    """TensorFlow counts whole milliseconds, and takes 0 for no limit: a call out of time must not run for good."""
    slow = Servable.load(models / "slow" / "1")
    with pytest.raises(ServerError, match=r"^Deadline Exceeded$"):
        slow.run("", {"x": np.full((1, 1), 3000.0, np.float32)}, timeout=timeout)
    slow.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Servable, set[int], list[float]]:
    """A model of three signatures, the threads that its operation runs in, and the seconds that it sleeps next."""
    threads: set[int] = set()
    naps: list[float] = []
    spec = tf.TensorSpec([None, 1], tf.float32, name="x")

    def note(x: np.ndarray) -> np.ndarray:
        threads.add(threading.get_ident())
        if naps:
            time.sleep(naps.pop())
        return x

    def noted(tensors: dict[str, Any]) -> dict[str, Any]:
        return {"f": tf.ensure_shape(tf.numpy_function(note, [tensors["x"]], tf.float32), [None, 1])}

    def looped(x: tf.Tensor) -> dict[str, Any]:
        return {"f": tf.while_loop(lambda i, _: i < 1, lambda i, y: (i + 1, noted({"x": y})["f"]), (0, x))[1]}

    functions = {
        "plain": lambda x: noted({"x": x}),
        "looped": looped,
        "in_blocks": lambda x: split(noted, {"f": spec}, MIN_BLOCK)({"x": x}),
    }
    module = tf.Module()
    signatures = {name: tf.function(each, input_signature=[spec]) for name, each in functions.items()}
    path = tmp_path_factory.mktemp("watched")
    tf.saved_model.save(module, str(path), signatures=signatures)
    return Servable.load(path), threads, naps


@pytest.mark.parametrize(
    ("signature", "rows", "here"),
    [
        ("plain", 1, True),
        ("plain", SMALL, True),
        ("plain", SMALL + 1, False),
        ("looped", 1, False),
        ("in_blocks", 0, True),
        ("in_blocks", SMALL, True),
        ("in_blocks", SMALL + 1, False),
    ],
)
def test_small_calls_without_loops_run_in_the_callers_thread(
    watched: tuple[Servable, set[int], list[float]], signature: str, rows: int, here: bool
):
    """What a deadline could stop, a loop, runs in TensorFlow's threads, and so do large calls."""
    servable, threads, _ = watched
    threads.clear()
    x = np.arange(rows, dtype=np.float32)[:, None]
    assert np.array_equal(servable.run(signature, {"x": x}, timeout=60.0)["f"], x)
    assert ({threading.get_ident()} == threads) == (here and CAN_FLUSH)


@pytest.mark.parametrize("rows", [1, SMALL + 1])
def test_denormals_are_zero_whatever_thread_computes(log: Servable, rows: int):
    """As in TensorFlow's own threads; the caller's arithmetic is as before."""
    tiny = np.full((rows, 1), 1e-38, np.float32)
    np.testing.assert_array_equal(log.run("", {"x": tiny})["df_dx"], np.inf)  # of 1/x + x, else 1e38
    assert (tiny / 2 > 0).all()


def test_a_small_call_that_is_late_is_late(watched: tuple[Servable, set[int], list[float]]):
    """In the caller's thread nothing stops a computation, but its result is not passed off as in time."""
    servable, _, naps = watched
    naps.append(0.05)
    with pytest.raises(ServerError, match=r"^Deadline Exceeded$") as caught:
        servable.run("plain", {"x": ONE}, timeout=0.02)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert servable.run("plain", {"x": ONE}, timeout=60.0)["f"] == 1


def test_a_closed_one_refuses(models: Path):
    """After close a call fails, and closing again does nothing."""
    servable = Servable.load(models / "log" / "1")
    servable.close()
    servable.close()
    with pytest.raises(ServerError, match="closed"):
        servable.run("", {"x": ONE})


def test_no_saved_model_and_a_corrupt_one_are_package_errors(models: Path, tmp_path: Path):
    """The message has the directory, the reason and what was expected."""
    with pytest.raises(PackageError, match=r"(?s)does not appear to contain a SavedModel bundle.*gradwire export"):
        Servable.load(tmp_path)
    with pytest.raises(PackageError, match=r"DATA_LOSS: Can't parse .*expected a SavedModel"):
        Servable.load(models / "corrupt" / "1")
