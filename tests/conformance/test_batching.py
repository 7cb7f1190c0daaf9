"""Recorded calls under batching, and what calls of one batch do to one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tests.conformance.replay import LONG_ENOUGH, calls, check, column, load

from gradwire_serving import EmbeddedServer, ServerOptions

MODELS = ("log", "multi", "types", "var", "slow")
RECORDED = ("batching", "batching_default", "batching_overload", "batching_split", "batching_zero_rows")
OWN_PARAMETERS = "max_batch_size { value: 4 } batch_timeout_micros { value: 250000 }"
FULL = (
    "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
    "max_enqueued_batches is 2"
)

Serve = Callable[..., grpc.Channel]


@pytest.fixture(scope="module")
def serve(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Connects to a server by its batching parameters; the same ones are the same server."""
    root = tmp_path_factory.mktemp("batching")
    servers: dict[str, grpc.Channel] = {}

    def connect(parameters: str = "", **options: Any) -> grpc.Channel:
        key = f"{parameters} {options}"
        if key not in servers:
            if parameters:
                (root / str(len(servers))).write_text(parameters)
                options["batching_parameters_file"] = str(root / str(len(servers)))
            if "directory" not in options:
                options["model_config_file"] = str(root / "models.config")
            server = EmbeddedServer(ServerOptions(port=0, enable_batching=True, **options))
            server.start()
            stack.callback(server.stop, grace=0)
            servers[key] = stack.enter_context(grpc.insecure_channel(server.address))
        return servers[key]

    entries = [f'config {{ name: "{n}" base_path: "{models / n}" model_platform: "tensorflow" }}' for n in MODELS]
    (root / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}")
    with ExitStack() as stack:
        yield connect


def _parameters(name: str) -> str:
    return load(name).get("batching_parameters", "").replace("300000", "50000")  # a shorter wait shows the same


@pytest.mark.parametrize(("name", "case"), [each for name in RECORDED for each in calls(name, name)])
def test_recorded_call_is_answered_as_recorded(serve: Serve, name: str, case: dict[str, Any]):
    """Alone in its batch, a call is answered as TensorFlow Serving answered it."""
    check(serve(_parameters(name)), case)


@pytest.fixture(scope="module")
def own_parameters(serve: Serve, models: Path, tmp_path_factory: pytest.TempPathFactory) -> grpc.Channel:
    """A server of one model with parameters of its own, and one without."""
    root = tmp_path_factory.mktemp("own")
    for name in ("with", "without"):
        (root / name).mkdir()
        (root / name / "1").mkdir()
        for child in (models / "log" / "1").iterdir():
            (root / name / "1" / child.name).symlink_to(child)
    (root / "with" / "1" / "batching_params.pbtxt").write_text(OWN_PARAMETERS)
    return serve(directory=root, enable_per_model_batching_parameters=True)


@pytest.mark.parametrize("case", calls("batching_per_model"))
def test_parameters_may_be_a_models_own(own_parameters: grpc.Channel, case: dict[str, Any]):
    """A model with a file of its own is batched by it, and one without is not."""
    check(own_parameters, case)


def _together(channel: grpc.Channel, *requests: predict_pb2.PredictRequest, timeout: float = LONG_ENOUGH) -> list[Any]:
    method = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=predict_pb2.PredictRequest.SerializeToString,
        response_deserializer=predict_pb2.PredictResponse.FromString,
    )
    started = [method.future(request, timeout=timeout) for request in requests]
    return [(call.code().name, call.details()) if call.exception() else call.result() for call in started]


def _values(response: predict_pb2.PredictResponse, output: str) -> list[Any]:
    return tf.make_ndarray(response.outputs[output]).tolist()


def test_concurrent_calls_are_joined(serve: Serve):
    """Each gets its own rows, and NaN in one is no matter of the other."""
    channel = serve(_parameters("batching"))
    one, other = _together(channel, column("log", 2.0), column("log", 4.0))
    np.testing.assert_allclose([_values(one, "f"), _values(other, "f")], [[[2.6931472]], [[9.386294]]], rtol=1e-6)
    one, other = _together(channel, column("log", 2.0), column("log", -1.0, rows=2))
    np.testing.assert_allclose(_values(one, "f"), [[2.6931472]], rtol=1e-6)
    assert np.isnan(_values(other, "f")).tolist() == [[True], [True]]


