"""TFRecord files of `tf.train.Example`, without TensorFlow: its framing, and its messages through protobuf.

A record is its length, the length's checksum, the bytes, and their checksum; a checksum is CRC-32C, rotated and shifted
(tensorflow/core/lib/io/record_writer.h). An Example has floats of 32 bits, integers of 64, and bytes.
"""

# pyarrow has no types.
# pyright: basic

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, Final, final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from gradwire._errors import DataError, DTypeError
from gradwire._extras import import_extra
from gradwire._model import cast
from gradwire._tables import EXTRA
from gradwire.batch._files import InputFile
from gradwire.batch._formats import Layout
from gradwire.batch._formats.tables import CUT

LENGTH: Final = struct.Struct("<QI")
CHECKSUM: Final = struct.Struct("<I")
DELTA: Final = 0xA282EAD8
_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_KINDS: Final = {"bytes_list": _FIELD.TYPE_BYTES, "float_list": _FIELD.TYPE_FLOAT, "int64_list": _FIELD.TYPE_INT64}


def read_layout(file: InputFile, decimal: str) -> Layout:
    """Read the columns of a file, which are the features of its first record, and count its records."""
    del decimal
    with file.local().open("rb") as stream:
        schema = _schema(stream)
        stream.seek(0)
        rows, places = _count(stream)
    return Layout(schema, (*range(0, rows, CUT), rows), places)


def read_blocks(file: InputFile, start: int, stop: int, rows: int, decimal: str, place: Any) -> Iterator[Any]:
    """Iterate over a part of the records."""
    del decimal
    with file.local().open("rb") as stream:
        schema = _schema(stream)
        stream.seek(place or 0)
        records = islice(_records(stream, start), stop - start)
        row = start
        while block := list(islice(records, rows)):
            yield _batch(block, schema, row)
            row += len(block)


def _schema(stream: BinaryIO) -> Any:
    pa = import_extra("pyarrow", EXTRA)
    first = next(_records(stream, 0), None)
    features = {} if first is None else _features(first, 0)
    return pa.schema([(name, _type(pa, feature, name)) for name, feature in sorted(features.items())])


def _count(stream: BinaryIO) -> tuple[int, tuple[int, ...]]:
    """Return how many records there are, and where those stand before which a unit may begin."""
    count, places = 0, [0]
    end = stream.seek(0, 2)
    stream.seek(0)
    while header := stream.read(LENGTH.size):
        stream.seek(_length(header, count) + CHECKSUM.size, 1)
        count += 1
        if stream.tell() > end:
            raise DataError(f"record {count - 1} is cut off: write the file again")
        if count % CUT == 0:
            places.append(stream.tell())
    return count, tuple(places)


def _records(stream: BinaryIO, first: int) -> Iterator[bytes]:
    row = first
    while header := stream.read(LENGTH.size):
        size = _length(header, row)
        data, end = stream.read(size), stream.read(CHECKSUM.size)
        if len(end) < CHECKSUM.size or CHECKSUM.unpack(end)[0] != _checksum(data):
            raise DataError(f"record {row} is damaged, its checksum is another: write the file again")
        yield data
        row += 1


def _length(header: bytes, row: int) -> int:
    if len(header) < LENGTH.size:
        raise DataError(f"record {row} is cut off: write the file again")
    size, checksum = LENGTH.unpack(header)
    if checksum != _checksum(header[:8]):
        raise DataError(f"record {row} is damaged, or this is no TFRecord file, or it is compressed: unpack it")
    return size


def _checksum(data: bytes) -> int:
    crc = import_extra("google_crc32c", EXTRA).value(data)
    return (((crc >> 15) | (crc << 17)) + DELTA) & 0xFFFFFFFF


def _message() -> Any:
    """Return the class of `tf.train.Example`, of a pool of its own."""
    file = descriptor_pb2.FileDescriptorProto(
        name="gradwire/example.proto", package="gradwire.example", syntax="proto3"
    )
    feature = descriptor_pb2.DescriptorProto(
        name="Feature", oneof_decl=[descriptor_pb2.OneofDescriptorProto(name="kind")]
    )
    for number, (name, kind) in enumerate(_KINDS.items(), 1):
        of = f"{name}_values"
        value = _FIELD(name="value", number=1, type=kind, label=_FIELD.LABEL_REPEATED)
        file.message_type.append(descriptor_pb2.DescriptorProto(name=of, field=[value]))
        feature.field.append(_sub(name, number, of, oneof_index=0))
    features = descriptor_pb2.DescriptorProto(name="Features")
    entry = features.nested_type.add(name="FeatureEntry", options=descriptor_pb2.MessageOptions(map_entry=True))
    entry.field.extend(
        [
            _FIELD(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL),
            _sub("value", 2, "Feature"),
        ]
    )
    features.field.append(_sub("feature", 1, "Features.FeatureEntry", label=_FIELD.LABEL_REPEATED))
    example = descriptor_pb2.DescriptorProto(name="Example", field=[_sub("features", 1, "Features")])
    file.message_type.extend([feature, features, example])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("gradwire.example.Example"))


