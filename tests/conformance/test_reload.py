"""Other models while the server runs: by HandleReloadConfigRequest, and by a config file that is polled."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conformance.replay import check, column, load

from gradwire_serving import EmbeddedServer, ServerOptions
from gradwire_serving._config import ConfigFile

AN_HOUR = 3600
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
PATIENCE = 200  # attempts until an answer that does not become the recorded one counts as another


def _config(base: Path, *names: str) -> str:
    entries = [f'config {{ name: "{n}" base_path: "{base / n}" model_platform: "tensorflow" }}' for n in names]
    return f"model_config_list {{ {' '.join(entries)} }}"


def _sections() -> list[list[dict[str, Any]]]:
    """Return the recorded calls by the server that they were made on."""
    sections: list[list[dict[str, Any]]] = [[]]
    for case in load("reload_config")["cases"]:
        if case.get("fresh"):
            sections.append([])
        elif "rpc" in case:
            sections[-1].append(case)
    return sections


class Served:
    """A server of the models a and slow, as recorded, whose base paths are polled by hand."""

    def __init__(self, root: Path, models: Path, **options: Any) -> None:
        self.root = root
        for name, source in (("a", "log"), ("slow", "slow"), ("ver", "versions")):
            shutil.copytree(models / source, root / name)
        self.config = root / "models.config"
        self.config.write_text(_config(root, "a", "slow"))
        self.paths = {"/tf/watch2": str(root), "/tf/models": str(models)}
        self.server = EmbeddedServer(
            ServerOptions(
                port=0,
                model_config_file=str(self.config),
                file_system_poll_wait_seconds=AN_HOUR,
                max_num_load_retries=0,
                **options,
            )
        )
        self.server.start()
        self.channel = grpc.insecure_channel(self.server.address)

    def check(self, case: dict[str, Any]) -> None:
        """Makes a recorded call until its answer is the recorded one: there were pauses between the calls."""
        text = json.dumps(case)
        for recorded, path in self.paths.items():
            text = text.replace(recorded, path)
        for attempt in range(PATIENCE):
            try:
                return check(self.channel, json.loads(text))
            except AssertionError:
                if case["rpc"] == RELOAD or "different" in case or attempt == PATIENCE - 1:
                    raise
                self.server._source.poll()
                threading.Event().wait(0.02)
        return None

    def close(self) -> None:
        self.channel.close()
        self.server.stop(grace=0)


@pytest.fixture
def served(models: Path, tmp_path: Path) -> Iterator[Served]:
    """A fresh server."""
    server = Served(tmp_path, models)
    yield server
    server.close()


@pytest.mark.slow
@pytest.mark.parametrize("section", _sections(), ids=lambda section: section[0]["name"])
def test_reloads_are_answered_as_recorded(served: Served, section: list[dict[str, Any]]):
    """Each call on the state that the ones before it left; those that differ on purpose do differ."""
    for case in section:
        if case["name"] == "model_with_empty_base_path_added":
            (served.root / "void").mkdir()
        if "different" in case:
            with pytest.raises(AssertionError):
                served.check(case)
        else:
            served.check(case)


@pytest.mark.slow
def test_a_model_is_removed_with_a_call_in_flight(served: Served):
    """The call ends on the version that it began on, and the model after it, as recorded in in_flight_result."""
    call = served.channel.unary_unary(PREDICT).future(column("slow", 1500.0).SerializeToString(), timeout=60)
    version = served.server._manager.versions("slow")[0]
    while not version.uses:
        threading.Event().wait(0.01)
    served.check({"rpc": RELOAD, "request": {"config": {"model_config_list": {}}}, "response": {"status": {}}})
    served.server._source.poll()
    assert not call.done()
    assert call.code() is grpc.StatusCode.OK
    ended = {"version": "1", "state": "END", "status": {}}
    request = {"model_spec": {"name": "slow"}}
    served.check({"rpc": STATUS, "request": request, "response": {"model_version_status": [ended]}})


def test_the_config_file_is_polled(served: Served, models: Path):
    """A model that is written into the file is served; a file of garbage, or none, changes nothing, as recorded."""
    file = ConfigFile(served.config, served.server._configuration, interval=AN_HOUR)
    shutil.copytree(models / "log", served.root / "without")
    texts = {
        "new_before": None,
        "new_after": _config(served.root, "a", "without"),
        "after_garbage_file": "garbage: 1",
        "after_file_removed": "",
        "after_model_removed_from_file": _config(served.root, "a"),
    }
    for case in load("config_file_polling")["cases"]:
        if "rpc" in case:
            text = texts[case["name"]]
            if text:
                served.config.write_text(text)
            elif text is not None:
                served.config.unlink()
            file.poll()
            served.check(case)


@pytest.mark.slow
def test_the_config_file_is_polled_where_that_is_configured(models: Path, tmp_path: Path):
    """With --model_config_file_poll_wait_seconds the server reads it by itself."""
    served = Served(tmp_path, models, model_config_file_poll_wait_seconds=1)
    try:
        served.config.write_text(_config(tmp_path, "a", "ver"))
        while "ver" not in served.server.available():
            threading.Event().wait(0.05)
    finally:
        served.close()
