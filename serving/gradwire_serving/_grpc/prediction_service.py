"""PredictionService: Predict and GetModelMetadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from google.protobuf.wrappers_pb2 import Int64Value
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from gradwire._package import SERVING_DEFAULT
from gradwire_serving._core import invalid_argument
from gradwire_serving._grpc.methods import model_ref, parse
from gradwire_serving._wire import Part, TensorMap, encode, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from gradwire_serving._core import PredictHandler, Resolver
    from gradwire_serving._grpc.methods import Method

SIGNATURE_DEF: Final = "signature_def"  # the only metadata field there is

# Numbers of PredictResponse's fields, and of those of a map's entry.
_OUTPUTS: Final = 1
_MODEL_SPEC: Final = 2
_KEY: Final = 1
_VALUE: Final = 2


@final
class PredictionService:
    """Runs signatures and describes them.

    Args:
        resolver: finds the servable to describe.
        handler: runs signatures.
        as_content: respond in ``tensor_content`` instead of the typed fields.
    """

    def __init__(self, resolver: Resolver, handler: PredictHandler, *, as_content: bool) -> None:
        self._resolver = resolver
        self._handler = handler
        self._as_content = as_content

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by their full name."""
        return {
            "/tensorflow.serving.PredictionService/Predict": self.predict,
            "/tensorflow.serving.PredictionService/GetModelMetadata": self.get_model_metadata,
        }

    def predict(self, data: bytes, deadline: float | None) -> bytes:
        """Run a signature: a ``PredictRequest`` in, a ``PredictResponse`` out.

        Raises:
            StatusError: in TensorFlow Serving's words.
        """
        request = parse(predict_pb2.PredictRequest, data)
        model, signature = model_ref(request), request.model_spec.signature_name
        inputs = TensorMap(request.inputs)
        version, outputs = self._handler.predict(model, signature, inputs, request.output_filter, deadline)
        spec = model_pb2.ModelSpec(
            name=model.name, version=Int64Value(value=version), signature_name=signature or SERVING_DEFAULT
        )
        return self._response(outputs, spec)

    def get_model_metadata(self, data: bytes, _deadline: float | None) -> bytes:
        """Return a model's signatures: a ``GetModelMetadataRequest`` in, its response out.

        Raises:
            StatusError: in TensorFlow Serving's words.
        """
        request = parse(get_model_metadata_pb2.GetModelMetadataRequest, data)
        model = model_ref(request)
        _check_fields(request.metadata_field)
        with self._resolver.use(model) as (version, servable):
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = model.name
        response.model_spec.version.value = version
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return response.SerializeToString()

    def _response(self, outputs: Mapping[str, np.ndarray], spec: model_pb2.ModelSpec) -> bytes:
        parts: list[Part] = []
        for alias, array in outputs.items():
            tensor = encode(array, as_content=self._as_content)
            parts += field(_OUTPUTS, *field(_KEY, alias.encode()), *field(_VALUE, *tensor))
        return b"".join([*parts, *field(_MODEL_SPEC, spec.SerializeToString())])


def _check_fields(fields: Sequence[str]) -> None:
    if not fields:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for name in fields:
        if name != SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {name} is not supported")
