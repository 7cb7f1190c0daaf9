"""Mixed traffic, swaps under load, overload, and a killed server: for seconds, and in ``make soak`` for minutes."""

from __future__ import annotations

import http.client
import json
import os
import runpy
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from gradwire_serving import EmbeddedServer, ServerOptions

SECONDS = float(os.environ.get("GRADWIRE_SOAK_SECONDS", "6"))
SWAPS = int(os.environ.get("GRADWIRE_SOAK_SWAPS", "4"))
LONG = 120.0  # seconds from which the memory of a soak can be judged
CALLERS = 64
PLACES = 8
LOOPS = 20.0  # of the model `slow`: some milliseconds
PATIENCE = 60.0  # seconds until a response that does not come counts as a failure
PREDICT = "/tensorflow.serving.PredictionService/Predict"
SERVE = """
import sys
from pathlib import Path
from gradwire_serving import ServerOptions, launch
options = ServerOptions(
    directory=Path(sys.argv[1]), port=int(sys.argv[2]), rest_api_port=-1, enable_batching=True, load_retry_interval_micros=0
)
launch("embedded", options, say=print, ready=lambda s: print(s.address, s.rest_address, flush=True))
"""
UNRETRIED = (("grpc.enable_retries", 0), ("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two versions that take turns, and a model that takes as long as it is told."""
    root = tmp_path_factory.mktemp("models")
    maker = Path(__file__).parents[1] / "conformance" / "make_models.py"
    runpy.run_path(str(maker))["make"](root, "versions", "slow")
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A directory of the models ``swapped`` (in version n: log x + c x², c = 1 for odd n, 2 for even) and ``slow``."""
    (tmp_path / "m").mkdir()
    shutil.copytree(made / "slow", tmp_path / "m" / "slow")
    _put(made, tmp_path / "m", 1)
    return tmp_path / "m"


def _put(made: Path, folder: Path, version: int) -> None:
    """Make a version appear as a whole, as a deployment does."""
    staged = folder.parent / f"staged-{version}"
    shutil.copytree(made / "versions" / str(2 - version % 2), staged)
    (folder / "swapped").mkdir(exist_ok=True)
    staged.rename(folder / "swapped" / str(version))


def _request(model: str, x: Any) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.asarray(x, np.float32)))
    return request.SerializeToString()


def _check(data: bytes, x: np.ndarray) -> int:
    """Check the answer of a version of ``swapped`` against its closed form, and return its number."""
    response = predict_pb2.PredictResponse.FromString(data)
    version = response.model_spec.version.value
    expected = np.log(x) + (2 - version % 2) * x**2
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["f"]), expected, rtol=1e-5, atol=1e-5)
    return version


class Process:
    """A server in a process of its own."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(folder), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address, self.rest = self.process.stdout.readline().split()

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rpartition(":")[2])

    def memory(self) -> int:
        """Bytes that it has in memory."""
        return 1024 * next(
            int(line.split()[1])
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )

    def descriptors(self) -> int:
        """Files and connections that it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def kill(self) -> None:
        """End it as the kernel would, without a word."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Process]]:
    """Starts servers of the directory."""
    running = []

    def once(port: int = 0) -> Process:
        running.append(Process(folder, port))
        return running[-1]

    yield once
    for server in running:
        server.kill()


class Traffic:
    """Callers that go on until they are stopped; what they saw is counted."""

    def __init__(self, server: Process) -> None:
        self.server = server
        self.seen: Counter[str] = Counter()
        self.stopping = threading.Event()

    def good(self, channel: grpc.Channel, random: np.random.Generator) -> None:
        """A call that has to be answered right."""
        x = random.uniform(0.5, 2, (int(random.integers(1, 200)), 1)).astype(np.float32)
        _check(channel.unary_unary(PREDICT)(_request("swapped", x), timeout=PATIENCE), x)

    def good_rest(self, _channel: grpc.Channel, _: np.random.Generator) -> None:
        """The same as JSON, on a connection of its own."""
        with closing(http.client.HTTPConnection(self.server.rest, timeout=PATIENCE)) as connection:
            connection.request("POST", "/v1/models/slow:predict", b'{"instances": [[3.0]]}')
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())) == (200, {"predictions": [[3.0]]})

    def bad(self, channel: grpc.Channel, random: np.random.Generator) -> None:
        """Random bytes, another model, another dtype: refused, never a fault."""
        data = [
            random.bytes(40),
            _request("nope", [[1]]),
            _request("swapped", [[1]]).replace(b"swapped", b"swapp\xff\xff"),
        ]
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(PREDICT)(data[random.integers(3)], timeout=PATIENCE)
        assert caught.value.code() in {
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.NOT_FOUND,
        }
        assert "the server failed" not in (caught.value.details() or "")

    def slow(self, channel: grpc.Channel, _: np.random.Generator) -> None:
        """A computation that its deadline stops."""
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(PREDICT)(_request("slow", [[1e9]]), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def cancelled(self, channel: grpc.Channel, _: np.random.Generator) -> None:
        """A call that its caller gives up."""
        call = channel.unary_unary(PREDICT).future(_request("swapped", [[1.0]] * 100), timeout=PATIENCE)
        self.stopping.wait(0.002)
        call.cancel()

    def run(self, seconds: float, swap: Callable[[], None]) -> list[tuple[int, int]]:
        """Let them call for some time, with swaps; return memory and open descriptors by the time."""
        kinds = [*[self.good] * 4, self.good_rest, self.bad, self.slow, self.cancelled]
        samples = []
        with ThreadPoolExecutor(len(kinds)) as pool:
            callers = [pool.submit(self._call, kind, seed) for seed, kind in enumerate(kinds)]
            swapping = threading.Thread(target=self._swap, args=(swap,))
            swapping.start()
            end = time.monotonic() + seconds
            while time.monotonic() < end and not any(caller.done() for caller in callers):
                self.stopping.wait(seconds / 60)
                samples.append((self.server.memory(), self.server.descriptors()))
            self.stopping.set()
            swapping.join()
            for caller in callers:
                caller.result(PATIENCE)
        return samples

    def _call(self, kind: Callable[[grpc.Channel, np.random.Generator], None], seed: int) -> None:
        random = np.random.default_rng(seed)
        while not self.stopping.is_set():
            with grpc.insecure_channel(self.server.address) as channel:  # a new connection every hundred calls
                for _ in range(100):
                    if not self.stopping.is_set():
                        kind(channel, random)
                        self.seen[kind.__name__] += 1

    def _swap(self, swap: Callable[[], None]) -> None:
        while not self.stopping.wait(3):
            swap()
            self.seen["swap"] += 1


def test_mixed_traffic(start: Callable[..., Process], made: Path, folder: Path):
    """Every good call is right, through swaps; bad ones have a status; memory and descriptors stay."""
    server = start()
    traffic = Traffic(server)
    versions = iter(range(2, 10**6))

    def swap() -> None:
        version = next(versions)
        _put(made, folder, version)
        if version > 2:
            shutil.rmtree(folder / "swapped" / str(version - 2))

    samples = traffic.run(SECONDS, swap)
    third = len(samples) // 3
    before, after = (
        [statistics.median(column) for column in zip(*part, strict=True)]
        for part in (samples[third:-third], samples[-third:])
    )
    growth = after[0] / before[0] - 1
    print(
        f"\nsoak: {dict(traffic.seen)} in {SECONDS:g} s; memory {before[0] / 2**20:.0f} MiB, then {growth:+.1%}; "
        f"descriptors {before[1]:g}, then {after[1]:g}"
    )
    assert set(traffic.seen) >= {"good", "good_rest", "bad", "slow", "cancelled", "swap"}
    assert after[1] <= before[1] + 8  # connections come and go while they are counted
    if SECONDS >= LONG:
        assert abs(growth) <= 0.05


def test_callers_of_a_killed_server_see_unavailable_and_go_on(start: Callable[..., Process]):
    """Kill -9 under load, and a restart on the same port: each failed call is UNAVAILABLE, and all callers go on."""
    server = start()
    port = server.port
    stopping, again = threading.Event(), threading.Event()
    seen: Counter[Any] = Counter()
    x = np.ones((2, 1), np.float32)

    def call() -> int:
        answered = 0
        with grpc.insecure_channel(f"127.0.0.1:{port}", UNRETRIED) as channel:
            while not stopping.is_set():
                try:
                    _check(channel.unary_unary(PREDICT)(_request("swapped", x), timeout=PATIENCE), x)
                except grpc.RpcError as error:
                    seen[error.code()] += 1
                    stopping.wait(0.02)
                else:
                    answered += again.is_set()
                    stopping.wait(0.002)
        return answered

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call) for _ in range(8)]
        time.sleep(0.5)
        server.kill()
        start(port)
        again.set()
        time.sleep(1.5)
        stopping.set()
        answered = [caller.result(PATIENCE) for caller in callers]
    print(f"\nkill -9: {dict(seen)}, then answered {answered}")
    assert set(seen) == {grpc.StatusCode.UNAVAILABLE}
    assert min(answered) > 0