def _sub(name: str, number: int, of: str, label: Any = _FIELD.LABEL_OPTIONAL, **more: Any) -> Any:
    return _FIELD(
        name=name, number=number, type=_FIELD.TYPE_MESSAGE, type_name=f".gradwire.example.{of}", label=label, **more
    )


_EXAMPLE: Final = _message()


def _features(record: bytes, row: int) -> Any:
    try:
        return _EXAMPLE.FromString(record).features.feature
    except Exception as error:
        raise DataError(f"record {row} is no tf.train.Example: {error}") from error


def _type(pa: Any, feature: Any, name: str) -> Any:
    kind = feature.WhichOneof("kind")
    if kind is None:
        raise DataError(
            f"the feature {name!r} of the first record is empty, so that its type is not known: leave it out"
        )
    values = getattr(feature, kind).value
    plain = {"bytes_list": pa.binary(), "float_list": pa.float32(), "int64_list": pa.int64()}[kind]
    if kind == "bytes_list" and all(_is_text(value) for value in values):
        plain = pa.string()
    return plain if len(values) == 1 else pa.list_(plain)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _batch(block: Sequence[bytes], schema: Any, first_row: int) -> Any:
    pa = import_extra("pyarrow", EXTRA)
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    kinds = {field.name: _kind(pa, field.type) for field in schema}
    for row, record in enumerate(block, first_row):
        features = _features(record, row)
        if extra := sorted(set(features) - columns.keys()):
            raise DataError(f"record {row} has the feature {extra[0]!r}, which the first record has not: drop it")
        for name, values in columns.items():
            values.append(_value(features[name], *kinds[name], name, row) if name in features else None)
    return pa.RecordBatch.from_arrays(
        [pa.array(values, schema.field(name).type) for name, values in columns.items()], schema=schema
    )


def _kind(pa: Any, type_: Any) -> tuple[str, bool]:
    is_list = pa.types.is_list(type_)
    plain = type_.value_type if is_list else type_
    return {pa.float32(): "float_list", pa.int64(): "int64_list"}.get(plain, "bytes_list"), is_list


def _value(feature: Any, kind: str, is_list: bool, name: str, row: int) -> Any:
    own = feature.WhichOneof("kind")
    values = [] if own is None else getattr(feature, own).value
    if not len(values):
        return None
    if own != kind or (not is_list and len(values) > 1):
        raise DataError(
            f"the feature {name!r} of record {row} is a {own} of {len(values)}, and of the first record another: "
            "give features of one kind and length"
        )
    return list(values) if is_list else values[0]


@final
class _TFRecordWriter:
    def __init__(self, stream: BinaryIO, schema: Any) -> None:
        self._pa, self._stream = import_extra("pyarrow", EXTRA), stream
        for field in schema:
            self._kind(field)

    def write(self, batch: Any) -> None:
        columns = [
            (field.name, self._kind(field), self._rows(field.name, column))
            for field, column in zip(batch.schema, batch.columns, strict=True)
        ]
        for row in range(batch.num_rows):
            example = _EXAMPLE()
            for name, kind, values in columns:
                if values[row] is not None:
                    getattr(example.features.feature[name], kind).value.extend(values[row])
            data = example.SerializeToString(deterministic=True)
            length = struct.pack("<Q", len(data))
            self._stream.write(length + CHECKSUM.pack(_checksum(length)) + data + CHECKSUM.pack(_checksum(data)))

    def close(self) -> None:
        pass

    def _kind(self, field: Any) -> str:
        kind, types = field.type, self._pa.types
        while types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
            kind = kind.value_type
        if types.is_floating(kind) or types.is_null(kind):
            return "float_list"
        if types.is_boolean(kind) or (types.is_integer(kind) and kind != self._pa.uint64()):
            return "int64_list"
        if types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind):
            return "bytes_list"
        raise DataError(
            f"column {field.name!r} holds {field.type}, which tf.train.Example cannot hold: write Parquet, or drop it"
        )

    def _rows(self, name: str, column: Any) -> list[Any]:
        """Return the values of each row as a list, None for a null; doubles are to be rounded to 32 bits."""
        plain = column
        while self._pa.types.is_nested(plain.type):
            plain = plain.flatten()
        if plain.type == self._pa.float64():
            try:
                cast(plain.to_numpy(zero_copy_only=False), "float32", name)
            except DTypeError as error:
                raise DataError(f"column {name!r} cannot be written as tf.train.Example: {error}") from error
        return [None if value is None else _leaves(value) for value in column.to_pylist()]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list):
        return np.asarray(value).reshape(-1).tolist() if value and isinstance(value[0], list) else value
    return [value.encode() if isinstance(value, str) else value]


open_writer = _TFRecordWriter
