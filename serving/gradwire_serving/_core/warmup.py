"""Warm-up: the requests recorded in a package are run before it serves, so that the first caller pays nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from gradwire._errors import ServerError
from gradwire._package import WARMUP_FILE
from gradwire_serving._core.predict import predict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gradwire_serving._core.servable import Servable

_EAGER_MARKS: Final = re.compile(r"^\{\{.*?\}\} | \[Op:.*$")  # what eager execution adds before and after a text
MAX_RECORDS: Final = 1000  # TensorFlow Serving's own limit


def warm_up(servable: Servable, path: Path) -> None:
    """Runs a package's recorded requests.

    Args:
        servable: the loaded package.
        path: its directory; nothing is done where it has no warm-up file.

    Raises:
        ServerError: a record is damaged, fails, or is one too many, so the package must not serve.
    """
    file = path / WARMUP_FILE
    if not file.exists():
        return
    for count, record in enumerate(_records(file), start=1):
        if count > MAX_RECORDS:
            message = f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {file}"
            raise ServerError(message, code="INVALID_ARGUMENT")
        _replay(servable, record, file)


def _records(file: Path) -> Iterator[Any]:
    try:
        yield from tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    except tf.errors.DataLossError as error:
        text = _EAGER_MARKS.sub("", error.message)
        message = f"{text}. Please verify your warmup data is in TFRecord format."
        raise ServerError(message, code="DATA_LOSS") from error


def _replay(servable: Servable, record: bytes, file: Path) -> None:
    try:
        entry = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        message = f"Failed to parse warmup record: {record.decode(errors='replace')} from {file}"
        raise ServerError(message, code="INVALID_ARGUMENT") from error
    match entry.WhichOneof("log_type"):
        case "predict_log":
            predict(servable, entry.predict_log.request)
        case None:
            pass  # an empty record: TensorFlow Serving lets it pass
        case kind:
            raise ServerError(f"the embedded server replays predict_log only, not {kind}", code="UNIMPLEMENTED")
