"""TensorFlow Serving's REST API: which path does what."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from gradwire._package import SERVING_DEFAULT
from gradwire_serving._core import CLASSIFY, REGRESS, ExampleMethod, Manager, ModelRef, Resolver, invalid_argument
from gradwire_serving._metrics import Metrics
from gradwire_serving._rest import json_text
from gradwire_serving._rest.requests import check_examples, signature_name, tensors_of
from gradwire_serving._rest.responses import body_of
from gradwire_serving._wire import model_status

API: Final = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)  # every other path is not this API's

_NAME: Final = r"([^/:]+)"
_VERSION: Final = rf"(?:/versions/(\d+)|/labels/{_NAME})?"
_CALL: Final = re.compile(rf"/v1/models/{_NAME}{_VERSION}:(classify|regress|predict)", re.IGNORECASE | re.ASCII)
_MODEL: Final = re.compile(rf"/v1/models(?:/{_NAME})?{_VERSION}(?:/(metadata))?", re.IGNORECASE | re.ASCII)
_MAX_VERSION: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Route:
    """What a request asks for.

    Attributes:
        method: ``predict``, ``classify``, ``regress``, ``metadata``, or empty for the states of the versions.
        model: the model that it names.
    """

    method: str
    model: ModelRef


def route_of(http_method: str, path: str) -> Route:
    """Return what a request asks for; INVALID_ARGUMENT where the API has no such path and method."""
    pattern = {"POST": _CALL, "GET": _MODEL}.get(http_method)
    matched = pattern and pattern.fullmatch(path)
    if not matched:
        raise invalid_argument(f"Malformed request: {http_method} {path}")
    name, version, label, method = matched.groups()
    if name is None:
        raise invalid_argument("Missing model name in request.")
    if version and int(version) > _MAX_VERSION:
        raise invalid_argument(f"Failed to convert version: {version} to numeric.")
    return Route((method or "").lower(), ModelRef(name, int(version) if version else None, label))


@final
class Methods:
    """The methods of the API, over the core."""

    def __init__(self, resolver: Resolver, manager: Manager, metrics: Metrics | None) -> None:
        self._resolver = resolver
        self._manager = manager
        self._metrics = metrics
        self._methods: Mapping[str, Callable[[ModelRef, bytes, float], str]] = {
            "": self._status,
            "metadata": self._metadata,
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
        }

    def run(self, route: Route, body: bytes, deadline: float) -> str:
        """Return the body of a response, in time for an instant of ``time.monotonic``; or a StatusError."""
        return self._methods[route.method](route.model, body, deadline)

    def _status(self, model: ModelRef, _body: bytes, _deadline: float) -> str:
        return f"{_message_text(model_status(self._manager, model))}\n"

    def _metadata(self, model: ModelRef, _body: bytes, _deadline: float) -> str:
        with self._resolver.use(model) as (version, servable):
            signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signature_defs)
        spec = model_pb2.ModelSpec(name=model.name, version=Int64Value(value=version))
        return f'{{\n"model_spec":{_message_text(spec)}\n,\n"metadata": {{"signature_def": {_message_text(signatures)}\n}}\n}}\n'

    def _predict(self, model: ModelRef, body: bytes, deadline: float) -> str:
        document = json_text.parse(body)
        name = signature_name(document)
        with self._resolver.use(model) as (_, servable):
            signature = servable.signature_defs.get(name or SERVING_DEFAULT)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            if not signature.inputs:
                raise invalid_argument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
            form, inputs = tensors_of(document, dict(signature.inputs))
            start = time.monotonic()
            outputs = servable.run(name, inputs, timeout=deadline - start)
            if self._metrics is not None:
                self._metrics.computation(model.name, time.monotonic() - start)
        return body_of(outputs, form)

    def _classify(self, model: ModelRef, body: bytes, _deadline: float) -> NoReturn:
        self._refuse_examples(model, body, CLASSIFY)

    def _regress(self, model: ModelRef, body: bytes, _deadline: float) -> NoReturn:
        self._refuse_examples(model, body, REGRESS)

    def _refuse_examples(self, model: ModelRef, body: bytes, method: ExampleMethod) -> NoReturn:
        document = json_text.parse(body)
        name = signature_name(document)
        check_examples(document)
        with self._resolver.use(model) as (_, servable):
            raise method.refusal(servable.signature_defs, name)


def _message_text(message: Message) -> str:
    options: dict[str, Any] = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    return json_format.MessageToJson(message, indent=1, **options)
