"""PredictionService: Predict and GetModelMetadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from google.protobuf.wrappers_pb2 import Int64Value
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from gradwire._errors import ServerError
from gradwire._package import SERVING_DEFAULT
from gradwire_serving._core import predict
from gradwire_serving._grpc.methods import parse
from gradwire_serving._wire import Part, encode, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from gradwire_serving._core import Resolver
    from gradwire_serving._grpc.methods import Method

SIGNATURE_DEF: Final = "signature_def"  # the one metadata field there is

# Numbers of PredictResponse's fields, and of those of a map's entry.
_OUTPUTS: Final = 1
_MODEL_SPEC: Final = 2
_KEY: Final = 1
_VALUE: Final = 2


@final
class PredictionService:
    """Answers requests for values.

    Args:
        resolver: finds the version asked for.
        as_content: answer in ``tensor_content`` instead of the typed fields.
    """

    def __init__(self, resolver: Resolver, *, as_content: bool) -> None:
        self._resolver = resolver
        self._as_content = as_content

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by their full name."""
        return {
            "/tensorflow.serving.PredictionService/Predict": self.predict,
            "/tensorflow.serving.PredictionService/GetModelMetadata": self.get_model_metadata,
        }

    def predict(self, data: bytes, timeout: float | None) -> bytes:
        """Runs a signature: a ``PredictRequest`` in, a ``PredictResponse`` out.

        Raises:
            ServerError: as TensorFlow Serving words it.
        """
        request = parse(predict_pb2.PredictRequest, data)
        with self._resolver.use(request) as (version, servable):
            outputs = predict(servable, request, timeout)
        spec = model_pb2.ModelSpec(
            name=request.model_spec.name,
            version=Int64Value(value=version),
            signature_name=request.model_spec.signature_name or SERVING_DEFAULT,
        )
        return self._response(outputs, spec)

    def get_model_metadata(self, data: bytes, timeout: float | None) -> bytes:
        """Gives a model's signatures: a ``GetModelMetadataRequest`` in, its response out.

        Raises:
            ServerError: as TensorFlow Serving words it.
        """
        request = parse(get_model_metadata_pb2.GetModelMetadataRequest, data)
        if request.HasField("model_spec"):  # a missing one is refused below, and before wrong fields
            _check_fields(request.metadata_field)
        with self._resolver.use(request) as (version, servable):
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response.SerializeToString()

    def _response(self, outputs: Mapping[str, np.ndarray], spec: model_pb2.ModelSpec) -> bytes:
        parts: list[Part] = []
        for alias, array in outputs.items():
            tensor = encode(array, as_content=self._as_content)
            parts += field(_OUTPUTS, *field(_KEY, alias.encode()), *field(_VALUE, *tensor))
        return b"".join([*parts, *field(_MODEL_SPEC, spec.SerializeToString())])


def _check_fields(fields: list[str]) -> None:
    if not fields:
        message = "GetModelMetadataRequest must specify at least one metadata_field"
        raise ServerError(message, code="INVALID_ARGUMENT")
    for name in fields:
        if name != SIGNATURE_DEF:
            raise ServerError(f"Metadata field {name} is not supported", code="INVALID_ARGUMENT")
