"""Promotion and rollback: labels in the config that a server polls."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from gradwire._cli.commands.promote import command as promote_command
from gradwire._errors import UsageError
from gradwire_serving import EmbeddedServer, ServerOptions, models_of, promote

PATIENCE = 30  # seconds


@pytest.fixture
def wing(models: Path, tmp_path: Path) -> Path:
    """A model with two versions."""
    for version in ("1", "2"):
        shutil.copytree(models / "log" / "1", tmp_path / "models" / "wing" / version)
    return tmp_path / "models" / "wing"


def _models(config: Path) -> list:
    options = ServerOptions(model_config_file=str(config), allow_version_labels_for_unavailable_models=True)
    return models_of(options)


@pytest.mark.slow
def test_a_server_that_polls_follows_promotion_and_rollback(wing: Path):
    """Callers of the label stable get version 1, after the promotion 2, after the rollback 1 again."""
    config = promote(wing, 1, label="stable").config
    assert config == wing.parent / "models.config"
    promote(wing, 2, label="canary")
    server = EmbeddedServer(
        ServerOptions(
            port=0,
            model_config_file=str(config),
            model_config_file_poll_wait_seconds=1,
            allow_version_labels_for_unavailable_models=True,
        )
    )
    server.start()
    try:
        assert server.available() == {"wing": [2, 1]}
        with grpc.insecure_channel(server.address) as channel:
            _wait_for(channel, stable=1, canary=2)
            done = promote(wing, 2, label="stable")
            assert (done.before, done.version, done.served) == (1, 2, (2,))
            _wait_for(channel, stable=2, canary=2)
            assert promote(wing, 1, label="stable").served == (1, 2)
            _wait_for(channel, stable=1, canary=2)
    finally:
        server.stop(grace=0)


def _wait_for(channel: grpc.Channel, **expected: int) -> None:
    until = time.monotonic() + PATIENCE
    while (versions := {label: _version(channel, label) for label in expected}) != expected:
        assert time.monotonic() < until, versions
        time.sleep(0.05)


def _version(channel: grpc.Channel, label: str) -> int | None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "wing"
    request.model_spec.version_label = label
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 1), np.float32)))
    try:
        response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)
    except grpc.RpcError:  # not loaded yet
        return None
    return response.model_spec.version.value


def test_the_rest_of_the_config_stays(wing: Path, tmp_path: Path):
    """Other models, other labels, versions that somebody asked for, and the comment at the head."""
    config = tmp_path / "served.config"
    config.write_text(
        "# Ours.\n"
        'model_config_list { config { name: "log" base_path: "/models/log" model_platform: "tensorflow" } '
        'config { name: "wing" base_path: "/models/wing" model_platform: "tensorflow" '
        'model_version_policy { specific { versions: 1 versions: 7 } } version_labels { key: "old" value: 1 } } }'
    )
    done = promote(wing, 2, label="stable", config=config)
    assert (done.before, done.served) == (None, (1, 2, 7))
    assert config.read_text().startswith("# Ours.\n")
    log, other = _models(config)
    assert (log.name, log.labels, other.labels) == ("log", {}, {"old": 1, "stable": 2})
    assert str(other.base_path) == "/models/wing"
    assert other.policy.specific == (1, 2, 7)
    assert [path.name for path in tmp_path.iterdir() if "writing" in path.name] == []


def test_a_config_of_all_versions_stays_one(wing: Path, tmp_path: Path):
    """Where all versions are served, promotion changes the label alone."""
    config = tmp_path / "served.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "wing" base_path: "{wing}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    assert promote(wing, 2, label="stable", config=config).served is None
    assert _models(config)[0].policy.every


@pytest.mark.parametrize(
    ("version", "label", "config", "message"),
    [
        (3, "stable", None, r"has no version 3 with a SavedModel; its versions: 1, 2, 4"),
        (4, "stable", None, r"has no version 4 with a SavedModel"),
        (2, "", None, "the label is empty"),
        (2, "stable", "", "names no model|has no model 'wing'; its models: none"),
        (2, "stable", 'model_config_list { config { name: "log" } }', "has no model 'wing'; its models: log"),
        (2, "stable", "nonsense", "is not a ModelServerConfig"),
    ],
)
def test_what_cannot_be_promoted_is_refused(wing: Path, version: int, label: str, config: str | None, message: str):
    """By name, and nothing is written."""
    (wing / "4").mkdir()
    file = wing.parent / "models.config"
    if config is not None:
        file.write_text(config)
    with pytest.raises(UsageError, match=message):
        promote(wing, version, label=label)
    assert (file.read_text() if file.exists() else None) == config


def test_the_command_says_what_it_changed(wing: Path, capsys: pytest.CaptureFixture[str]):
    """The label, the version, and the one before."""
    promote_command(wing, 1, "stable")
    promote_command(wing, 2, "stable")
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["wing: stable is version 1", "wing: stable is version 2 (was 1)"]
    assert shown.err.splitlines()[-1].endswith("models.config asks for version 2")
