"""The states of a model's versions as the message of every front end."""

from __future__ import annotations

from tensorflow_serving.apis import get_model_status_pb2

from gradwire_serving._core import Code, Manager, ModelRef, StatusError


def model_status(manager: Manager, model: ModelRef) -> get_model_status_pb2.GetModelStatusResponse:
    """Return the states of a model's versions, highest first; a label is ignored, as in TensorFlow Serving."""
    versions = manager.versions(model.name)
    if model.version is not None:
        versions = [version for version in versions if version.number == model.version]
        if not versions:
            raise StatusError(Code.NOT_FOUND, f"Could not find version {model.version} of model {model.name}")
    if not versions:
        raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {model.name}")
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        entry = response.model_version_status.add(version=version.number, state=int(version.state))
        entry.status.SetInParent()
        if version.failure is not None:
            entry.status.error_code = int(version.failure.code)
            entry.status.error_message = version.failure.message
    return response
