"""Command lines of TensorFlow Serving, in a process and in Docker, and the choice between engines."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from gradwire._errors import UsageError
from gradwire._package import Card, CardTensor
from gradwire_serving import (
    TF_SERVING_VERSION,
    EmbeddedServer,
    Plan,
    ServerOptions,
    command,
    find_engine,
    launch,
    plan,
)


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
    assert not planned.files
    assert "listens on every interface" in planned.notice


def test_several_models_come_with_a_config_file(two: Path):
    """The file is named by its content, so that what is printed is what is run."""
    planned = plan("tensorflow_model_server", ServerOptions(directory=two, enable_model_warmup=False))
    ((path, text),) = planned.files.items()
    assert planned.argv[1:] == (
        "--port=8500",
        f"--model_config_file={path}",
        "--enable_model_warmup=false",
    )
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert [(entry.name, entry.base_path, entry.model_platform) for entry in config.model_config_list.config] == [
        ("basket", f"{two}/basket", "tensorflow"),
        ("log", f"{two}/log", "tensorflow"),
    ]
    assert plan("tensorflow_model_server", ServerOptions(directory=two, port=9000)).files == planned.files


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
    ((path, text),) = planned.files.items()
    assert shell.stdout == f"ran --model_config_file={path}\n"
    assert path.read_text() == text
    path.unlink()
    planned.write_files()
    assert path.read_text() == text
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_planted_directory_is_not_written_into(one: Path, tmp_path: Path):
    """A link that somebody left in the temporary folder is refused, and so is a directory that others can write."""
    path = tmp_path / "gradwire-0" / "models.config"
    planned = replace(plan("tensorflow_model_server", ServerOptions(directory=one)), files={path: "text"})
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is not a directory of yours alone"):
        planned.write_files()
    assert not list((tmp_path / "elsewhere").iterdir())
    path.parent.unlink()
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(UsageError, match="is not a directory of yours alone"):
        planned.write_files()
    path.parent.chmod(0o700)
    planned.write_files()
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
    planned = plan("docker", options)
    (monitoring,) = planned.files
    assert list(planned.argv) == [
        *("docker", "run", "--rm", "--init"),
        *("--publish=127.0.0.1:9000:8500", "--publish=127.0.0.1:9001:8501"),
        f"--user={user}",
        *("--cap-drop=ALL", "--security-opt=no-new-privileges"),
        f"--mount=type=bind,source={one}/log,target=/models/log,readonly",
        f"--mount=type=bind,source={batching},target=/config/batching.config,readonly",
        f"--mount=type=bind,source={monitoring},target=/config/{monitoring.name},readonly",
        "--entrypoint=tensorflow_model_server",
        f"tensorflow/serving:{TF_SERVING_VERSION}",
        *("--port=8500", "--model_name=log", "--model_base_path=/models/log"),
        *(
            "--enable_batching=true",
            "--batching_parameters_file=/config/batching.config",
            f"--monitoring_config_file=/config/{monitoring.name}",
            "--rest_api_port=8501",
        ),
    ]
    assert "enable: true" in planned.files[monitoring]


def test_docker_gets_a_config_of_paths_in_the_container(two: Path):
    """Several models are mounted one by one, with a config that names them where they are mounted."""
    planned = plan("docker", ServerOptions(directory=two))
    ((path, text),) = planned.files.items()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert [entry.base_path for entry in config.model_config_list.config] == ["/models/basket", "/models/log"]
    target = f"/config/{path.name}"
    assert f"--mount=type=bind,source={path},target={target},readonly" in planned.argv
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
        ("docker", {"rest_api_port": -1}, "--rest_api_port is -1, which only the embedded server takes"),
        (
            "tensorflow_model_server",
            {"rest_api_port": 8501, "enable_serialization_as_tensor_content": True},
            "answers REST with wrong numbers",
        ),
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


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A directory with three packages, all compiled by XLA."""
    x = CardTensor("x", "float32", (1,))
    entry = {"by": "xla", "batch_sizes": [1, 8], "needs": "--xla_cpu_compilation_enabled=true"}
    card = Card("m", (x,), (x,), {}, ("serving_default",), compiled=entry).to_json()
    for name in ("basket", "log", "wing"):
        (tmp_path / "three" / name / "1" / "assets").mkdir(parents=True)
        (tmp_path / "three" / name / "1" / "assets" / "card.json").write_text(card)
    return tmp_path / "three"


FLAGS: dict[str, Any] = {"rest_api_port": 8501, "grpc_max_threads": 64, "engine_flags": ("--num_load_threads=3",)}


