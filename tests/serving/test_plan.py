"""Command lines of TensorFlow Serving, in a process and in Docker, and the choice between engines."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from gradwire._errors import UsageError
from gradwire_serving import TF_SERVING_VERSION, ServerOptions, command, find_engine, plan


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A directory with one model."""
    (tmp_path / "models" / "log" / "1").mkdir(parents=True)
    return tmp_path / "models"


@pytest.fixture
def two(one: Path) -> Path:
    """A directory with two models."""
    (one / "basket" / "1").mkdir(parents=True)
    return one


def test_one_model_needs_no_config_file(one: Path):
    """A directory of one model becomes --model_name and --model_base_path; only what is not default is passed."""
    planned = plan("tensorflow_model_server", ServerOptions(directory=one, grpc_max_threads=64, enable_batching=True))
    assert planned.argv == (
        "tensorflow_model_server",
        "--port=8500",
        "--model_name=log",
        f"--model_base_path={one}/log",
        "--grpc_max_threads=64",
        "--enable_batching=true",
    )
    assert planned.config_path is None
    assert "listens on every interface" in planned.notice


def test_several_models_come_with_a_config_file(two: Path):
    """The file is named by its content, so that what is printed is what is run."""
    planned = plan("tensorflow_model_server", ServerOptions(directory=two, enable_model_warmup=False))
    assert planned.argv[1:] == (
        "--port=8500",
        f"--model_config_file={planned.config_path}",
        "--enable_model_warmup=false",
    )
    config = text_format.Parse(planned.config, model_server_config_pb2.ModelServerConfig())
    assert [(entry.name, entry.base_path, entry.model_platform) for entry in config.model_config_list.config] == [
        ("basket", f"{two}/basket", "tensorflow"),
        ("log", f"{two}/log", "tensorflow"),
    ]
    assert plan("tensorflow_model_server", ServerOptions(directory=two, port=9000)).config_path == planned.config_path


def test_the_printed_lines_write_the_config_and_run_the_command(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Run by a shell, the printed text writes the same file as the launcher, and starts the program with it."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    planned = plan("tensorflow_model_server", ServerOptions(directory=two))
    (tmp_path / "tensorflow_model_server").write_text('#!/bin/sh\necho "ran $2"\n')
    (tmp_path / "tensorflow_model_server").chmod(0o755)
    shell = subprocess.run(
        ["sh", "-c", planned.shell_text()],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout == f"ran --model_config_file={planned.config_path}\n"
    assert planned.config_path is not None
    assert planned.config_path.read_text() == planned.config
    planned.config_path.unlink()
    planned.write_config()
    assert planned.config_path.read_text() == planned.config
    assert planned.config_path.parent.stat().st_mode & 0o777 == 0o700


def test_a_planted_directory_is_not_written_into(one: Path, tmp_path: Path):
    """A link that somebody left in the temporary folder is refused, and so is a directory that others can write."""
    path = tmp_path / "gradwire-0" / "models.config"
    planned = replace(plan("tensorflow_model_server", ServerOptions(directory=one)), config_path=path, config="text")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is not a directory of yours alone"):
        planned.write_config()
    assert not list((tmp_path / "elsewhere").iterdir())
    path.parent.unlink()
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(UsageError, match="is not a directory of yours alone"):
        planned.write_config()
    path.parent.chmod(0o700)
    planned.write_config()
    assert path.read_text() == "text"


@pytest.mark.parametrize("option", [{"max_expanded_bytes": 1}, {"log_format": "json"}, {"log_requests": True}], ids=str)
def test_what_only_the_embedded_server_has_is_not_dropped(one: Path, option: dict[str, Any]):
    """A real engine has no such flag: it is refused, not left out without a word."""
    with pytest.raises(UsageError, match=f"--{next(iter(option))} is of the embedded server alone"):
        plan("tensorflow_model_server", ServerOptions(directory=one, **option))


def test_docker_publishes_here_mounts_read_only_and_has_no_rights(one: Path, tmp_path: Path):
    """The command line, flag by flag."""
    batching = tmp_path / "batching.config"
    options = ServerOptions(
        directory=one,
        port=9000,
        rest_api_port=9001,
        enable_batching=True,
        batching_parameters_file=str(batching),
    )
    user = f"{os.getuid() or 65534}:{os.getgid() or 65534}"
    assert command("docker", options) == [
        *("docker", "run", "--rm", "--init"),
        *("--publish=127.0.0.1:9000:8500", "--publish=127.0.0.1:9001:8501"),
        f"--user={user}",
        *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
        f"--mount=type=bind,source={one}/log,target=/models/log,readonly",
        f"--mount=type=bind,source={batching},target=/config/batching.config,readonly",
        "--entrypoint=tensorflow_model_server",
        f"tensorflow/serving:{TF_SERVING_VERSION}",
        *("--port=8500", "--model_name=log", "--model_base_path=/models/log"),
        *(
            "--enable_batching=true",
            "--batching_parameters_file=/config/batching.config",
            "--rest_api_port=8501",
        ),
    ]


def test_docker_gets_a_config_of_paths_in_the_container(two: Path):
    """Several models are mounted one by one, with a config that names them where they are mounted."""
    planned = plan("docker", ServerOptions(directory=two))
    config = text_format.Parse(planned.config, model_server_config_pb2.ModelServerConfig())
    assert [entry.base_path for entry in config.model_config_list.config] == ["/models/basket", "/models/log"]
    assert planned.config_path is not None
    target = f"/config/{planned.config_path.name}"
    assert f"--mount=type=bind,source={planned.config_path},target={target},readonly" in planned.argv
    assert planned.argv[-1] == f"--model_config_file={target}"


def test_the_embedded_command_is_our_own(one: Path):
    """Printed, the embedded engine is `gradwire serve` with the same flags."""
    line = shlex.join(command("embedded", ServerOptions(directory=one, port=0, host="::1")))
    assert line == f"gradwire serve {one} --engine=embedded --host=::1 --port=0"


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        ("nope", {}, "no engine 'nope'; expected tensorflow_model_server, docker, embedded"),
        ("docker", {"port": 0}, "--port is 0, which only the embedded server takes"),
        ("docker", {"grpc_socket_path": "/run/g"}, "would lie inside the container"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(one: Path, engine: str, options: dict[str, object], message: str):
    """The message names the engine, and what to do instead."""
    with pytest.raises(UsageError, match=message):
        plan(engine, ServerOptions(directory=one, **options))


def _program(directory: Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)


def test_engines_are_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """tensorflow_model_server, then Docker where the image is there already, then the embedded one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_engine("auto") == "embedded"
    with pytest.raises(UsageError, match="no Docker daemon answers"):
        find_engine("docker")
    _program(tmp_path, "docker", 'test "$1" = version')
    assert find_engine("auto") == "embedded"
    assert find_engine("docker") == "docker"
    _program(tmp_path, "docker", f'test "$3" = tensorflow/serving:{TF_SERVING_VERSION}')
    assert find_engine("auto") == "docker"
    with pytest.raises(UsageError, match="tensorflow_model_server is not on the PATH"):
        find_engine("tensorflow_model_server")
    _program(tmp_path, "tensorflow_model_server", "true")
    assert find_engine("auto") == find_engine("tensorflow_model_server") == "tensorflow_model_server"
    assert find_engine("embedded") == "embedded"
    with pytest.raises(UsageError, match="no engine 'nope'"):
        find_engine("nope")
