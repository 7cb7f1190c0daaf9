"""A package's recorded requests, run before it serves: which let it, and which do not (as recorded)."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2

from gradwire._errors import ServerError
from gradwire_serving import Servable
from gradwire_serving._core import Code, Status, StatusError, load_version
from gradwire_serving._wire import warm_up

X = np.array([[1.0], [2.0]], np.float32)


def _record(x: np.ndarray = X, name: str = "x", signature: str = "") -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "other_name_than_served"
    request.model_spec.signature_name = signature
    request.inputs[name].CopyFrom(tf.make_tensor_proto(x))
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()


def _classify() -> bytes:
    log = prediction_log_pb2.ClassifyLog(request=classification_pb2.ClassificationRequest())
    return prediction_log_pb2.PredictionLog(classify_log=log).SerializeToString()


@pytest.fixture
def package(models: Path, tmp_path: Path) -> Path:
    """A copy of the model log, with a place for its warm-up file."""
    shutil.copytree(models / "log" / "1", tmp_path / "1")
    (tmp_path / "1" / "assets.extra").mkdir()
    return tmp_path / "1"


def _write(package: Path, records: list[bytes] | bytes) -> None:
    file = package / "assets.extra" / "tf_serving_warmup_requests"
    if isinstance(records, bytes):
        file.write_bytes(records)
    else:
        with tf.io.TFRecordWriter(str(file)) as writer:
            for record in records:
                writer.write(record)


def _failure(package: Path) -> Status:
    with pytest.raises(StatusError) as caught:
        load_version(package, warm_up)
    return caught.value.status


@pytest.mark.parametrize(
    "records",
    [
        [_record()],
        [_record(signature="value")],
        [_record()] * 1000,
        [],
        b"",
        [b""],
        [_record(np.ones((2, 2), "f4"))],
    ],
    ids=["ok", "signature_value", "1000", "none", "empty_file", "empty_record", "another_shape"],
)
def test_good_records_let_a_package_serve(package: Path, records: list[bytes] | bytes):
    """Requests of any signature, up to a thousand; the model's name in them does not matter."""
    _write(package, records)
    load_version(package, warm_up).close()


@pytest.mark.parametrize(
    ("records", "code", "message"),
    [
        (
            [_record()] * 1001,
            "INVALID_ARGUMENT",
            "Number of warmup records exceeds the maximum (1000) at {file}",
        ),
        (
            b"not a record file",
            "DATA_LOSS",
            (
                "corrupted record at 0 (Is this even a TFRecord file?). Please verify your warmup data is in TFRecord "
                "format."
            ),
        ),
        (
            [b"\xff\xff\xff"],
            "INVALID_ARGUMENT",
            "Failed to parse warmup record: \ufffd\ufffd\ufffd from {file}",
        ),
        (
            [_record(name="y")],
            "INVALID_ARGUMENT",
            (
                "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
                "provided. Inputs expected to be in the request {{y}}, or default input alias set: "
            ),
        ),
        (
            [_record(X.astype("f8"))],
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but double is provided",
        ),
        ([_record(signature="nope")], "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
        ([_classify()], "INVALID_ARGUMENT", "No classification inputs found in SignatureDef: "),
    ],
    ids=["1001", "no_tfrecord", "no_log", "wrong_name", "wrong_dtype", "unknown_signature", "classify"],
)
def test_a_bad_record_keeps_a_package_from_serving(
    package: Path, records: list[bytes] | bytes, code: str, message: str
):
    """The load fails with the real server's code and text."""
    file = package / "assets.extra" / "tf_serving_warmup_requests"
    _write(package, records)
    failure = _failure(package)
    assert failure.code is Code[code]
    assert failure.message.startswith(message.format(file=file))


def test_a_truncated_file_keeps_a_package_from_serving(package: Path):
    """A record cut short is DATA_LOSS."""
    _write(package, [_record()])
    whole = (package / "assets.extra" / "tf_serving_warmup_requests").read_bytes()
    _write(package, whole[:-5])
    status = _failure(package)
    assert status.code is Code.DATA_LOSS
    assert status.message.startswith("truncated record")


def test_without_warm_up_nothing_is_read(package: Path):
    """--enable_model_warmup=false loads a package whatever its file holds."""
    _write(package, b"not a record file")
    load_version(package).close()


def test_a_package_whose_warm_up_fails_is_closed(package: Path):
    """A version that does not serve holds no memory: its Session is closed, whatever the warm-up raised."""
    loaded: list[Servable] = []

    def fail(servable: Servable, path: Path) -> None:
        assert path == package
        loaded.append(servable)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load_version(package, fail)
    with pytest.raises(ServerError, match="closed"):
        loaded[0].run("", {"x": X})
