"""The stock tensorflow-serving-api client against Gradwire's embedded server: what its users write by hand today."""

from __future__ import annotations

import grpc
import numpy as np
import tensorflow as tf
from _wire import run
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Serving:
    packages = ("tensorflow-serving-api", "tensorflow")

    def serve(self, port: int) -> None:
        raise NotImplementedError("it has no server")

    def connect(self, target: str) -> None:
        channel = grpc.insecure_channel(target, UNLIMITED)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def both(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "log", "serving_default"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(x[:, None]))
        outputs = self.stub.Predict(request, timeout=60).outputs
        return tf.make_ndarray(outputs["f"])[:, 0], tf.make_ndarray(outputs["df_dx"])[:, 0]


if __name__ == "__main__":
    run(Serving(), has_server=False)
