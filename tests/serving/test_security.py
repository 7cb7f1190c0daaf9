"""Who may call the embedded server: certificates, and a token."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from gradwire._errors import UsageError
from gradwire_serving import EmbeddedServer, ServerOptions, plan
from gradwire_serving._config import BearerToken, certificates_of, security, token_of
from gradwire_serving._core import StatusError
from gradwire_serving._launch import process

TOKEN = "a-secret"
ROW = b'{"instances": [[1.0]]}'
PATIENCE = 60.0  # seconds until a response that does not come counts as a failure

Start = Callable[..., EmbeddedServer]


@pytest.fixture
def start(models: Path) -> Iterator[Start]:
    """Starts servers of the logarithm by their options."""
    running = []

    def once(**options: Any) -> EmbeddedServer:
        server = EmbeddedServer(ServerOptions(port=0, model_name="log", model_base_path=str(models / "log"), **options))
        running.append(server)
        server.start()
        return server

    yield once
    for server in running:
        server.stop(grace=0)


def _config(folder: Path, pki: Path, name: str = "server", *, mutual: bool = False, **changed: str) -> str:
    """Write an SSLConfig."""
    fields = {"server_key": (pki / f"{name}.key").read_text(), "server_cert": (pki / f"{name}.pem").read_text()}
    fields |= {"custom_ca": (pki / "authority.pem").read_text()} if mutual else {}
    lines = [f"{field}: {json.dumps(text)}" for field, text in (fields | changed).items() if text]
    file = folder / "ssl.config"
    file.write_text("\n".join([*lines, *(["client_verify: true"] if mutual else [])]))
    return str(file)


def _ask(server: EmbeddedServer, root: Path | None, client: Path | None = None, token: str | None = None) -> Any:
    """Ask for the logarithm of one; gives its value, or the status code."""
    target = f"localhost:{server.port}"
    pair = (client.with_suffix(".key").read_bytes(), client.read_bytes()) if client else (None, None)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "log"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.ones((1, 1), np.float32)))
    metadata = [("authorization", token)] if token is not None else None
    credentials = root and grpc.ssl_channel_credentials(root.read_bytes(), *pair)
    with grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target) as channel:
        try:
            response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
                request, timeout=PATIENCE, metadata=metadata
            )
        except grpc.RpcError as error:
            return error.code()
    return response.outputs["f"].float_val[0]


@pytest.mark.parametrize(
    ("name", "root", "answer"),
    [
        ("server", "authority", 0.5),
        ("server", "stranger", grpc.StatusCode.UNAVAILABLE),
        ("server", None, grpc.StatusCode.UNAVAILABLE),
        ("expired", "authority", grpc.StatusCode.UNAVAILABLE),
        ("elsewhere", "authority", grpc.StatusCode.UNAVAILABLE),
        ("stranger", "authority", grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_the_servers_certificate(start: Start, pki: Path, tmp_path: Path, name: str, root: str | None, answer: object):
    """The right one is served; a wrong, an expired or another host's convinces nobody, nor does plain text get in."""
    server = start(ssl_config_file=_config(tmp_path, pki, name))
    assert _ask(server, pki / f"{root}.pem" if root else None) == answer


def test_the_clients_certificate(start: Start, pki: Path, tmp_path: Path):
    """With client_verify the authority's is let in; none, a stranger's and an expired one are not."""
    server = start(ssl_config_file=_config(tmp_path, pki, mutual=True))
    answers = {
        name: _ask(server, pki / "authority.pem", pki / f"{name}.pem") for name in ("client", "stranger", "expired")
    }
    assert answers == {"client": 0.5, **dict.fromkeys(("stranger", "expired"), grpc.StatusCode.UNAVAILABLE)}
    assert _ask(server, pki / "authority.pem") is grpc.StatusCode.UNAVAILABLE