def test_swaps_lose_no_call(made: Path, folder: Path):
    """Sixty-four calls are always under way while version after version takes over: none fails, none is wrong."""
    server = EmbeddedServer(ServerOptions(port=0, directory=folder, file_system_poll_wait_seconds=0))
    server.start()
    x = np.full((3, 1), 1.5, np.float32)
    data, seen, failed = _request("swapped", x), Counter[int](), []
    stopping = threading.Event()
    ended = threading.Semaphore(0)
    with grpc.insecure_channel(server.address) as channel:
        method = channel.unary_unary(PREDICT)

        def start() -> None:
            method.future(data, timeout=PATIENCE).add_done_callback(finish)

        def finish(call: grpc.Future) -> None:
            try:
                seen[_check(call.result(), x)] += 1
            except Exception as error:  # noqa: BLE001 - shown at the end
                failed.append(error)
            if stopping.is_set():
                ended.release()
            else:
                start()

        try:
            for _ in range(CALLERS):
                start()
            for version in range(2, SWAPS + 2):
                _put(made, folder, version)
                server._source.poll()
                while not seen[version]:
                    time.sleep(0.01)
                shutil.rmtree(folder / "swapped" / str(version - 1))
        finally:
            stopping.set()
            for _ in range(CALLERS):
                assert ended.acquire(timeout=PATIENCE)
            server.stop(grace=0)
    print(f"\nswaps: {SWAPS} with {CALLERS} callers, {sum(seen.values())} calls, {len(failed)} failed")
    assert failed == []
    assert set(seen) == set(range(1, SWAPS + 2))