def test_three_packages_have_the_same_flags_on_every_engine(three: Path):
    """All that differs is where the files are; the embedded server names its directory instead of a config."""
    user = f"{os.getuid() or 65534}:{os.getgid() or 65534}"
    tail = [
        "--grpc_max_threads=64",
        "--xla_cpu_compilation_enabled=true",
        "--monitoring_config_file=MONITORING",
        "--rest_api_port=8501",
        "--num_load_threads=3",
    ]
    here = plan("tensorflow_model_server", ServerOptions(directory=three, **FLAGS))
    assert _shown(here) == ["tensorflow_model_server", "--port=8500", "--model_config_file=MODELS", *tail]
    docker = plan("docker", ServerOptions(directory=three, **FLAGS))
    assert _shown(docker) == [
        *("docker", "run", "--rm", "--init", "--publish=127.0.0.1:8500:8500", "--publish=127.0.0.1:8501:8501"),
        *(f"--user={user}", "--cap-drop=ALL", "--security-opt=no-new-privileges"),
        *(f"--mount=type=bind,source={three}/{n},target=/models/{n},readonly" for n in ("basket", "log", "wing")),
        *(f"--mount=type=bind,source={n},target=/config/{n},readonly" for n in ("MONITORING", "MODELS")),
        "--entrypoint=tensorflow_model_server",
        f"tensorflow/serving:{TF_SERVING_VERSION}",
        *(
            "--port=8500",
            "--model_config_file=/config/MODELS",
            *tail[:2],
            "--monitoring_config_file=/config/MONITORING",
        ),
        *tail[3:],
    ]
    assert command("embedded", ServerOptions(directory=three, **FLAGS)) == [
        *("gradwire", "serve", str(three), "--engine=embedded", "--host=127.0.0.1", "--port=8500"),
        *("--grpc_max_threads=64", "--rest_api_port=8501", "--", "--num_load_threads=3"),
    ]


def _shown(planned: Plan) -> list[str]:
    words = list(planned.argv)
    for path in planned.files:
        kind = path.name.partition("-")[0].upper()
        words = [word.replace(str(path), kind).replace(path.name, kind) for word in words]
    return words


def test_batching_is_for_a_gpu(three: Path):
    """With --gpu: the GPU's image, its memory as it is needed, and batching by a file that is written."""
    docker = plan("docker", ServerOptions(directory=three, gpu=True, grpc_max_threads=64))
    assert {"--gpus=all", "--env=TF_FORCE_GPU_ALLOW_GROWTH=true", f"tensorflow/serving:{TF_SERVING_VERSION}-gpu"} <= {
        *docker.argv
    }
    assert {"--enable_batching=true", "--xla_cpu_compilation_enabled=true"} <= {*docker.argv}
    assert "--enable_per_model_batching_parameters=true" in docker.argv
    (batching,) = (text for path, text in docker.files.items() if path.name.startswith("batching"))
    shipped = (Path(__file__).parents[2] / "serving" / "batching.config").read_text()
    assert batching.splitlines() == [line for line in shipped.splitlines() if line and not line.startswith("#")]
    (three / "log" / "2").mkdir()  # not compiled: parameters by package would leave it without any batching
    mixed = plan("docker", ServerOptions(directory=three, gpu=True))
    assert "--enable_per_model_batching_parameters=true" not in mixed.argv


@pytest.mark.parametrize("url", ["s3://bucket/models/log", "gs://bucket/models/log"])
def test_remote_base_paths_are_for_the_real_engines(tmp_path: Path, url: str):
    """They are passed on as they are, by flag and by config file; the embedded server refuses them by name."""
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "log" base_path: "{url}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    by_flag = ServerOptions(model_name="log", model_base_path=url)
    by_file = ServerOptions(model_config_file=str(config))
    for engine in ("tensorflow_model_server", "docker"):
        assert f"--model_base_path={url}" in command(engine, by_flag)
    assert f"--model_config_file={config}" in command("tensorflow_model_server", by_file)
    ((_, text),) = plan("docker", by_file).files.items()
    assert f'base_path: "{url}"' in text
    for options in (by_flag, by_file):
        with pytest.raises(UsageError, match=f"model log has base path {url}, and the embedded server reads"):
            EmbeddedServer(options)


def test_flags_that_it_does_not_know_are_not_the_embedded_servers(one: Path):
    """They would be ignored, so they are refused by name."""
    with pytest.raises(UsageError, match="--num_load_threads=3: the embedded server has no such flag"):
        EmbeddedServer(ServerOptions(directory=one, engine_flags=("--num_load_threads=3",)))


STAND_IN = """#!{python}
import signal, sys, time
from concurrent import futures
import grpc
def status(request, context):  # one version, AVAILABLE
    return bytes([0x0A, 4, 8, 1, 0x10, 30])
def stop(number, frame):
    print("stopped by", signal.Signals(number).name, flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
server = grpc.server(futures.ThreadPoolExecutor(1))
methods = {{"GetModelStatus": grpc.unary_unary_rpc_method_handler(status)}}
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", methods)])
server.add_insecure_port("127.0.0.1:" + sys.argv[1].partition("=")[2])
server.start()
print("given", *sys.argv[2:], flush=True)
while True:
    time.sleep(0.05)
"""


def test_a_real_engine_is_waited_for_and_gets_the_signals(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The command is printed and run; ready comes when both models are available; SIGTERM and the exit code pass."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    _program(tmp_path, "tensorflow_model_server", "")
    (tmp_path / "tensorflow_model_server").write_text(STAND_IN.format(python=sys.executable))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    said: list[str] = []
    started: list[Any] = []

    def ready(server: Any) -> None:
        started.append((server.address, server.available()))
        os.kill(os.getpid(), signal.SIGTERM)

    options = ServerOptions(directory=two, port=port, engine_flags=("--num_load_threads=3",))
    assert launch("tensorflow_model_server", options, say=said.append, ready=ready) == 7
    assert started == [(f"127.0.0.1:{port}", {"basket": [1], "log": [1]})]
    assert said[-1].splitlines()[-1].startswith(f"tensorflow_model_server --port={port} --model_config_file=")
    output = capfd.readouterr().out
    assert re.search(r"given --model_config_file=\S+ --num_load_threads=3\n", output)
    assert "stopped by SIGTERM" in output
