"""REST: numbers and tensors in JSON, and what bad, slow and large requests cannot do."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_shape_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

from gradwire._errors import UsageError
from gradwire_serving import EmbeddedServer, ServerOptions
from gradwire_serving._core import OUT_OF_MEMORY, Code, StatusError
from gradwire_serving._rest import application, front_end, requests
from gradwire_serving._rest.json_text import decimals, parse, parsed_size
from gradwire_serving._rest.requests import Form, tensors_of
from gradwire_serving._rest.responses import body_of

ONE_ROW = b'{"instances": [[1.0]]}'


def _infos(**dtypes: tf.DType) -> dict[str, meta_graph_pb2.TensorInfo]:
    shape = tensor_shape_pb2.TensorShapeProto(unknown_rank=True)
    return {
        name: meta_graph_pb2.TensorInfo(name=f"{name}:0", dtype=dtype.as_datatype_enum, tensor_shape=shape)
        for name, dtype in dtypes.items()
    }


def _tensors(body: str, **dtypes: tf.DType) -> dict[str, np.ndarray]:
    return tensors_of(parse(body.encode()), _infos(**dtypes))[1]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (np.float32(0.1), "0.1"),
        (np.float32(2), "2.0"),
        (np.float32(2.69314718), "2.69314718"),
        (np.float32(7.62078925e09), "7.62078925e+09"),
        (np.float32(1e20), "1e+20"),
        (np.float64(0.1), "0.1"),
        (np.float64(1 / 3), "0.33333333333333331"),
        (np.float64(-0.0), "-0.0"),
        (np.float16(0.1), "0.0999755859"),
        (np.float32("nan"), "NaN"),
        (np.float64("-inf"), "-Infinity"),
    ],
)
def test_numbers_are_written_as_there(number: np.floating, expected: str):
    """Six digits where they hold the number, else all of its type; a point or an exponent always."""
    assert decimals(np.array([number])) == [expected]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_are_read_back_the_same(dtype: type[np.floating]):
    """Whatever its bits, a finite number is in its text."""
    bits = np.random.default_rng(0).integers(0, 2**63, 2000, dtype=np.uint64).view(dtype)[:2000]
    numbers = bits[np.isfinite(bits)]
    assert np.array_equal(np.array([float(text) for text in decimals(numbers)]).astype(dtype), numbers)


@pytest.mark.parametrize(
    ("body", "dtypes", "message"),
    [
        ('{"instances": [300]}', {"x": tf.int8}, "JSON Value: 300 Type: Number is not of expected type: int8"),
        ('{"instances": [-1]}', {"x": tf.uint8}, "JSON Value: -1 Type: Number is not of expected type: uint8"),
        ('{"instances": [1, true]}', {"x": tf.float32}, "JSON Value: true Type: True is not of expected type: float"),
        ('{"instances": [1, false]}', {"x": tf.int64}, "JSON Value: false Type: False is not of expected type: int64"),
        ('{"instances": [1]}', {"x": tf.bool}, "JSON Value: 1 Type: Number is not of expected type: bool"),
        ('{"instances": [9223372036854775808]}', {"x": tf.int64}, "9223372036854775808 Type: Number is not of"),
        ('{"instances": [[1], 2]}', {"x": tf.float32}, "Expecting shape [1] but got: []"),
        ('{"instances": [[[1], 2]]}', {"x": tf.float32}, "JSON Value: 2 found at incorrect level: 2"),
        ('{"instances": [[1, [2]]]}', {"x": tf.float32}, "Encountered list at unexpected level: 1 expected < 1"),
        ('{"inputs": [[1, 2], [3]]}', {"x": tf.float32}, "Encountered list at unexpected size: 1 at level: 1"),
        ('{"instances": [{"x": 1}, 2]}', {"x": tf.float32}, "Expecting object but got list at item 1"),
        ('{"instances": [1, {"x": 2}]}', {"x": tf.float32}, "Expecting value/list but got object at item 1"),
        (
            '{"inputs": [1]}',
            {"x": tf.float32, "t": tf.float32},
            "inputs is a plain value/list, but expecting an object",
        ),
        ('{"instances": [{"b64": "?"}]}', {"s": tf.string}, "Unable to base64 decode"),
        ('{"instances": [{"b64": "", "c": 1}]}', {"s": tf.string}, "does not have named input: b64"),
        ('{"inputs": {"s": {"c": 1}}}', {"s": tf.string}, "not formatted correctly for base64 data"),
    ],
)
def test_wrong_tensors_are_refused(body: str, dtypes: dict[str, tf.DType], message: str):
    """No value is cast, cut or repeated: INVALID_ARGUMENT says which it is."""
    with pytest.raises(StatusError) as caught:
        _tensors(body, **dtypes)
    assert caught.value.status.code is Code.INVALID_ARGUMENT
    assert message in caught.value.status.message


def test_a_dtype_that_json_has_no_form_for_is_unimplemented():
    """As in TensorFlow Serving, which writes halves and reads none."""
    with pytest.raises(StatusError, match="Conversion of JSON Value: 1 to type: float16") as caught:
        _tensors('{"inputs": [1]}', x=tf.float16)
    assert caught.value.status.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("body", "dtype", "expected"),
    [
        ('{"inputs": [[1, 2.5], [3, 4]]}', tf.float32, np.array([[1, 2.5], [3, 4]], np.float32)),
        ('{"inputs": 7}', tf.int32, np.array(7, np.int32)),
        ('{"inputs": [[], []]}', tf.float64, np.empty((2, 0))),
        ('{"inputs": [18446744073709551615]}', tf.uint64, np.array([2**64 - 1], np.uint64)),
        ('{"inputs": [1e39, -1e39]}', tf.float32, np.array([np.inf, -np.inf], np.float32)),
        ('{"inputs": [true, false]}', tf.bool, np.array([True, False])),
        ('{"inputs": ["é", {"b64": "AP8="}]}', tf.string, np.array(["é".encode(), b"\x00\xff"], object)),
    ],
)
def test_tensors_are_read(body: str, dtype: tf.DType, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    """With and without NumPy's conversion of whole lists the array is the same."""
    fast = _tensors(body, x=dtype)["x"]
    monkeypatch.setattr(requests, "_quickly", lambda *_: None)
    slow = _tensors(body, x=dtype)["x"]
    for array in (fast, slow):
        assert (array.dtype, array.shape, array.tolist()) == (expected.dtype, expected.shape, expected.tolist())


