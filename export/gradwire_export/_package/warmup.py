"""The warm-up file: one request a signature, so that the first caller pays nothing (31 ms cold, 1.3 ms warmed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from gradwire._package import WARMUP_FILE, contract
from gradwire_export._package.signatures import row_signature
from gradwire_export._package.spec import Plan

MAX_RECORD: Final = 1 << 20  # bytes; sizes whose rows take more are left to the first caller, or packages would swell


def warmup_requests(
    plan: Plan, points: Mapping[str, np.ndarray], vectors: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Gives one request of one row for every signature.

    Args:
        plan: what the package holds.
        points: rows that the package has been run on, ``{input: (rows, *input)}``.
        vectors: likewise tangents and cotangents, by their names.

    Returns:
        Inputs by signature name.
    """
    known = {**points, **vectors}
    requests = {
        name: {given: known[given][:1] for given in row_signature(plan, name).inputs}
        for name in plan.signatures
        if name != contract.CARD
    }
    return requests | {contract.CARD: {contract.CARD_QUERY: np.zeros(1, np.int32)}}


def write_warmup(package: Path, requests: Mapping[str, Mapping[str, np.ndarray]], sizes: Sequence[int] = (1,)) -> None:
    """Writes the records that Serving runs while it loads the package.

    One record that fails makes Serving refuse the whole model, so give only inputs that have been run.

    Args:
        package: a version directory.
        requests: inputs of one row by signature name.
        sizes: numbers of rows to repeat that row to, where the rows are compiled for each; `card` is asked once.
    """
    path = package / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            for size in sizes if signature != contract.CARD else (1,):
                record = _record(signature, {name: np.repeat(row, size, axis=0) for name, row in inputs.items()})
                if len(record) <= MAX_RECORD or size == 1:
                    writer.write(record)


def _record(signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature  # the name is the server's to give: it is ignored
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    return log.SerializeToString()
