"""Models as they were recorded, and servers of them."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gradwire_serving import EmbeddedServer, ServerOptions

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

CONFIG = """
model_config_list {{
  config {{ name: "log" base_path: "{root}/log" model_platform: "tensorflow" }}
  config {{ name: "multi" base_path: "{root}/multi" model_platform: "tensorflow" }}
  config {{ name: "slow" base_path: "{root}/slow" model_platform: "tensorflow" }}
  config {{ name: "types" base_path: "{root}/types" model_platform: "tensorflow" }}
  config {{ name: "xla" base_path: "{root}/xla" model_platform: "tensorflow" }}
  config {{ name: "defaults" base_path: "{root}/defaults" model_platform: "tensorflow" }}
  config {{ name: "versions" base_path: "{root}/versions" model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 2 }} }}
}}
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the recorded models."""
    root = tmp_path_factory.mktemp("models")
    runpy.run_path(str(Path(__file__).with_name("make_models.py")))["make"](root)
    return root


@pytest.fixture(scope="session")
def config_file(models: Path) -> str:
    """The ModelServerConfig that the recorded server had."""
    file = models.parent / f"{models.name}.config"
    file.write_text(CONFIG.format(root=models))
    return str(file)


@pytest.fixture(scope="session")
def plain(config_file: str) -> Iterator[grpc.Channel]:
    """A channel to a server with the recorded flags."""
    yield from _serve(
        ServerOptions(port=0, model_config_file=config_file, allow_version_labels_for_unavailable_models=True)
    )


@pytest.fixture(scope="session")
def with_flags(config_file: str) -> Iterator[grpc.Channel]:
    """A channel to a server with the health service, and with responses in tensor_content."""
    yield from _serve(
        ServerOptions(
            port=0,
            model_config_file=config_file,
            allow_version_labels_for_unavailable_models=True,
            enable_grpc_healthcheck_service=True,
            enable_serialization_as_tensor_content=True,
        )
    )


def _serve(options: ServerOptions) -> Iterator[grpc.Channel]:
    server = EmbeddedServer(options)
    server.start()
    with grpc.insecure_channel(server.address, options=UNLIMITED) as channel:
        yield channel
    server.stop(grace=0)