def test_rows_and_columns_are_the_same_tensors():
    """Rows of objects, a list of rows and columns of the same numbers."""
    dtypes = {"t": tf.float64, "x": tf.int64}
    rows = _tensors('{"instances": [{"x": [1, 2], "t": 0.5}, {"t": 1.5, "x": [3, 4]}]}', **dtypes)
    columns = _tensors('{"inputs": {"t": [0.5, 1.5], "x": [[1, 2], [3, 4]]}}', **dtypes)
    for name in dtypes:
        assert np.array_equal(rows[name], columns[name])
        assert rows[name].dtype == columns[name].dtype


def test_a_response_is_json_again():
    """Strings that are not UTF-8 pass as they are; the others are escaped."""
    strings = np.array([b'a"\n', "é".encode(), b"\xff\\"], object)
    body = body_of({"s": strings}, Form.COLUMNS).encode(errors="surrogateescape")
    assert b"\xff" in body
    assert json.loads(body.decode(errors="replace")) == {"outputs": ['a"\n', "é", "\ufffd\\"]}


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[EmbeddedServer]:
    """A server of the logarithm with one thread for REST."""
    options = ServerOptions(
        port=0, rest_api_port=-1, rest_api_num_threads=1, model_name="log", model_base_path=str(models / "log")
    )
    server = EmbeddedServer(options)
    server.start()
    yield server
    server.stop(grace=1)


def _post(address: str, body: bytes, path: str = "/v1/models/log:predict", **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _open(server: EmbeddedServer, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.rest_port), timeout=30)
    connection.sendall(data)
    return connection


