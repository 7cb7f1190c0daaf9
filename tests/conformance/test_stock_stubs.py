"""The stubs of the package tensorflow-serving-api, as other people's programs use them."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
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


@pytest.mark.parametrize(
    ("service", "method", "request_message"),
    [
        ("Prediction", "Classify", classification_pb2.ClassificationRequest()),
        ("Prediction", "Regress", regression_pb2.RegressionRequest()),
        ("Prediction", "MultiInference", inference_pb2.MultiInferenceRequest()),
        ("Model", "HandleReloadConfigRequest", model_management_pb2.ReloadConfigRequest()),
    ],
)
def test_what_the_embedded_server_does_not_offer_is_unimplemented(
    plain: grpc.Channel, service: str, method: str, request_message: object
):
    """A call that is not offered is refused as the real server refuses an unknown one: no text."""
    stubs = {
        "Prediction": prediction_service_pb2_grpc.PredictionServiceStub,
        "Model": model_service_pb2_grpc.ModelServiceStub,
    }
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stubs[service](plain), method)(request_message, timeout=60)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "")
