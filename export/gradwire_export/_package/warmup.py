"""The warm-up file: one request a signature, so that the first caller pays nothing (31 ms cold, 1.3 ms warm)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from gradwire._package import CARD, CARD_QUERY, WARMUP_FILE
from gradwire_export._package.spec import PackageSpec

MAX_RECORD: Final = 1 << 20  # bytes; sizes whose rows take more are left to the first caller, or packages would swell
# Serving with plain --enable_batching refuses larger requests, its own warm-up included, and then the whole model.
MAX_ROWS: Final = 1000


def warmup_requests(spec: PackageSpec, rows: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return a request of one row for every signature, from rows that the package has been run on.

    Of a signature that solves the target is the value of the output there, which ``rows`` has by its name.
    """
    names = (*spec.row_signatures, *spec.solves)
    requests = {name: {key: rows[key][:1] for key in spec.inputs(name)} for name in names}
    return requests | {CARD: {CARD_QUERY: np.zeros(1, np.int32)}}


def write_warmup(package: Path, requests: Mapping[str, Mapping[str, np.ndarray]], sizes: Sequence[int] = (1,)) -> None:
    """Write the records that Serving runs while it loads the package.

    One record that fails makes Serving refuse the whole model, so pass only inputs that have been run. Sizes above
    ``MAX_ROWS`` are left to their first caller, except the next one: a record of ``MAX_ROWS`` is filled up to it.
    """
    path = package / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = sorted({min(size, MAX_ROWS) for size in sizes})
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            for size in counts if signature != CARD else (1,):
                record = _record(signature, {name: np.repeat(row, size, axis=0) for name, row in inputs.items()})
                if len(record) <= MAX_RECORD or size == 1:
                    writer.write(record)


def _record(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature  # the model's name is ignored: the server knows it
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return log.SerializeToString()