def test_calls_of_other_row_shapes_do_not_meet(serve: Serve):
    """Both of a [1, 1] and a [1, 2] call are answered as they would be alone, as are [1, 2] and [1, 3] of `var`."""
    channel = serve(_parameters("batching"))
    narrow, wide = _together(channel, column("log", 1.0), column("log", 1.0, columns=2))
    assert [_values(narrow, "f"), _values(wide, "f")] == [[[0.5]], [[0.5, 0.5]]]
    short, long = _together(channel, column("var", 1.0, columns=2), column("var", 1.0, columns=3))
    assert [_values(short, "s"), _values(long, "s")] == [[2.0], [3.0]]


def test_open_dimensions_are_filled(serve: Serve):
    """With pad_variable_length_inputs a row of two beside one of three comes back as three, as recorded."""
    channel = serve(_parameters("batching_pad"))
    short, long = column("var", 1.0, columns=2), column("var", 1.0, columns=3)
    short.inputs["x"].tensor_content = np.float32([1, 2]).tobytes()
    long.inputs["x"].tensor_content = np.float32([1, 2, 3]).tobytes()
    one, other = _together(channel, short, long)
    assert (_values(one, "s"), _values(one, "y")) == ([4], [[2, 4, 2]])
    assert (_values(other, "s"), _values(other, "y")) == ([6], [[2, 4, 6]])


def test_fixed_dimensions_are_not_filled(serve: Serve):
    """A right [1, 1] call of the logarithm comes back as [1, 1], whatever stands beside it."""
    one, other = _together(serve(_parameters("batching_pad")), column("log", 1.0), column("log", 1.0, columns=2))
    assert [_values(one, "f"), _values(other, "f")] == [[[0.5]], [[0.5, 0.5]]]


def test_zero_rows_are_answered_at_once(serve: Serve):
    """Alone and among others, a call of no rows gets empty arrays, without the wait for its batch."""
    channel = serve("batch_timeout_micros { value: 60000000 }")
    (response,) = _together(channel, column("log", 1.0, rows=0), timeout=30)
    assert tf.make_ndarray(response.outputs["f"]).shape == (0, 1)
    responses = _together(channel, *[column("log", 1.0, rows=0)] * 12, timeout=30)
    assert [tf.make_ndarray(response.outputs["df_dx"]).shape for response in responses] == [(0, 1)] * 12


def test_calls_in_a_batch_count_as_under_way(serve: Serve):
    """With eight threads seven of 32 calls wait in their batch, and the others are refused, as recorded."""
    channel = serve("max_batch_size { value: 32 } batch_timeout_micros { value: 1000000 }", grpc_max_threads=8)
    responses = _together(channel, *[column("log", 1.0)] * 32)
    codes = Counter(response[0] if isinstance(response, tuple) else "OK" for response in responses)
    assert codes == {"OK": 7, "RESOURCE_EXHAUSTED": 25}


@pytest.mark.slow
def test_a_full_queue_is_unavailable(serve: Serve):
    """Of eight slow calls three are answered, and five refused in the recorded words; a deadline holds in the queue."""
    channel = serve(_parameters("batching_overload"))
    responses = _together(channel, *[column("slow", 300.0)] * 8)
    refused = [response for response in responses if isinstance(response, tuple)]
    assert set(refused) == {("UNAVAILABLE", FULL)}
    assert len(refused) in (4, 5)  # on a busy machine one may come when the first is answered already
    responses = _together(channel, *[column("slow", 1e8)] * 2, timeout=0.3)
    assert responses == [("DEADLINE_EXCEEDED", "Deadline Exceeded")] * 2
    (response,) = _together(channel, column("slow", 1.0))
    assert _values(response, "y") == [[1]]