def test_overload_is_refused_and_passes(folder: Path):
    """Sixty-four callers of a server that runs eight calls at once: the others are told at once, and none is lost."""
    server = EmbeddedServer(ServerOptions(port=0, directory=folder, grpc_max_threads=PLACES + 1))
    server.start()
    seconds = max(1.0, SECONDS / 60)
    end = time.monotonic() + seconds
    refused: list[float] = []  # seconds until a call was

    def call(_: int) -> int:
        answered = 0
        with grpc.insecure_channel(server.address, UNRETRIED) as channel:
            while time.monotonic() < end:
                began = time.monotonic()
                try:
                    response = channel.unary_unary(PREDICT)(_request("slow", [[LOOPS]]), timeout=PATIENCE)
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                        raise
                    refused.append(time.monotonic() - began)
                else:
                    output = predict_pb2.PredictResponse.FromString(response).outputs["y"]
                    np.testing.assert_array_equal(tf.make_ndarray(output), [[LOOPS]])
                    answered += 1
        return answered

    try:
        with ThreadPoolExecutor(CALLERS) as pool:
            answered = sum(pool.map(call, range(CALLERS)))
        end = time.monotonic() + 0.1
        assert call(0) > 0
    finally:
        server.stop(grace=0)
    print(
        f"\noverload: {CALLERS} callers, {PLACES} places, {seconds:g} s: {answered} answered, {len(refused)} refused, in "
        f"the median after {1000 * statistics.median(refused):.0f} ms"
    )
    assert answered > 0
