"""The messages of TensorFlow Serving that the client speaks, declared as data in a private descriptor pool.

No generated code and no TensorFlow: the descriptors are built here when the module is imported (about 3 ms). The pool
is private, so they cannot clash with TensorFlow's own descriptors in the same process, whichever comes first.

Only the fields that the client reads or writes are declared; protobuf keeps the others as unknown fields. Field numbers
are those of tensorflow/core/framework/{tensor,tensor_shape}.proto, tensorflow/core/protobuf/meta_graph.proto and
tensorflow_serving/apis/{model,predict,get_model_metadata,get_model_status}.proto; message names do not travel.

One thing differs from those files. A packed repeated field and a length-delimited field have the same wire form, so the
fields of fixed-width numbers (``float_val``, ``double_val`` and the complex ones) are ``repeated bytes`` here: protobuf
then hands over the raw bytes, and NumPy reads them in place (some 90 times faster than number by number). Integers,
booleans and halves are varints on the wire, and are declared as such.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "gradwire.wire"
_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bool": _FIELD.TYPE_BOOL,
    "bytes": _FIELD.TYPE_BYTES,
    "enum": _FIELD.TYPE_INT32,  # an enum is a varint; its names are not needed here
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
}

# message -> field -> (number, type); "repeated T" and "map T" (keys are strings); a capital names a message.
_MESSAGES: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "Dim": {"size": (1, "int64")},
    "TensorShape": {"dim": (2, "repeated Dim"), "unknown_rank": (3, "bool")},
    "Tensor": {
        "dtype": (1, "enum"),
        "tensor_shape": (2, "TensorShape"),
        "tensor_content": (4, "bytes"),
        "float_val": (5, "repeated bytes"),  # packed fixed32
        "double_val": (6, "repeated bytes"),  # packed fixed64
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "scomplex_val": (9, "repeated bytes"),  # packed fixed32, real and imaginary in turn
        "int64_val": (10, "repeated int64"),
        "bool_val": (11, "repeated bool"),
        "dcomplex_val": (12, "repeated bytes"),  # packed fixed64, real and imaginary in turn
        "half_val": (13, "repeated int32"),
        "uint32_val": (16, "repeated uint32"),
        "uint64_val": (17, "repeated uint64"),
    },
    "Version": {"value": (1, "int64")},
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Version"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "map Tensor"),
        "output_filter": (3, "repeated string"),
    },
    "PredictResponse": {"outputs": (1, "map Tensor"), "model_spec": (2, "ModelSpec")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    "MetadataRequest": {"model_spec": (1, "ModelSpec"), "metadata_field": (2, "repeated string")},
    "MetadataResponse": {"model_spec": (1, "ModelSpec"), "metadata": (2, "map Any")},
    "TensorInfo": {"dtype": (2, "enum"), "tensor_shape": (3, "TensorShape")},
    "SignatureDef": {
        "inputs": (1, "map TensorInfo"),
        "outputs": (2, "map TensorInfo"),
        "method_name": (3, "string"),
        "defaults": (4, "map Tensor"),
    },
    "SignatureDefMap": {"signature_def": (1, "map SignatureDef")},
    "StatusRequest": {"model_spec": (1, "ModelSpec")},
    "Status": {"error_code": (1, "enum"), "error_message": (2, "string")},
    "VersionState": {"version": (1, "int64"), "state": (2, "enum"), "status": (3, "Status")},
    "StatusResponse": {"model_version_status": (1, "repeated VersionState")},
}


def _declare(field: Any, kind: str) -> None:
    if kind[0].isupper():
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = _SCALARS[kind]


def _declare_map(message: Any, field: Any, kind: str) -> None:
    """A map is a repeated message of key and value, nested in the message that holds it."""
    entry_name = "".join(part.capitalize() for part in field.name.split("_")) + "Entry"
    entry = message.nested_type.add(name=entry_name)
    entry.options.map_entry = True
    for number, (name, of) in enumerate((("key", "string"), ("value", kind)), start=1):
        _declare(entry.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL), of)
    _declare(field, f"{message.name}.{entry_name}")


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="gradwire/wire.proto", package=_PACKAGE, syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, (number, kind) in fields.items():
            form, _, of = kind.rpartition(" ")
            label = _FIELD.LABEL_REPEATED if form else _FIELD.LABEL_OPTIONAL
            field = message.field.add(name=name, number=number, label=label)
            if form == "map":
                _declare_map(message, field, of)
            else:
                _declare(field, of)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES: Final = _build()

# The classes are made at run time, so Any is their honest type.
Tensor: Final[Any] = _CLASSES["Tensor"]
ModelSpec: Final[Any] = _CLASSES["ModelSpec"]
PredictRequest: Final[Any] = _CLASSES["PredictRequest"]
PredictResponse: Final[Any] = _CLASSES["PredictResponse"]
MetadataRequest: Final[Any] = _CLASSES["MetadataRequest"]
MetadataResponse: Final[Any] = _CLASSES["MetadataResponse"]
SignatureDef: Final[Any] = _CLASSES["SignatureDef"]
SignatureDefMap: Final[Any] = _CLASSES["SignatureDefMap"]
StatusRequest: Final[Any] = _CLASSES["StatusRequest"]
StatusResponse: Final[Any] = _CLASSES["StatusResponse"]

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA: Final = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"
SIGNATURE_DEF: Final = "signature_def"  # the only metadata field that Serving knows