def test_clients_that_send_slowly_hold_no_thread(server: EmbeddedServer):
    """Fifty requests without their bodies, and one thread: the next whole request is answered."""
    slow = [_open(server, b"POST /v1/models/log:predict HTTP/1.1\r\nContent-Length: 10\r\n\r\n{") for _ in range(50)]
    try:
        assert _post(server.rest_address, ONE_ROW)[0] == 200
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.slow
def test_a_request_that_never_ends_is_cut_off(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch):
    """Bytes that keep coming do not keep a connection open."""
    monkeypatch.setattr(front_end, "RECEIVE_SECONDS", 0.2)
    with _open(server, b"POST /v1/models/log:predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\n") as connection:
        connection.settimeout(0.05)
        for _ in range(200):
            try:
                connection.send(b"{")
                if not connection.recv(1):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection stayed open for ten seconds")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
    ],
)
def test_heads_that_cannot_be_served_are_refused(server: EmbeddedServer, head: bytes, status: bytes):
    """Too large, malformed: refused before anything is read or kept."""
    with _open(server, head) as connection:
        assert connection.recv(1000).split()[1] == status


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 10_000, "JSON Parse error: lists and objects are nested too deeply"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "Missing 'inputs' or 'instances' key"),
        (b'{"instances": [["\xff"]]}', "JSON Parse error: Invalid encoding in string. at offset: 17"),
        (b'{"instances": ' + b'[{"a":' * 300 + b"1" + b"}]" * 300 + b', "inputs": 1}', "… Not formatted correctly"),
    ],
)
def test_hostile_bodies_get_a_short_error(server: EmbeddedServer, body: bytes, message: str):
    """Deep nesting and bytes that are no text; what an error repeats is cut."""
    status, response = _post(server.rest_address, body)
    assert status == 400
    assert message in response["error"]
    assert len(response["error"]) < 21_000


def test_a_body_that_decompresses_without_end_is_refused(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch):
    """No more of it is kept than a plain body may have."""
    monkeypatch.setattr(application, "MAX_BODY_BYTES", 1000)
    headers = {"Content-Encoding": "gzip"}
    assert _post(server.rest_address, gzip.compress(ONE_ROW), **headers)[0] == 200
    status, response = _post(server.rest_address, gzip.compress(b" " * 10**6), **headers)
    assert (status, response["error"][:22]) == (400, "the body is cut off, o")
    assert "not gzip" in _post(server.rest_address, ONE_ROW, **headers)[1]["error"]


def test_parsed_bodies_count_as_memory(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch):
    """A body whose lists take more than is free is refused before it is parsed; the next one is not."""
    rest = server._rest
    assert rest is not None
    memory = rest._application._memory
    monkeypatch.setattr(memory, "_available", lambda: 2**25)
    status, response = _post(server.rest_address, b'{"instances": [' + b"[]," * 500_000 + b"[]]}")
    assert (status, response["error"]) == (429, OUT_OF_MEMORY)
    assert _post(server.rest_address, ONE_ROW)[0] == 200
    assert memory._granted == 0


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [' + b"[]," * 50_000 + b"[]]}",
        b'{"a": [' + b"[[[[]]]]," * 50_000 + b"[]]}",
        b'{"a": [' + b"{}," * 50_000 + b"[]]}",
        b'{"a": [' + b'{"a":1},' * 50_000 + b"[]]}",
        b'{"a": [' + b"1.5," * 50_000 + b"[]]}",
        b'{"a": [' + b'"a\xc3\xa9",' * 50_000 + b"[]]}",
        b'{"a": [' + b"300," * 50_000 + b"[]]}",
    ],
    ids=lambda body: body[7:15].decode(errors="replace"),
)
def test_a_parsed_body_takes_no_more_than_was_thought(body: bytes):
    """For the smallest lists, objects, numbers and strings there are."""
    tracemalloc.start()
    try:
        document = parse(body)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert document
    assert taken <= parsed_size(body) <= 8 * taken


