"""ModelService: GetModelStatus."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from gradwire._errors import ServerError
from gradwire_serving._grpc.methods import parse

if TYPE_CHECKING:
    from gradwire_serving._core import Manager
    from gradwire_serving._grpc.methods import Method


@final
class ModelService:
    """Says which versions there are or were, and how they fare.

    Args:
        manager: knows them.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by their full name."""
        return {"/tensorflow.serving.ModelService/GetModelStatus": self.get_model_status}

    def get_model_status(self, data: bytes, timeout: float | None) -> bytes:
        """Gives the states of a model's versions, highest first; a label in the request is ignored.

        Raises:
            ServerError: as TensorFlow Serving words it.
        """
        request = parse(get_model_status_pb2.GetModelStatusRequest, data)
        if not request.HasField("model_spec"):
            raise ServerError("Missing ModelSpec", code="INVALID_ARGUMENT")
        name = request.model_spec.name
        versions = self._manager.versions(name)
        if request.model_spec.HasField("version"):
            number = request.model_spec.version.value
            versions = [version for version in versions if version.number == number]
            if not versions:
                raise ServerError(f"Could not find version {number} of model {name}", code="NOT_FOUND")
        if not versions:
            raise ServerError(f"Could not find any versions of model {name}", code="NOT_FOUND")
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in versions:
            entry = response.model_version_status.add(version=version.number, state=int(version.state))
            entry.status.SetInParent()
            if version.failure is not None:
                entry.status.error_code = grpc.StatusCode[version.failure.code].value[0]
                entry.status.error_message = version.failure.message
        return response.SerializeToString()
