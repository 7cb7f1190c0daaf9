"""What is needed for the port to open."""

from __future__ import annotations

import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tests.conformance.replay import load

from gradwire._errors import GradwireError, PackageError
from gradwire_serving import EmbeddedServer, ServerOptions

SOON = 0.5  # seconds after which a start counts as one that waits
PATIENCE = 60.0  # seconds, where it is known not to


def _options(base_path: Path) -> ServerOptions:
    return ServerOptions(port=0, model_name="a", model_base_path=str(base_path), max_num_load_retries=0)


@pytest.mark.slow
def test_a_server_of_nothing_but_a_corrupt_model_does_not_start(models: Path):
    """The error names the model, the version, the code and the text that the real server ends with."""
    text = rf"model 'a' version 1 .*: DATA_LOSS: Can't parse {models}/corrupt/1/saved_model.pb as binary proto"
    with pytest.raises(PackageError, match=text):
        EmbeddedServer(_options(models / "corrupt")).start()


@pytest.mark.parametrize("policy", ["", "model_version_policy { all {} }"])
def test_a_corrupt_version_stops_the_start_though_others_are_good(tmp_path: Path, models: Path, policy: str):
    """Version 1 is good and version 2 corrupt: neither the latest nor all versions can be served."""
    shutil.copytree(models / "log" / "1", tmp_path / "a" / "1")
    shutil.copytree(models / "corrupt" / "1", tmp_path / "a" / "2")
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "a" base_path: "{tmp_path}/a" model_platform: "tensorflow" {policy} }} }}'
    )
    options = ServerOptions(port=0, model_config_file=str(config), max_num_load_retries=0)
    with pytest.raises(PackageError, match="model 'a' version 2"):
        EmbeddedServer(options).start()


def test_an_empty_base_path_waits_until_a_version_appears(tmp_path: Path, models: Path):
    """The port opens when the first version has been loaded, however late."""
    base_path = tmp_path / "a"
    base_path.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ServerOptions(port=port, model_name="a", model_base_path=str(base_path))
    server = EmbeddedServer(options)
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(server.start)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
        assert not starting.done()
        shutil.copytree(models / "log" / "1", tmp_path / "new")
        (tmp_path / "new").rename(base_path / "1")
        starting.result(60)
    try:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) == 0
        assert server.available() == {"a": [1]}
    finally:
        server.stop(grace=0)


def _starts(options: dict[str, Any]) -> str:
    """Return what a server does: "listens", "exits", or "waits", for a version or to try again."""
    try:
        server = EmbeddedServer(ServerOptions(port=0, **options))
    except GradwireError:
        return "exits"
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(server.start)
        try:
            starting.result(PATIENCE if "retries" in str(options) or "good" in str(options) else SOON)
        except GradwireError:
            return "exits"
        except TimeoutError:
            return "waits"
        else:
            return "listens"
        finally:
            server.stop(grace=0)


def _recorded_starts() -> list[Any]:
    cases = [case for case in load("startup")["cases"] if "args" in case]
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.slow
@pytest.mark.parametrize("case", _recorded_starts())
def test_a_server_starts_waits_or_is_refused_as_recorded(case: dict[str, Any], models: Path, tmp_path: Path):
    """A good model listens; a corrupt one, a relative path, a label too early end; an empty or missing path waits."""
    (tmp_path / "void2").mkdir()
    for number, source in (("1", "log"), ("2", "corrupt")):
        shutil.copytree(models / source / "1", tmp_path / "corrupt2" / number)
    moved = {
        "/tf/models/corrupt2": f"{tmp_path}/corrupt2",
        "/tf/watch/void2": f"{tmp_path}/void2",
        "/tf/watch/nosuch": f"{tmp_path}/nosuch",
        "/tf/watch/ver": f"{models}/versions",
        "/tf/watch/a": f"{models}/log",
        "/tf/models/corrupt": f"{models}/corrupt",
    }
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in case["args"])
    if case["config"]:
        flags["model_config_file"] = str(tmp_path / "models.config")
        (tmp_path / "models.config").write_text(_moved(case["config"], moved))
    options = {name: int(value) if value.isdigit() else _moved(value, moved) for name, value in flags.items()}
    expected = "listens" if case["listens"] else "exits" if case["exits"] else "waits"
    assert _starts(options) == expected


def _moved(text: str, moved: dict[str, str]) -> str:
    for recorded, path in moved.items():
        text = text.replace(recorded, path)
    return text


@pytest.mark.parametrize("case", load("batching_bad_parameters")["cases"], ids=lambda case: case["name"])
def test_batching_parameters_are_taken_or_refused_as_recorded(case: dict[str, Any], models: Path, tmp_path: Path):
    """A file that contradicts itself, cannot be read or is set without batching keeps the server from starting."""
    file = tmp_path / "batching"
    if case["parameters"] is not None:
        file.write_text(case["parameters"])
    options = {
        "model_name": "log",
        "model_base_path": str(models / "log"),
        "enable_batching": case["name"] != "file_without_enable_batching",
        "batching_parameters_file": str(file),
        "max_num_load_retries": 0,
    }
    assert _starts(options) == ("listens" if case["listens"] else "exits")


def test_a_warm_up_larger_than_a_batch_keeps_a_model_from_serving(models: Path, tmp_path: Path):
    """With plain --enable_batching 1,024 rows are more than a batch may have, as recorded."""
    shutil.copytree(models / "log", tmp_path / "log")
    entry = prediction_log_pb2.PredictionLog()
    tensor = entry.predict_log.request.inputs["x"]
    tensor.CopyFrom(tf.make_tensor_proto([[1.0]] * 1024))
    (tmp_path / "log" / "1" / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "log" / "1" / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(entry.SerializeToString())
    options = ServerOptions(
        port=0, model_name="log", model_base_path=str(tmp_path / "log"), enable_batching=True, max_num_load_retries=0
    )
    with pytest.raises(PackageError, match="Task size 1024 is larger than maximum input batch size 1000"):
        EmbeddedServer(options).start()
