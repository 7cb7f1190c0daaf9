"""A small gRPC server that answers as TensorFlow Serving does, without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import numpy as np
from tests.client.models import curved_fake, log_both, log_fake, multi_fake, same_fake

import gradwire
from gradwire._package.dtypes import BY_NAME
from gradwire._wire import proto
from gradwire._wire.tensor import decode, encode

LABELS = {"stable": 1, "canary": 2}
STATES = {"AVAILABLE": 30, "END": 50}


def packed(array: np.ndarray, dtype: str, message: Any) -> None:
    """Writes an array as the stock server does: into the typed field, never into tensor_content."""
    encode(array, dtype, message)
    known = BY_NAME[dtype]
    if message.tensor_content:
        raw, message.tensor_content = message.tensor_content, b""
        words = np.frombuffer(raw, "<u2" if known.field == "half_val" else known.raw)
        getattr(message, known.field).extend([raw] if known.is_fixed_width else words.tolist())


@dataclass
class StandIn:
    """A server of closed forms.

    Attributes:
        models: by name and version.
        write: how arrays are encoded in answers.
        requests: the PredictRequests that came.
        hook: called with each of them before it is answered; may refuse with ``context.abort``.
        target: where it listens, once started.
        receives: the most bytes of a request; -1 for any number.
        described: the metadata of each request for signatures or states that came.
    """

    models: dict[str, dict[int, gradwire.FakeTransport]] = field(
        default_factory=lambda: {
            "log": {1: log_fake()},
            "log32": {1: log_fake("float32")},
            "multi": {1: multi_fake()},
            "curved": {1: curved_fake()},
            "same32": {1: same_fake("float32")},
            "same64": {1: same_fake("float64")},
            "versions": {
                1: log_fake(),
                2: log_fake(both=lambda x: {k: 2 * v for k, v in log_both(x).items()}),
            },
        }
    )
    write: Callable[[np.ndarray, str, Any], None] = packed
    requests: list[Any] = field(default_factory=list)
    hook: Callable[[Any, grpc.ServicerContext], None] = lambda request, context: None
    target: str = ""
    receives: int = -1
    described: list[dict[str, Any]] = field(default_factory=list)

    def choose(self, spec: Any, context: grpc.ServicerContext) -> tuple[int, gradwire.FakeTransport]:
        """Finds the version asked for, in Serving's words where there is none."""
        if spec.version_label:
            if spec.name != "versions" or spec.version_label not in LABELS:
                text = f"Unrecognized servable version label: {spec.version_label}"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
            return LABELS[spec.version_label], self.models[spec.name][LABELS[spec.version_label]]
        versions = self.models.get(spec.name, {})
        number = spec.version.value if spec.HasField("version") else max(versions, default=0)
        if number not in versions:
            asked = f"Specific({spec.name}, {number})" if spec.HasField("version") else f"Latest({spec.name})"
            context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
        return number, versions[number]

    def predict(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Answers Predict."""
        request = proto.PredictRequest.FromString(data)
        self.requests.append(request)
        self.hook(request, context)
        number, fake = self.choose(request.model_spec, context)
        signature = fake.signatures(timeout=0)[request.model_spec.signature_name]
        inputs = {name: decode(tensor, name) for name, tensor in request.inputs.items()}
        call = gradwire.Call(signature, inputs, list(request.output_filter) or None)
        outputs = fake.predict(call, timeout=0)
        answer = proto.PredictResponse(model_spec=request.model_spec)
        answer.model_spec.ClearField("version_label")
        answer.model_spec.version.value = number
        for name, array in outputs.items():
            self.write(np.asarray(array), signature.outputs[name].dtype, answer.outputs[name])
        return answer.SerializeToString()

    def metadata(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Answers GetModelMetadata, with the pseudo-signature that every SavedModel has."""
        spec = proto.MetadataRequest.FromString(data).model_spec
        number, fake = self.choose(spec, context)
        found = proto.SignatureDefMap()
        found.signature_def["__saved_model_init_op"].outputs["init"].tensor_shape.unknown_rank = True
        for name, signature in fake.signatures(timeout=0).items():
            entry = found.signature_def[name]
            for specs, tensors in ((signature.inputs, entry.inputs), (signature.outputs, entry.outputs)):
                for spec in specs.values():
                    tensors[spec.name].dtype = BY_NAME[spec.dtype].number
                    for size in spec.shape:
                        tensors[spec.name].tensor_shape.dim.add(size=-1 if size is None else size)
        answer = proto.MetadataResponse()
        answer.model_spec.name = spec.name
        answer.model_spec.version.value = number
        answer.metadata["signature_def"].value = found.SerializeToString()
        return answer.SerializeToString()

    def status(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Answers GetModelStatus: every version is available, and the one above could not be loaded."""
        name = proto.StatusRequest.FromString(data).model_spec.name
        if name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        answer = proto.StatusResponse()
        bad = answer.model_version_status.add(version=max(self.models[name]) + 1, state=STATES["END"])
        bad.status.error_code, bad.status.error_message = 15, "truncated"
        for version in sorted(self.models[name], reverse=True):
            answer.model_version_status.add(version=version, state=STATES["AVAILABLE"])
        return answer.SerializeToString()

    def noted(self, data: bytes, context: grpc.ServicerContext, method: Callable[..., bytes]) -> bytes:
        """Answers a request for signatures or states, and keeps its metadata."""
        self.described.append(dict(context.invocation_metadata()))
        return method(data, context)

    def start(self, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None) -> grpc.Server:
        """Serves on an address; port 0 takes a free one, which ``target`` then names."""
        server = grpc.server(
            futures.ThreadPoolExecutor(8),
            options=[("grpc.max_receive_message_length", self.receives), ("grpc.so_reuseport", 0)],
        )
        for path, method in (
            (proto.PREDICT, self.predict),
            (proto.GET_MODEL_METADATA, partial(self.noted, method=self.metadata)),
            (proto.GET_MODEL_STATUS, partial(self.noted, method=self.status)),
        ):
            service, name = path[1:].split("/")
            handlers = {name: grpc.unary_unary_rpc_method_handler(method)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        add = server.add_insecure_port
        port = add(address) if credentials is None else server.add_secure_port(address, credentials)
        self.target = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        server.start()
        return server