def test_a_fault_shows_neither_stack_nor_path(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch):
    """An exception that nobody expected is a 500 with a fixed text."""

    def fail(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(application.Methods, "run", fail)
    assert _post(server.rest_address, ONE_ROW) == (500, {"error": "the server failed; its log has the cause"})


def test_a_stop_lets_calls_end(models: Path):
    """A running call is answered, the next one is not, and the port is closed."""
    options = ServerOptions(port=0, rest_api_port=-1, model_name="slow", model_base_path=str(models / "slow"))
    server = EmbeddedServer(options)
    server.start()
    address, answers = server.rest_address, []
    call = threading.Thread(
        target=lambda: answers.append(_post(address, b'{"instances": [[500]]}', "/v1/models/slow:predict"))
    )
    call.start()
    time.sleep(0.1)
    with pytest.raises(UsageError, match=r"cannot listen on .*--rest_api_port"):
        EmbeddedServer(
            ServerOptions(rest_api_port=server.rest_port, port=0, model_base_path=str(models / "slow"))
        ).start()
    server.stop(grace=30)
    call.join()
    assert answers == [(200, {"predictions": [[500.0]]})]
    with pytest.raises(ConnectionError):
        _post(address, ONE_ROW)


@pytest.mark.parametrize("batching", [False, True])
def test_the_page_counts_calls_of_both_ways(models: Path, tmp_path: Path, batching: bool):
    """Two calls over gRPC and one over REST are three computations; those that fail are none, and requests all."""
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true path: "/m" }')
    options = ServerOptions(
        port=0,
        rest_api_port=-1,
        monitoring_config_file=str(monitoring),
        model_name="log",
        model_base_path=str(models / "log"),
        enable_batching=batching,
    )
    server = EmbeddedServer(options)
    server.start()
    try:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "log"
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 1), np.float32)))
        with grpc.insecure_channel(server.address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for _ in range(2):
                stub.Predict(request, timeout=60)
            request.inputs["x"].dtype = 2
            wrong = classification_pb2.ClassificationRequest()
            wrong.model_spec.name = "made up"
            for failing in (stub.Predict, stub.Classify):
                with pytest.raises(grpc.RpcError):
                    failing(request if failing == stub.Predict else wrong, timeout=60)
        assert _post(server.rest_address, ONE_ROW)[0] == 200
        assert _post(server.rest_address, b'{"signature_name": "nope", "instances": [1]}')[0] == 400
        connection = http.client.HTTPConnection(server.rest_address, timeout=30)
        connection.request("GET", "/m")
        page = connection.getresponse().read().decode()
        connection.close()
    finally:
        server.stop(grace=1)
    (count,) = (line for line in page.splitlines() if line.startswith(":tensorflow:serving:runtime_latency_count"))
    assert count.endswith(" 3.0")
    lines = {line.removeprefix(":tensorflow:serving:") for line in page.splitlines()}
    assert {
        'request_count{model_name="log",status="INVALID_ARGUMENT"} 2.0',
        'request_count{model_name="log",status="OK"} 3.0',
        'request_count{model_name="",status="NOT_FOUND"} 1.0',  # not the name that somebody made up
        'request_latency_count{API="Predict",entrypoint="GRPC",model_name="log"} 2.0',
        'request_latency_count{API="predict",entrypoint="REST",model_name="log"} 1.0',
    } <= lines
    queued = 'batching_session:queuing_latency_count{thread_pool_name="model_server_batch_threads"} '
    assert [line for line in lines if line.startswith(queued)] == [f"{queued}4.0"] * batching


def test_damaged_bodies_always_get_a_status(server: EmbeddedServer):
    """Two thousand requests with bytes changed, cut, repeated or put in: 200 or 400 and 501, never a fault."""
    rest = server._rest
    assert rest is not None
    random = np.random.default_rng(0)
    seeds = [
        ONE_ROW,
        b'{"inputs": {"x": [[1.0], [NaN]]}, "signature_name": "value"}',
        b'{"instances": [{"x": [1e5]}, {"x": [-2]}]}',
        b'{"instances": [{"b64": "AA=="}, null, true, "a"]}',
    ]
    for _ in range(2000):
        body = bytearray(seeds[random.integers(len(seeds))])
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(body) + 1))
            match random.integers(4):
                case 0:
                    body[at : at + 1] = bytes([random.integers(256)])
                case 1:
                    del body[at : at + int(random.integers(8))]
                case 2:
                    body[at:at] = body[at : at + int(random.integers(16))]
                case _:
                    body[at:at] = [b"[", b"{", b"]", b"}", b",", b":", b'"', b"1e999", b"-", b"\\u0000"][
                        random.integers(10)
                    ]
        statuses: list[str] = []
        environ = {
            "REQUEST_METHOD": "POST",
            "REQUEST_URI": "/v1/models/log:predict",
            "wsgi.input": io.BytesIO(body),
        }
        (response,) = rest._application(environ, lambda status, _, seen=statuses: seen.append(status))
        assert statuses[0].split()[0] in {"200", "400", "501"}, (bytes(body), response)
