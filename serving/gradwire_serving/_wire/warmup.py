"""Warm-up: a package's recorded requests run before it serves, so that the first caller pays nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from gradwire._package import WARMUP_FILE
from gradwire_serving._core import CLASSIFY, REGRESS, Code, Servable, StatusError, invalid_argument, status_of
from gradwire_serving._wire.tensors import TensorMap

MAX_RECORDS: Final = 1000  # TensorFlow Serving's own limit
_EAGER_MARKS: Final = re.compile(r"^\{\{.*?\}\} | \[Op:.*$")  # what eager execution adds before and after a text


def warm_up(servable: Servable, path: Path) -> None:
    """Run a package's recorded requests, if any; a record that is damaged, fails, or is one too many raises."""
    file = path / WARMUP_FILE
    if not file.exists():
        return
    for count, record in enumerate(_records(file), start=1):
        if count > MAX_RECORDS:
            raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}")
        _replay(servable, record, file)


def _records(file: Path) -> Iterator[Any]:
    try:
        yield from tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    except tf.errors.OpError as error:
        status = status_of(error)
        message = _EAGER_MARKS.sub("", status.message)
        if status.code is Code.DATA_LOSS:
            message += ". Please verify your warmup data is in TFRecord format."
        raise StatusError(status.code, message) from error


def _replay(servable: Servable, record: bytes, file: Path) -> None:
    try:
        entry = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        message = f"Failed to parse warmup record: {record.decode(errors='replace')} from {file}"
        raise invalid_argument(message) from error
    match entry.WhichOneof("log_type"):
        case "predict_log":
            request = entry.predict_log.request
            servable.run(request.model_spec.signature_name, TensorMap(request.inputs), request.output_filter)
        case "classify_log" | "regress_log" as kind:
            method = CLASSIFY if kind == "classify_log" else REGRESS
            name = getattr(entry, kind).request.model_spec.signature_name
            raise method.refusal(servable.signature_defs, name)
        case None:
            pass  # an empty record: TensorFlow Serving lets it pass
        case other:
            raise StatusError(Code.UNIMPLEMENTED, f"the embedded server replays predict_log only, not {other}")
