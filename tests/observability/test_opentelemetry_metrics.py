"""The instruments of OpenTelemetry tell what a scrape of Prometheus tells of the same requests."""

from __future__ import annotations

import anyio
import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint

from tests.adapters.test_queues import APPEND, CONFIG, TUS, whole_life, whole_life_sync
from tests.observability.test_prometheus import Samples, scraped
from tuspy_server import ASGIApp, HookEvent, Hooks, MemoryStore, RejectUpload, WSGIApp
from tuspy_server.observability.measuring import QUICK_TO_SLOW
from tuspy_server.observability.opentelemetry_metrics import OpenTelemetryMetrics
from tuspy_server.observability.prometheus import PrometheusMetrics


class Watching:
    """Both kinds of metrics on one app."""

    def __init__(self) -> None:
        self.prometheus = PrometheusMetrics()
        self.reader = InMemoryMetricReader()
        provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.observers = [self.prometheus, OpenTelemetryMetrics(provider)]

    def read(self) -> Samples:
        """What the instruments hold, a histogram as the number of its values; under Prometheus' names."""
        found = self.reader.get_metrics_data()
        assert found is not None
        (resource,) = found.resource_metrics
        (scope,) = resource.scope_metrics
        samples: Samples = {}
        for metric in scope.metrics:
            for point in metric.data.data_points:
                labels = tuple(sorted((key, str(value)) for key, value in (point.attributes or {}).items()))
                if isinstance(point, HistogramDataPoint):
                    samples[f"{metric.name}_count", labels] = point.count
                elif isinstance(point, NumberDataPoint):
                    samples[metric.name, labels] = point.value
        return samples

    def check(self) -> Samples:
        """Both tell the same; returns it."""
        told, scrape = self.read(), scraped(self.prometheus)
        names = {name.removesuffix("_total") for name, _ in scrape if name.startswith("tus")}
        assert {name for name, _ in told} <= names
        expected = {
            (name.removesuffix("_total"), labels): value
            for (name, labels), value in scrape.items()
            if value and name.startswith("tus") and not name.endswith(("_bucket", "_sum", "_created"))
        }
        assert {key: value for key, value in told.items() if value} == expected
        return told


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_uploads_life_is_counted(backend: str) -> None:
    watching = Watching()
    anyio.run(whole_life, ASGIApp(MemoryStore(), CONFIG, observers=watching.observers), backend=backend)
    found = watching.check()
    assert found["tusd_bytes_received", ()] == 10
    assert found["tus_request_seconds_count", (("method", "PATCH"),)] == 2
    assert found["tus_requests_open", ()] == found["tus_uploads_in_progress", ()] == 0


def test_an_uploads_life_is_counted_under_wsgi() -> None:
    watching = Watching()
    whole_life_sync(WSGIApp(MemoryStore(), CONFIG, observers=watching.observers))
    assert watching.check()["tusd_uploads_finished", ()] == 1


def test_refusals_are_counted_by_status_and_code_and_hooks_by_type() -> None:
    def refuse(event: HookEvent) -> None:
        raise RejectUpload("no", status=403)

    watching = Watching()
    app = WSGIApp(MemoryStore(), hooks=Hooks(pre_create=refuse), observers=watching.observers)
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test") as client:
        assert client.post("/", headers={**TUS, "Upload-Length": "3"}).status_code == 403
        assert client.patch("/unknown", headers={**APPEND, "Upload-Offset": "0"}, content=b"x").status_code == 404
    found = watching.check()
    assert found["tusd_errors", (("code", "ERR_UPLOAD_REJECTED"), ("status", "403"))] == 1
    assert found["tusd_hook_errors", (("hooktype", "pre-create"),)] == 1
    assert found["tus_store_errors", (("operation", "get"),)] == 1


def test_times_are_in_the_buckets_that_prometheus_has() -> None:
    watching = Watching()
    whole_life_sync(WSGIApp(MemoryStore(), CONFIG, observers=watching.observers))
    found = watching.reader.get_metrics_data()
    assert found is not None
    metrics = {metric.name: metric for metric in found.resource_metrics[0].scope_metrics[0].metrics}
    (point, *_) = metrics["tus_store_seconds"].data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert tuple(point.explicit_bounds) == QUICK_TO_SLOW
    assert metrics["tus_store_seconds"].unit == "s"


def test_waits_and_hand_overs_have_instruments_too() -> None:
    watching = Watching()
    _, metrics = watching.observers
    with metrics.step("lock", "wait"), metrics.step("lock", "try_lock"):
        metrics.handed_over()
    found = watching.read()
    assert found["tus_lock_handovers", ()] == found["tus_lock_wait_seconds_count", ()] == 1
    assert found["tus_lock_seconds_count", (("operation", "try_lock"),)] == 1
