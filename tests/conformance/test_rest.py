"""Every recorded REST call, sent again: status code, headers and body must be the recorded ones.

Compared exactly: the layout of the body, names, strings, integers and the form of every number. Floating-point
values may differ by four units in the last place. The order of outputs is free: there it is that of a hash table.
"""

from __future__ import annotations

import gzip
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradwire_serving import EmbeddedServer, ServerOptions

RECORDS = Path(__file__).with_name("records")
SERVERS = {
    "rest": "rest",
    "rest_others": "rest",
    "rest_no_monitoring": "rest_without_metrics",
    "rest_cors": "rest_with_flags",
    "rest_timeout": "rest_with_flags",
}
MODELS = ("log", "multi", "slow", "types", "defaults", "bytes")
# What the record of the page of metrics counted: calls of the model log that end in these ways.
COUNTED = [
    {"http_method": "GET", "path": "/v1/models/log"},
    {"http_method": "GET", "path": "/v1/models/log/versions/9"},
    {"http_method": "POST", "path": "/v1/models/log:predict", "request_body": '{"instances": [[1.0]]}'},
    {"http_method": "POST", "path": "/v1/models/log:predict", "request_body": "{}"},
]
# The metrics that the embedded server has, of those of TensorFlow Serving.
COUNTED_THERE = {
    ":tensorflow:serving:batching_session:queuing_latency",
    *(f":tensorflow:serving:{name}" for name in ("request_count", "request_latency", "runtime_latency")),
    *(f":tensorflow:cc:saved_model:{name}" for name in ("load_attempt_count", "load_latency")),
}
ULPS = 4
TIMEOUT = 60.0  # seconds


class Number(str):
    """A number as it is written."""

    __slots__ = ()


def _cases() -> list[Any]:
    return [
        pytest.param(
            fixture,
            case,
            id=f"{name}-{case['name']}",
            marks=[pytest.mark.xfail(reason=case["different"], strict=True)] if "different" in case else [],
        )
        for name, fixture in SERVERS.items()
        for case in json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    ]


def _config(models: Path, names: tuple[str, ...], more: str = "") -> str:
    entries = [f'config {{ name: "{n}" base_path: "{models / n}" model_platform: "tensorflow" }}' for n in names]
    file = models.parent / f"{'-'.join(names)}.config"
    file.write_text(f"model_config_list {{ {' '.join(entries)} {more} }}")
    return str(file)


def _serve(options: ServerOptions) -> Iterator[str]:
    server = EmbeddedServer(options)
    server.start()
    yield server.rest_address
    server.stop(grace=1)


@pytest.fixture(scope="module")
def rest(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the recorded flags."""
    monitoring = tmp_path_factory.mktemp("config") / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }')
    versions = f"""config {{ name: "versions" base_path: "{models / "versions"}" model_platform: "tensorflow"
        model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
        version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 2 }} }}"""
    yield from _serve(
        ServerOptions(
            port=0,
            rest_api_port=-1,
            model_config_file=_config(models, MODELS, versions),
            allow_version_labels_for_unavailable_models=True,
            monitoring_config_file=str(monitoring),
        )
    )


@pytest.fixture(scope="module")
def rest_without_metrics(models: Path) -> Iterator[str]:
    """The address of a server with no monitoring config."""
    yield from _serve(ServerOptions(port=0, rest_api_port=-1, model_name="log", model_base_path=str(models / "log")))


@pytest.fixture(scope="module")
def rest_with_flags(models: Path) -> Iterator[str]:
    """The address of a server with CORS and a short timeout."""
    yield from _serve(
        ServerOptions(
            port=0,
            rest_api_port=-1,
            model_config_file=_config(models, ("log", "slow")),
            rest_api_enable_cors_support=True,
            rest_api_timeout_in_ms=200,
        )
    )


@pytest.mark.parametrize(("server", "case"), _cases())
def test_recorded_request_is_answered_as_recorded(server: str, case: dict[str, Any], request: pytest.FixtureRequest):
    """The embedded server responds to a recorded request as TensorFlow Serving did."""
    address = request.getfixturevalue(server)
    if case["name"] == "metrics":
        for before in COUNTED:
            _send(address, before)
    status, headers, body = _send(address, case)
    assert status == case["http_status"], body
    assert [(name, value) for name, value in case["response_headers"] if headers.get(name) != value] == []
    if case["name"] == "metrics":
        _compare_metrics(body, case)
    else:
        _compare(body, case["response_body"])


@pytest.mark.slow
def test_the_records_hold_every_case():
    """No record got lost."""
    counts = {name: len(json.loads((RECORDS / f"{name}.json").read_text())["cases"]) for name in SERVERS}
    assert counts == {"rest": 88, "rest_others": 4, "rest_no_monitoring": 3, "rest_cors": 2, "rest_timeout": 2}


def _send(address: str, case: dict[str, Any]) -> tuple[int, http.client.HTTPMessage, str]:
    headers = case.get("request_headers", {})
    body = case.get("request_body", "").encode()
    if headers.get("Content-Encoding") == "gzip":
        body = gzip.compress(body)
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
    try:
        connection.request(case["http_method"], case["path"], body or None, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read().decode(errors="replace")
    finally:
        connection.close()


def _compare(body: str, recorded: str) -> None:
    body, recorded = _normalised(body), _normalised(recorded)
    assert _layout(body) == _layout(recorded)
    if recorded.startswith(("{", '"')):
        _compare_values(*(json.loads(text, parse_float=Number, parse_constant=Number) for text in (body, recorded)))
    else:
        assert body == recorded


def _compare_values(got: Any, expected: Any) -> None:
    assert type(got) is type(expected)
    if isinstance(got, dict):
        assert got.keys() == expected.keys()
        for key, value in got.items():
            _compare_values(value, expected[key])
    elif isinstance(got, list):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            _compare_values(one, other)
    elif isinstance(got, Number) and got != expected:
        np.testing.assert_allclose(float(got), float(expected), rtol=ULPS * np.finfo(np.float32).eps)
    else:
        assert got == expected


def _layout(body: str) -> list[str]:
    """The lines, in any order, without their numbers."""
    return sorted(re.sub(r"-?\d+\.?\d*(e[-+]\d+)?|,$", "0", line.rstrip(",")) for line in body.split("\n"))


def _normalised(text: str) -> str:
    """Takes away what is random there: counters, marks of debug strings, which of several operations fails first."""
    text = re.sub(r"(__inference_\w+?|PartitionedCall)_\d+\b", r"\1", text)
    text = re.sub(r"_\d+(?=[/}])", "", text)
    text = re.sub(r"goo\.gle/debug\w+ +\\n", "", text)
    text = re.sub(r"\{\{node [^}]*\}\}", "{{node}}", text)
    return re.sub(r"(for tensor type: )\w+", r"\1T", text)


def _compare_metrics(page: str, case: dict[str, Any]) -> None:
    lines = page.split("\n")
    types = {line for line in lines if line.startswith("# TYPE ")}
    assert types <= set(case["response_types"])
    assert {line.split()[2] for line in types} == COUNTED_THERE
    recorded = {_series(line) for line in case["response_lines"]}
    assert recorded
    assert recorded <= {_series(line) for line in lines}


def _series(line: str) -> tuple[str, frozenset[str]]:
    """A sample's name and labels, without its value and the directory of the models."""
    name, _, labels = line.rpartition(" ")[0].partition("{")
    return name, frozenset(re.sub(r'"/.*/(log/1")', r'"/\1', labels.rstrip("}")).split(","))
