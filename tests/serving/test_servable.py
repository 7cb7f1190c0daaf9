"""A Servable: a package in process, with the results and texts of a server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gradwire._errors import PackageError, ServerError
from gradwire_serving import Servable

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
