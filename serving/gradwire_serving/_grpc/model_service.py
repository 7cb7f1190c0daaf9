"""ModelService: GetModelStatus."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from tensorflow_serving.apis import get_model_status_pb2

from gradwire_serving._core import Code, StatusError
from gradwire_serving._grpc.methods import model_ref, parse

if TYPE_CHECKING:
    from gradwire_serving._core import Manager
    from gradwire_serving._grpc.methods import Method


@final
class ModelService:
    """Reports which versions there are or were, and their states.

    Args:
        manager: knows them.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by their full name."""
        return {"/tensorflow.serving.ModelService/GetModelStatus": self.get_model_status}

    def get_model_status(self, data: bytes, _deadline: float | None) -> bytes:
        """Return the states of a model's versions, highest first; a label in the request is ignored.

        Raises:
            StatusError: in TensorFlow Serving's words.
        """
        model = model_ref(parse(get_model_status_pb2.GetModelStatusRequest, data))
        versions = self._manager.versions(model.name)
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
        return response.SerializeToString()
