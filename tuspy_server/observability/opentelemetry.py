"""Traces by OpenTelemetry (extra `otel`): a span for each request, with children for store, locks and hooks.

The parent is what the request's headers tell, by the globally configured propagator (W3C traceparent unless changed).
Without an SDK the API makes spans that go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from tuspy_server.errors import TusError
from tuspy_server.models import Request, Response
from tuspy_server.observability.observer import Answered, Observer, Part

SERVER_ERROR = 500


class OpenTelemetryTracer(Observer):
    """Traces an app: `ASGIApp(store, observers=[OpenTelemetryTracer()])`.

    `provider` is the global one unless given. Span names hold no upload id and no attribute holds a URL: whoever
    knows an upload's URL may write to it.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("tuspy_server", tracer_provider=provider)

    @contextmanager
    def request(self, request: Request, *, has_body: bool) -> Iterator[Answered]:
        context = propagate.extract({name.lower(): value for name, value in request.headers})
        with self._tracer.start_as_current_span(
            f"tus {request.method}",
            context=context,
            kind=SpanKind.SERVER,
            attributes={"http.request.method": request.method, "url.scheme": request.scheme},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def answered(response: Response, error: TusError | None, /) -> None:
                span.set_attribute("http.response.status_code", response.status)
                if error is not None:
                    span.set_attribute("error.type", error.code)
                if response.status >= SERVER_ERROR:
                    span.set_status(Status(StatusCode.ERROR))

            yield answered

    @contextmanager
    def step(self, part: Part, operation: str) -> Iterator[None]:
        with self._tracer.start_as_current_span(f"{part} {operation}"):
            yield
