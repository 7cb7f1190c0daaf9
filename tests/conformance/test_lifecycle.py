"""The recorded life of a watched base path, and what a call in flight sees of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from gradwire_serving import EmbeddedServer, ServerOptions

pytestmark = pytest.mark.slow  # waits for versions to be noticed

PATIENCE = 60.0  # seconds until a change that is not seen counts as one that does not come
AN_HOUR = 3600
START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50


class Watched:
    """A server of one watched base path, and what callers see of it.

    It polls by hand, unless ``interval`` is set, the seconds between polls.
    """

    def __init__(self, base_path: Path, models: Path, interval: int = AN_HOUR) -> None:
        self.base_path = base_path
        self.models = models
        self.server = EmbeddedServer(
            ServerOptions(
                port=0,
                model_name="m",
                model_base_path=str(base_path),
                file_system_poll_wait_seconds=interval,
                max_num_load_retries=1,
                load_retry_interval_micros=100_000,
            )
        )
        self.server.start()
        self._by_hand = interval == AN_HOUR
        self.channel = grpc.insecure_channel(self.server.address)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self.channel).Predict
        self._status = model_service_pb2_grpc.ModelServiceStub(self.channel).GetModelStatus

    def close(self) -> None:
        self.channel.close()
        self.server.stop(grace=0)

    def add(self, source: str, version: str) -> None:
        """Puts a version there, whole at once, as `gradwire export` does."""
        hidden = self.base_path / f".{version}"
        shutil.copytree(self.models / source, hidden)
        hidden.rename(self.base_path / version)

    def predict(self, x: float = 1.0, version: int | None = None) -> predict_pb2.PredictResponse:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        if version is not None:
            request.model_spec.version.value = version
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([[x]], np.float32)))
        return self._predict(request, timeout=PATIENCE)

    def latest(self) -> int:
        return self.predict().model_spec.version.value

    def states(self) -> dict[int, int]:
        return {entry.version: entry.state for entry in self.status()}

    def status(self) -> Any:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "m"
        return self._status(request, timeout=PATIENCE).model_version_status

    def poll(self) -> None:
        self.server._source.poll()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        waiting = threading.Event()
        for _ in range(int(PATIENCE / 0.05)):
            if self._by_hand:
                self.poll()
            if condition():
                return
            waiting.wait(0.05)
        pytest.fail(f"what was waited for did not come; states {self.states()}")


@pytest.fixture
def watched(tmp_path: Path, models: Path) -> Iterator[Watched]:
    """A server of version 1."""
    shutil.copytree(models / "versions" / "1", tmp_path / "m" / "1")
    served = Watched(tmp_path / "m", models)
    yield served
    served.close()


def test_new_version_is_available_before_the_old_one_ends(tmp_path: Path, models: Path):
    """A version that appears is picked up at the next poll; no call fails on the way, and the old one ends."""
    shutil.copytree(models / "versions" / "1", tmp_path / "m" / "1")
    watched = Watched(tmp_path / "m", models, interval=1)
    try:
        seen = [watched.latest()]
        watched.add("versions/2", "2")
        watched.wait_for(lambda: seen.append(watched.latest()) or seen[-1] == 2)
        watched.wait_for(lambda: watched.states() == {2: AVAILABLE, 1: END})
        assert sorted(seen) == seen
    finally:
        watched.close()


def test_a_version_that_cannot_be_loaded_ends_and_the_old_one_stays(watched: Watched):
    """A corrupt version is END with DATA_LOSS, an empty directory END with NOT_FOUND; version 1 serves all along."""
    watched.add("corrupt/1", "3")
    watched.wait_for(lambda: watched.states().get(3) == END)
    corrupt = watched.status()[0].status
    assert (corrupt.error_code, corrupt.error_message) == (
        15,
        f"Can't parse {watched.base_path}/3/saved_model.pb as binary proto",
    )
    assert watched.latest() == 1
    with pytest.raises(grpc.RpcError) as caught:
        watched.predict(version=3)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "Servable not found for request: Specific(m, 3)"

    (watched.base_path / "4").mkdir()
    watched.wait_for(lambda: watched.states().get(4) == END)
    empty = watched.status()[0].status
    assert (empty.error_code, empty.error_message) == (
        5,
        (
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            f"`saved_model.pb`)\nSpecified file path: {watched.base_path}/4"
        ),
    )
    assert watched.latest() == 1
    assert watched.states() == {4: END, 3: END, 1: AVAILABLE}


def test_a_failed_version_is_not_tried_again_while_it_stays_but_is_under_another_number(watched: Watched):
    """Filling the directory of a failed version changes nothing; renamed, it is a new version, and is loaded."""
    (watched.base_path / "4").mkdir()
    watched.wait_for(lambda: watched.states().get(4) == END)
    shutil.copytree(watched.models / "versions" / "2", watched.base_path / "4", dirs_exist_ok=True)
    watched.poll()  # once more, with the directory full
    assert watched.states()[4] == END
    (watched.base_path / "4").rename(watched.base_path / "5")
    watched.wait_for(lambda: watched.latest() == 5)


def test_removing_the_latest_version_brings_the_one_before_back(watched: Watched):
    """The highest version left is loaded before the removed one ends."""
    watched.add("versions/2", "2")
    watched.wait_for(lambda: watched.states() == {2: AVAILABLE, 1: END})
    shutil.rmtree(watched.base_path / "2")
    watched.wait_for(lambda: watched.states() == {2: END, 1: AVAILABLE})
    assert watched.latest() == 1


def test_directories_without_a_number_are_ignored_and_leading_zeros_count(watched: Watched):
    """`0000009` is version 9; `new` and `9.bak` are nothing."""
    for name in ("new", "9.bak"):
        watched.add("versions/2", name)
    watched.add("versions/2", "0000009")
    watched.wait_for(lambda: watched.latest() == 9)
    assert set(watched.states()) == {1, 9}
    assert watched.predict(version=9).model_spec.version.value == 9


def test_removing_every_version_ends_the_model_and_a_version_brings_it_back(watched: Watched):
    """With no version left calls are NOT_FOUND; a base path that is gone changes nothing more."""
    shutil.rmtree(watched.base_path / "1")
    watched.wait_for(lambda: watched.states() == {1: END})
    shutil.rmtree(watched.base_path)
    with pytest.raises(grpc.RpcError) as caught:
        watched.predict()
    assert caught.value.details() == "Servable not found for request: Latest(m)"
    shutil.copytree(watched.models / "versions" / "1", watched.base_path / "1")
    watched.wait_for(lambda: watched.states() == {1: AVAILABLE})
    assert watched.latest() == 1


def test_a_base_path_that_vanishes_leaves_what_is_served(watched: Watched):
    """A base path that cannot be listed changes nothing: the loaded version stays."""
    watched.base_path.rename(watched.base_path.with_name("elsewhere"))
    watched.poll()
    assert watched.latest() == 1


def test_a_call_in_flight_ends_on_the_version_it_began_on(tmp_path: Path, models: Path):
    """While a long call runs on version 1, version 2 arrives and serves; version 1 ends after the call."""
    shutil.copytree(models / "slow" / "1", tmp_path / "m" / "1")
    watched = Watched(tmp_path / "m", models)
    try:
        with ThreadPoolExecutor(1) as pool:
            long_call = pool.submit(watched.predict, 6000.0)
            watched.add("slow/1", "2")
            watched.wait_for(lambda: watched.latest() == 2)
            assert not long_call.done()
            assert watched.states()[1] in (AVAILABLE, UNLOADING)
            response = long_call.result(PATIENCE)
        assert response.model_spec.version.value == 1
        assert tf.make_ndarray(response.outputs["y"]) == 6000
        watched.wait_for(lambda: watched.states() == {2: AVAILABLE, 1: END})
    finally:
        watched.close()
