"""Spans: one for each request, its parent from the headers, its children for store, locks and hooks."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.adapters.test_queues import whole_life, whole_life_sync
from tuspy_server import ASGIApp, HookEvent, Hooks, MemoryStore, WSGIApp
from tuspy_server.models import UploadInfo
from tuspy_server.observability.opentelemetry import OpenTelemetryTracer

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TUS = {"Tus-Resumable": "1.0.0"}


class Broken(MemoryStore):
    def get(self, upload_id: str, /) -> UploadInfo:
        raise RuntimeError("disk on fire")


def tracing() -> tuple[OpenTelemetryTracer, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTelemetryTracer(provider), exporter


def note(event: HookEvent) -> None:
    pass


async def note_later(event: HookEvent) -> None:
    await anyio.lowlevel.checkpoint()


def children(spans: Sequence[ReadableSpan], parent: ReadableSpan) -> list[str]:
    context = parent.get_span_context()
    assert context is not None
    return [span.name for span in spans if span.parent is not None and span.parent.span_id == context.span_id]


def check(spans: Sequence[ReadableSpan]) -> None:
    requests = [span for span in spans if span.name.startswith("tus ")]
    assert [span.name for span in requests] == ["tus POST", "tus PATCH", "tus PATCH", "tus DELETE"]
    names = children(spans, requests[1])
    assert {"hook pre_access", "lock try_lock", "lock release", "store get", "store open", "store write"} <= set(names)
    assert "hook pre_finish" in children(spans, requests[2])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("colour", ["def", "async def"])
def test_each_request_is_a_span_with_children_for_lock_store_and_hooks(backend: str, colour: str) -> None:
    tracer, exporter = tracing()
    hook = note if colour == "def" else note_later
    app = ASGIApp(MemoryStore(), hooks=Hooks(pre_access=hook, pre_finish=hook), observers=[tracer])
    anyio.run(whole_life, app, backend=backend)
    check(exporter.get_finished_spans())


def test_each_request_is_a_span_under_wsgi() -> None:
    tracer, exporter = tracing()
    app = WSGIApp(MemoryStore(), hooks=Hooks(pre_access=note, pre_finish=note), observers=[tracer])
    whole_life_sync(app)
    check(exporter.get_finished_spans())


def test_the_context_is_taken_from_the_request() -> None:
    tracer, exporter = tracing()
    app = WSGIApp(MemoryStore(), observers=[tracer])
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test") as client:
        client.post("/", headers={**TUS, "Upload-Length": "3", "traceparent": f"00-{TRACE}-{PARENT}-01"})
    (request,) = [span for span in exporter.get_finished_spans() if span.name == "tus POST"]
    assert request.parent is not None
    assert (f"{request.parent.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)


def test_a_span_tells_its_answer_and_no_url() -> None:
    tracer, exporter = tracing()
    app = WSGIApp(Broken(), observers=[tracer])
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test") as client:
        status = client.patch(
            "/0123456789abcdef",
            headers={**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
        ).status_code
    spans = exporter.get_finished_spans()
    (request,) = [span for span in spans if span.name == "tus PATCH"]
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == status == 500
    assert request.attributes["error.type"] == "ERR_INTERNAL_SERVER_ERROR"
    assert request.status.status_code is StatusCode.ERROR
    told = " ".join(f"{span.name} {dict(span.attributes or {})}" for span in spans)
    assert "0123456789abcdef" not in told
