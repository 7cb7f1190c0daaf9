"""grpc.reflection, by which tools such as grpcurl learn the services: v1alpha as TensorFlow Serving has it, and v1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final, final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

from gradwire_serving._grpc.methods import Calls, aborting
from gradwire_serving._grpc.services import parse

REFLECTION: Final = "grpc.reflection.v1alpha.ServerReflection"
SERVING_SERVICES: Final = tuple(
    service.full_name
    for file in (model_service_pb2, prediction_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
METHODS: Final = (f"/{REFLECTION}/ServerReflectionInfo", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")

# The parts of github.com/grpc/grpc/blob/master/src/proto/grpc/reflection/v1/reflection.proto that are used here.
_PROTO: Final = """
name: "gradwire/reflection.proto" package: "gradwire.reflection" syntax: "proto3"
message_type {
  name: "Request"
  field { name: "host" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "file_by_filename" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "file_containing_symbol" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "list_services" number: 7 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  oneof_decl { name: "message_request" }
}
message_type { name: "Files" field { name: "file" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "Service" field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
message_type {
  name: "Services"
  field { name: "service" number: 1 type: TYPE_MESSAGE type_name: ".gradwire.reflection.Service" label: LABEL_REPEATED }
}
message_type {
  name: "Error"
  field { name: "error_code" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "error_message" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type {
  name: "Response"
  field { name: "valid_host" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field {
    name: "original_request" number: 2 type: TYPE_MESSAGE type_name: ".gradwire.reflection.Request" label: LABEL_OPTIONAL
  }
  field { name: "files" number: 4 type: TYPE_MESSAGE type_name: ".gradwire.reflection.Files" label: LABEL_OPTIONAL }
  field { name: "services" number: 6 type: TYPE_MESSAGE type_name: ".gradwire.reflection.Services" label: LABEL_OPTIONAL }
  field { name: "error" number: 7 type: TYPE_MESSAGE type_name: ".gradwire.reflection.Error" label: LABEL_OPTIONAL }
}
"""


@final
class ReflectionService:
    """Lists services and returns their descriptors.

    Args:
        calls: reads messages.
        services: full names of the services that are offered, in the order in which they are listed.
    """

    def __init__(self, calls: Calls, services: Sequence[str]) -> None:
        self._calls = calls
        self._services = services

    @property
    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """The handlers by the methods' full name."""
        return dict.fromkeys(METHODS, grpc.stream_stream_rpc_method_handler(self._answer))

    def _answer(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        while True:
            with aborting(context):
                message = self._calls.bodies.read(requests, context)
                if message is None:  # the end of the stream
                    return
                response = self._response(parse(_message("Request"), message))
            yield response

    def _response(self, request: Any) -> bytes:
        response = _message("Response")(original_request=request, valid_host=request.host)
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in self._services:
                    response.services.service.add(name=name)
            case "file_by_filename":
                self._add_files(response, descriptor_pool.Default().FindFileByName, request.file_by_filename)
            case "file_containing_symbol":
                find = descriptor_pool.Default().FindFileContainingSymbol
                self._add_files(response, find, request.file_containing_symbol)
            case _:
                response.error.error_code = grpc.StatusCode.UNIMPLEMENTED.value[0]
                response.error.error_message = "extensions are not described"
        return response.SerializeToString()

    def _add_files(self, response: Any, find: Any, name: str) -> None:
        try:
            file = find(name)
        except KeyError:
            response.error.error_code = grpc.StatusCode.NOT_FOUND.value[0]
            response.error.error_message = f"{name} is not known"
        else:
            response.files.file.extend(each.serialized_pb for each in _with_dependencies(file, set()))


def _with_dependencies(file: Any, seen: set[str]) -> Iterator[Any]:
    if file.name not in seen:
        seen.add(file.name)
        yield file
        for dependency in file.dependencies:
            yield from _with_dependencies(dependency, seen)


@cache
def _message(name: str) -> Any:
    pool = _pool()
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"gradwire.reflection.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_PROTO, descriptor_pb2.FileDescriptorProto()))
    return pool