def test_a_token_over_tls(start: Start, pki: Path, tmp_path: Path):
    """Every call needs it, known method or not; health checks do not."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    server = start(
        ssl_config_file=_config(tmp_path, pki),
        token_file=str(tmp_path / "token"),
        enable_grpc_healthcheck_service=True,
    )
    root = pki / "authority.pem"
    refused = grpc.StatusCode.UNAUTHENTICATED
    sent = {None: refused, "": refused, f"Bearer {TOKEN}x": refused, f"Basic {TOKEN}": refused, TOKEN: refused}
    sent |= {f"Bearer {TOKEN}": 0.5, f"bearer {TOKEN}": 0.5}
    assert {token: _ask(server, root, token=token) for token in sent} == sent
    with grpc.secure_channel(f"localhost:{server.port}", grpc.ssl_channel_credentials(root.read_bytes())) as channel:
        assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status == 1
        for method in ("/nope/Nope", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"):
            with pytest.raises(grpc.RpcError) as caught:
                list(channel.stream_stream(method)(iter(()), timeout=PATIENCE))
            assert (caught.value.code(), caught.value.details()) == (refused, security.REFUSED)


def _rest(server: EmbeddedServer, method: str, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(server.rest_address, timeout=PATIENCE)
    connection.request(method, path, ROW, headers)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.headers


def test_a_token_over_rest(start: Start, tmp_path: Path):
    """Calls, unknown paths and the page of metrics need it; what a browser asks first (OPTIONS) does not."""
    monitoring = tmp_path / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true path: "/m" }')
    server = start(
        rest_api_port=-1,
        token=TOKEN,
        monitoring_config_file=str(monitoring),
        rest_api_enable_cors_support=True,
    )
    predict = ("POST", "/v1/models/log:predict")
    status, headers = _rest(server, *predict)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    for path in (predict, ("GET", "/m"), ("GET", "/nope")):
        assert _rest(server, *path, Authorization="Bearer nope")[0] == 401
    assert _rest(server, *predict, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert _rest(server, "GET", "/m", Authorization=f"Bearer {TOKEN}")[0] == 200
    status, headers = _rest(server, "OPTIONS", "/v1/models/log:predict")
    assert (status, headers["Access-Control-Allow-Headers"]) == (200, "Content-Type, Authorization")


def test_a_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch):
    """Whatever was sent, the comparison is the library's that takes the same time; nothing of it is in the error."""
    compared = []

    def record(sent: bytes, token: bytes) -> bool:
        compared.append(sent)
        return sent == token

    monkeypatch.setattr(security, "hmac", SimpleNamespace(compare_digest=record))
    for sent in (None, "a", "Bearer b", "Bearer \udcff"):
        with pytest.raises(StatusError) as caught:
            BearerToken(TOKEN).check(sent)
        assert TOKEN not in str(caught.value)
    BearerToken(TOKEN).check(f"Bearer {TOKEN}")
    assert compared == [b"", b"", b"b", b"\xff", TOKEN.encode()]


def test_a_token_is_in_no_text(tmp_path: Path):
    """Neither the options nor the printed command show it."""
    options = ServerOptions(directory=tmp_path, token=TOKEN)
    assert TOKEN not in repr(options) + plan("embedded", options).shell_text()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"server_key": ""}, "ssl.config has no server_key, expected its text in PEM"),
        ({"server_cert": ""}, "ssl.config has no server_cert"),
        ({"mutual": True, "custom_ca": ""}, "ssl.config has no custom_ca"),
        ({"nope": "x"}, "ssl.config is not a SSLConfig"),
    ],
)
def test_an_incomplete_ssl_config_is_refused(pki: Path, tmp_path: Path, changed: dict[str, Any], message: str):
    """What is missing is named, before anything is loaded."""
    options = ServerOptions(directory=tmp_path, ssl_config_file=_config(tmp_path, pki, **changed))
    with pytest.raises(UsageError, match=message):
        certificates_of(options)


@pytest.mark.parametrize("changed", [{"server_key": "stranger.key"}, {"server_cert": "server.key"}], ids=str)
def test_unusable_certificates_are_refused_before_anything_is_loaded(
    start: Start, pki: Path, tmp_path: Path, changed: dict[str, str]
):
    """A key of another certificate, and what is no certificate."""
    texts = {field: (pki / file).read_text() for field, file in changed.items()}
    with pytest.raises(UsageError, match=r"ssl.config has a server_key and a server_cert, .* that cannot be used"):
        start(ssl_config_file=_config(tmp_path, pki, **texts))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": "a b"}, "has no token, expected printable ASCII without blanks"),
        ({"token_file": "empty"}, "empty has no token"),
        ({"token_file": "missing"}, "missing cannot be read"),
        ({"token_file": "token", "token": "b"}, "both given"),
        ({"token": "a", "host": "0.0.0.0"}, "in plain text: give --ssl_config_file"),
        ({"token": "a", "host": "a.invalid", "ssl_config_file": "f", "rest_api_port": 1}, "REST has no TLS"),
    ],
    ids=str,
)
def test_unusable_tokens_are_refused(tmp_path: Path, options: dict[str, Any], message: str):
    """No empty one, not two, and none that would travel over a network in plain text."""
    (tmp_path / "empty").touch()
    (tmp_path / "token").write_text("a")
    if file := options.get("token_file"):
        options = options | {"token_file": str(tmp_path / file)}
    with pytest.raises(UsageError, match=message):
        token_of(ServerOptions(directory=tmp_path, **options))


def test_the_real_engines_get_the_file(tmp_path: Path):
    """As their flag; in a container where it is mounted. A token they do not know."""
    (tmp_path / "models" / "log" / "1").mkdir(parents=True)
    options = ServerOptions(directory=tmp_path / "models", ssl_config_file=str(tmp_path / "ssl.config"))
    assert f"--ssl_config_file={tmp_path}/ssl.config" in plan("tensorflow_model_server", options).argv
    docker = plan("docker", options).argv
    assert "--ssl_config_file=/config/ssl.config" in docker
    assert f"--mount=type=bind,source={tmp_path}/ssl.config,target=/config/ssl.config,readonly" in docker
    for token in ({"token": TOKEN}, {"token_file": "f"}):
        with pytest.raises(UsageError, match="is of the embedded server alone"):
            plan("docker", ServerOptions(directory=tmp_path / "models", **token))


def test_a_real_engine_behind_tls_serves_once_its_port_is_open():
    """It answers nobody without its authority's certificate, so its versions are not known."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert process._open("127.0.0.1", port) == {}
    assert process._open("127.0.0.1", port) is None
