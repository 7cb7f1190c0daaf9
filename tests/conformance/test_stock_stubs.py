"""The stubs of the package tensorflow-serving-api, as other people's programs use them."""

from __future__ import annotations

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def test_predict_with_the_stock_stub(plain: grpc.Channel):
    """The response to a PredictRequest of tf.make_tensor_proto has values that tf.make_ndarray reads."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(plain)
    x = np.array([[1.0], [2.0], [4.0]], np.float32)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "log"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
    response = stub.Predict(request, timeout=60)
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["f"]), np.log(x) + 0.5 * x * x, rtol=1e-6)
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["df_dx"]), 1 / x + x, rtol=1e-6)
    assert response.model_spec.version.value == 1


def test_metadata_with_the_stock_stub(plain: grpc.Channel):
    """GetModelMetadata packs the signatures as the stock message."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(plain)
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "multi"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert stub.GetModelMetadata(request, timeout=60).metadata["signature_def"].Unpack(signatures)
    assert sorted(signatures.signature_def["serving_default"].inputs) == ["t", "x"]


def test_status_with_the_stock_stub(plain: grpc.Channel):
    """GetModelStatus returns the stock message."""
    stub = model_service_pb2_grpc.ModelServiceStub(plain)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "versions"
    statuses = stub.GetModelStatus(request, timeout=60).model_version_status
    assert [(status.version, status.state) for status in statuses] == [(2, 30), (1, 30)]
