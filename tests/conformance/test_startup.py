"""What is needed for the port to open."""

from __future__ import annotations

import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gradwire._errors import PackageError
from gradwire_serving import EmbeddedServer, ServerOptions


def _options(base_path: Path) -> ServerOptions:
    return ServerOptions(port=0, model_name="a", model_base_path=str(base_path), max_num_load_retries=0)


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
