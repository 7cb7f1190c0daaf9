"""OpenTelemetry: a span a call, whose context travels to the server; nothing where nobody traces."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

import gradwire
import gradwire.aio
from gradwire import Address, GrpcTransport
from gradwire._grpc.tracing import _server

trace = pytest.importorskip("opentelemetry.trace", reason="tracing is optional")
pytest.importorskip("opentelemetry.sdk", reason="tracing is optional")
FULL = "Server Threadpool Exhausted"


@pytest.fixture
def provider(monkeypatch) -> Any:
    """A tracer provider for this test alone; a program sets its own with `set_tracer_provider`, once and for all."""
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return provider


@pytest.fixture
def spans(ended) -> Callable[[], list[Any]]:
    """Gives the spans of calls that have ended, but for those of the card."""
    return lambda: [span for span in ended() if span.attributes.get("gradwire.signature", "card") != "card"]


@pytest.fixture
def ended(provider) -> Callable[[], tuple[Any, ...]]:
    """Gives all spans that have ended."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter.get_finished_spans


@pytest.fixture
def sent(stand_in) -> Iterator[list[dict[str, str]]]:
    """The metadata of each request that came, but for those of the card."""
    metadata: list[dict[str, str]] = []

    def note(request: Any, context: grpc.ServicerContext) -> None:
        if request.model_spec.signature_name != "card":
            metadata.append(dict(context.invocation_metadata()))

    stand_in.hook = note
    return metadata


def compute(target: str, how: str, x: Any, **settings: Any) -> list[Any]:
    """Calls, or streams, the logarithm by one of the clients."""
    transport = {"sync": gradwire.GrpcTransport, "aio": gradwire.aio.GrpcTransport}[how.split(maxsplit=1)[0]]
    address = Address(target, "log")
    if how.startswith("sync"):
        with gradwire.Model(GrpcTransport(address, **settings)) as model:
            return list(model.stream(x, "value")) if how.endswith("stream") else [model.value(x)]

    async def go() -> list[Any]:
        async with await gradwire.aio.Model.open(transport(address, **settings)) as model:
            if how.endswith("stream"):
                return [f async for f in model.stream(x, "value")]
            return [await model.value(x)]

    return asyncio.run(go())


def traceparent(span: Any) -> str:
    """The span's context as it travels."""
    context = span.context
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@pytest.mark.parametrize("how", ["sync", "aio"])
def test_a_call_is_a_span_of_the_client(stand_in, provider, spans, sent, how):
    """By the semantic conventions, with what Gradwire knows, in the caller's span; its context arrives."""
    with provider.get_tracer("the program").start_as_current_span("step") as step:
        compute(stand_in.target, how, [1.0, 2.0])
    (span,) = spans()
    assert (span.name, span.kind) == ("tensorflow.serving.PredictionService/Predict", trace.SpanKind.CLIENT)
    assert span.parent.span_id == step.context.span_id
    host, _, port = stand_in.target.rpartition(":")
    assert dict(span.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "tensorflow.serving.PredictionService",
        "rpc.method": "Predict",
        "rpc.grpc.status_code": 0,
        "server.address": host,
        "server.port": int(port),
        "gradwire.model": "log",
        "gradwire.signature": "value",
        "gradwire.rows": 2,
        "gradwire.version": 1,
        "gradwire.chunks": 1,
        "gradwire.retries": 0,
    }
    assert span.status.is_unset
    assert [request["traceparent"] for request in sent] == [traceparent(span)]


def request(target: str, how: str, method: str) -> None:
    """Requests signatures or states by one of the clients."""
    address = Address(target, "log")
    if how == "sync":
        transport = GrpcTransport(address)
        getattr(transport, method)(timeout=10.0)
        transport.close()
        return

    async def go() -> None:
        transport = gradwire.aio.GrpcTransport(address)
        await getattr(transport, method)(timeout=10.0)
        await transport.close()

    asyncio.run(go())


@pytest.mark.parametrize("how", ["sync", "aio"])
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("signatures", "tensorflow.serving.PredictionService/GetModelMetadata"),
        ("pinned", "tensorflow.serving.PredictionService/GetModelMetadata"),
        ("status", "tensorflow.serving.ModelService/GetModelStatus"),
    ],
)
def test_a_request_for_signatures_or_states_is_a_span(stand_in, ended, how, method, name):
    """With the model; its context arrives."""
    request(stand_in.target, how, method)
    (span,) = ended()
    service, _, called = name.rpartition("/")
    assert (span.name, span.kind) == (name, trace.SpanKind.CLIENT)
    assert (span.attributes["rpc.service"], span.attributes["rpc.method"]) == (service, called)
    assert (span.attributes["gradwire.model"], span.attributes["rpc.grpc.status_code"]) == ("log", 0)
    assert [metadata["traceparent"] for metadata in stand_in.described] == [traceparent(span)]


@pytest.mark.parametrize("how", ["sync", "aio"])
def test_a_request_that_fails_is_recorded(ended, provider, how):
    """With the client's error."""
    with pytest.raises(gradwire.ServerUnreachable):
        request("127.0.0.1:1", how, "status")
    (span,) = ended()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert (span.attributes["rpc.grpc.status_code"], span.attributes["error.type"]) == (14, "ServerUnreachable")


