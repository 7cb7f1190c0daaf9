"""TensorFlow Serving's services on models and signatures: PredictionService and ModelService."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar, final

import numpy as np
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
)

from gradwire._package import SERVING_DEFAULT
from gradwire_serving._config import models_in
from gradwire_serving._core import (
    Allowance,
    Code,
    Configuration,
    Manager,
    Memory,
    ModelRef,
    Resolver,
    StatusError,
    Turn,
    Version,
    invalid_argument,
    start_predict,
)
from gradwire_serving._grpc.counter import RequestCounter
from gradwire_serving._grpc.methods import Method
from gradwire_serving._wire import PredictCall, model_status, read_request, response

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
SIGNATURE_DEF: Final = "signature_def"  # the only metadata field there is

AnyMessage = TypeVar("AnyMessage", bound=Message)


@final
class PredictionService:
    """Runs signatures and describes them."""

    def __init__(
        self, resolver: Resolver, memory: Memory, counter: RequestCounter, turn: Turn, *, as_content: bool
    ) -> None:
        self._turn = turn
        self._resolver = resolver
        self._counter = counter
        self._memory = memory
        self._as_content = as_content

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by their full name."""
        return {
            PREDICT: self.predict,
            "/tensorflow.serving.PredictionService/GetModelMetadata": self.get_model_metadata,
        }

    def predict(self, data: bytes, deadline: float | None) -> bytes | Future[bytes]:
        """Run a signature: a ``PredictRequest`` in, a ``PredictResponse`` out, later where calls are batched."""
        allowance = Allowance(self._memory, deadline)
        try:
            call = read_request(data, allowance)
        except DecodeError as error:
            raise unparsable() from error
        name = "" if call.spec is None else call.spec.name
        return self._counter.run("Predict", name, lambda: self._predict(call, allowance, deadline))

    def _predict(self, call: PredictCall, allowance: Allowance, deadline: float | None) -> bytes | Future[bytes]:
        model = ref_of(call.spec)
        signature = "" if call.spec is None else call.spec.signature_name
        try:
            version, outputs = start_predict(
                self._resolver, model, signature, call.inputs, call.output_filter, deadline, self._turn
            )
        except BaseException:
            allowance.close()
            raise

        def write(arrays: Mapping[str, np.ndarray]) -> bytes:
            return response(arrays, model.name, version, signature or SERVING_DEFAULT, as_content=self._as_content)

        if isinstance(outputs, Future):
            outputs.add_done_callback(lambda _: allowance.close())
            return then(outputs, write)
        allowance.close()
        return write(outputs)

    def get_model_metadata(self, data: bytes, _deadline: float | None) -> bytes:
        """Return a model's signatures: a ``GetModelMetadataRequest`` in, its response out."""
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


@final
class ModelService:
    """Reports which versions there are or were, and their states, and replaces the models."""

    def __init__(self, manager: Manager, configuration: Configuration) -> None:
        self._manager = manager
        self._configuration = configuration

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by their full name."""
        return {
            "/tensorflow.serving.ModelService/GetModelStatus": self.get_model_status,
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest": self.handle_reload_config_request,
        }

    def get_model_status(self, data: bytes, _deadline: float | None) -> bytes:
        """Return the states of a model's versions, highest first; a label in the request is ignored."""
        model = model_ref(parse(get_model_status_pb2.GetModelStatusRequest, data))
        return model_status(self._manager, model).SerializeToString()

    def handle_reload_config_request(self, data: bytes, _deadline: float | None) -> Future[bytes]:
        """Serve other models; the response comes when each new one has an available version or has failed.

        A config that is refused changes nothing, and one whose models never come does not keep the next from being
        served. (TensorFlow Serving refuses or blocks every later one.)
        """
        request = parse(model_management_pb2.ReloadConfigRequest, data)
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        served = self._configuration.replace(models_in(request.config, self._configuration.models))
        return then(served, lambda failed: _reloaded(failed, request.metric_names))


def then(future: Future[Any], step: Callable[[Any], bytes]) -> Future[bytes]:
    """Return what comes after a future and one more step; it ends with the error of either, or is cancelled."""
    result: Future[bytes] = Future()

    def finish(done: Future[Any]) -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            result.set_result(step(done.result()))
        except BaseException as error:  # noqa: BLE001 - it becomes the call's status
            result.set_exception(error)

    future.add_done_callback(finish)
    result.add_done_callback(lambda done: done.cancelled() and future.cancel())
    return result


def _reloaded(failed: Sequence[tuple[str, Version]], metric_names: Iterable[str]) -> bytes:
    if failed:
        errors = " ".join(
            f"{{{{name: {name} version: {version.number}}} due to error: {version.failure}}},"
            for name, version in failed
        )
        raise StatusError(Code.UNKNOWN, f"{len(failed)} model(s) did not become available: {{{errors} }}")
    response = model_management_pb2.ReloadConfigResponse()
    response.status.SetInParent()
    for name in metric_names:  # the embedded server counts none of them
        response.metric.add(name=name, int64_value_increase=0)
    return response.SerializeToString()


def parse(message: type[AnyMessage], request: bytes) -> AnyMessage:
    """Parse a request; INTERNAL with an empty text where that fails, as in TensorFlow Serving."""
    try:
        return message.FromString(request)
    except DecodeError as error:
        raise unparsable() from error


def unparsable() -> StatusError:
    """Return the error for bytes that are not the method's message."""
    return StatusError(Code.INTERNAL, "")


def model_ref(request: Any) -> ModelRef:
    """Return the model that a request, or a task, names in its ModelSpec."""
    return ref_of(request.model_spec if request.HasField("model_spec") else None)


def ref_of(spec: model_pb2.ModelSpec | None) -> ModelRef:
    """Return the model that a ModelSpec names."""
    if spec is None:
        raise invalid_argument("Missing ModelSpec")
    match spec.WhichOneof("version_choice"):
        case "version":
            return ModelRef(spec.name, spec.version.value)
        case "version_label":
            return ModelRef(spec.name, label=spec.version_label)
        case _:
            return ModelRef(spec.name)


def _check_fields(fields: Sequence[str]) -> None:
    if not fields:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for name in fields:
        if name != SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {name} is not supported")