@pytest.mark.parametrize("how", ["sync", "aio"])
def test_every_chunk_carries_the_span(stand_in, spans, sent, how):
    """A large call is one span, however many messages it takes."""
    compute(stand_in.target, how, np.linspace(0.1, 1.9, 1000), message_limit=2000)
    (span,) = spans()
    assert span.attributes["gradwire.rows"] == 1000
    assert span.attributes["gradwire.chunks"] == len(sent) >= 4
    assert {request["traceparent"] for request in sent} == {traceparent(span)}


@pytest.mark.parametrize("how", ["sync", "aio"])
@pytest.mark.parametrize("limit", [2000, 4_000_000], ids=["chunks", "direct"])
def test_retries_are_events(stand_in, spans, sent, how, limit):
    """With the server's words; the call succeeds."""
    note, refusals = stand_in.hook, [FULL] * 2

    def refuse(request: Any, context: grpc.ServicerContext) -> None:
        note(request, context)
        if refusals and request.model_spec.signature_name != "card":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, refusals.pop())

    stand_in.hook = refuse
    compute(stand_in.target, how, np.linspace(0.1, 1.9, 1000), message_limit=limit)
    (span,) = spans()
    assert [(event.name, event.attributes["gradwire.reason"]) for event in span.events] == [("retry", FULL)] * 2
    assert span.events[0].attributes["rpc.grpc.status_code"] == 8
    assert span.attributes["gradwire.retries"] == 2
    assert span.attributes["gradwire.chunks"] == len(sent) - 2
    assert span.status.is_unset


@pytest.mark.parametrize("how", ["sync", "aio", "sync stream", "aio stream"])
def test_an_error_is_recorded(stand_in, spans, how):
    """With its status, its class and its words."""

    def fail(request: Any, context: grpc.ServicerContext) -> None:
        if request.model_spec.signature_name != "card":
            context.abort(grpc.StatusCode.INTERNAL, "on fire")

    stand_in.hook = fail
    with pytest.raises(gradwire.ServerError):
        compute(stand_in.target, how, [1.0])
    (span,) = spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "on fire" in span.status.description
    assert (span.attributes["rpc.grpc.status_code"], span.attributes["error.type"]) == (13, "ServerError")
    (event,) = span.events
    assert event.attributes["exception.type"] == "gradwire._errors.ServerError"


def test_a_version_that_is_gone_has_its_code(stand_in, spans):
    """The client's own errors have the code that they were made of."""
    with gradwire.connect(stand_in.target, "versions", version=2) as model:
        model.value(1.0)
        del stand_in.models["versions"][2]
        with pytest.raises(gradwire.ModelNotFound):
            model.value(1.0)
    assert spans()[-1].attributes["rpc.grpc.status_code"] == 5


@pytest.mark.parametrize("how", ["sync stream", "aio stream"])
def test_a_block_of_a_stream_is_a_call(stand_in, spans, sent, how):
    """Each has a span of its own, under way together; one of no rows is not sent, and has none."""
    compute(stand_in.target, how, [[1.0], [], [1.0, 2.0]])
    assert sorted(span.attributes["gradwire.rows"] for span in spans()) == [1, 2]
    assert {request["traceparent"] for request in sent} == {traceparent(span) for span in spans()}
    assert len(sent) == len(spans())


def test_a_stream_that_is_left_ends_its_spans(stand_in, spans):
    """Those under way are cancelled, which is no error."""
    with gradwire.connect(stand_in.target, "log") as model:
        stream = model.stream([[1.0]] * 20)
        next(stream)
        stream.close()
    first, *others = spans()
    assert first.attributes["rpc.grpc.status_code"] == 0
    assert others
    assert {span.attributes["rpc.grpc.status_code"] for span in others} == {1}
    assert all(span.status.is_unset for span in others)


def test_without_a_provider_nothing_is_sent(stand_in, sent):
    """OpenTelemetry is imported here, and not set up."""
    compute(stand_in.target, "sync", [1.0])
    assert "traceparent" not in sent[0]


def test_a_program_that_does_not_trace_never_imports_it(stand_in):
    """Though it is installed."""
    code = (
        "import sys, gradwire; gradwire.connect(sys.argv[1], 'log').value(1.0);"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, stand_in.target], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("target", "attributes"),
    [
        ("localhost:8500", {"server.address": "localhost", "server.port": 8500}),
        ("[::1]:8500", {"server.address": "::1", "server.port": 8500}),
        ("dns:///models.example:443", {"server.address": "models.example", "server.port": 443}),
        ("unix:/run/tf.sock", {"server.address": "/run/tf.sock"}),
        ("unix:///run/tf.sock", {"server.address": "/run/tf.sock"}),
        (("10.0.0.1:8500", "10.0.0.2:8500"), {"server.address": "10.0.0.1:8500, 10.0.0.2:8500"}),
    ],
)
def test_the_server_has_attributes(target, attributes):
    """Host and port; several servers stand as they were given."""
    assert _server(Address(target, "log")) == attributes
