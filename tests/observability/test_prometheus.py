"""Metrics as a scraper sees them."""

from __future__ import annotations

import threading

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.adapters.test_queues import APPEND, CONFIG, TUS, whole_life, whole_life_sync
from tests.engine.client import EngineClient
from tests.engine.test_locking import Script
from tuspy_server import ASGIApp, Composer, Config, HookEvent, Hooks, MemoryLocker, MemoryStore, RejectUpload, WSGIApp
from tuspy_server.callers import InlineCaller, run_sync
from tuspy_server.models import Request
from tuspy_server.observability.measuring import METHODS
from tuspy_server.observability.prometheus import PrometheusMetrics, serving
from tuspy_server.runtime import Runtime

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(page: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def scraped(metrics: PrometheusMetrics) -> Samples:
    page, content_type = metrics.scrape()
    assert content_type.startswith("text/plain")
    return samples(page.decode())


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def check_whole_life(found: Samples) -> None:
    assert value(found, "tusd_uploads_created_total") == 1
    assert value(found, "tusd_uploads_finished_total") == 1
    assert value(found, "tusd_uploads_terminated_total") == 1
    assert value(found, "tusd_bytes_received_total") == 10
    assert [value(found, "tusd_requests_total", method=method) for method in ("POST", "PATCH", "DELETE")] == [1, 2, 1]
    assert value(found, "tus_store_seconds_count", operation="write") == 2
    assert value(found, "tus_requests_open") == value(found, "tus_uploads_in_progress") == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_uploads_life_is_counted(backend: str) -> None:
    metrics = PrometheusMetrics()
    anyio.run(whole_life, ASGIApp(MemoryStore(), CONFIG, observers=[metrics]), backend=backend)
    check_whole_life(scraped(metrics))


def test_an_uploads_life_is_counted_under_wsgi() -> None:
    metrics = PrometheusMetrics()
    whole_life_sync(WSGIApp(MemoryStore(), CONFIG, observers=[metrics]))
    check_whole_life(scraped(metrics))


def test_every_method_and_hook_is_there_from_zero() -> None:
    found = scraped(PrometheusMetrics())
    assert all(value(found, "tusd_requests_total", method=method) == 0 for method in METHODS)
    assert value(found, "tusd_hook_invocations_total", hooktype="post-finish") == 0
    assert value(found, "tusd_hook_errors_total", hooktype="pre-access") == 0


def test_refusals_are_counted_by_status_and_code_and_hooks_by_type() -> None:
    def refuse(event: HookEvent) -> None:
        raise RejectUpload("no", status=403)

    metrics = PrometheusMetrics()
    app = WSGIApp(MemoryStore(), hooks=Hooks(pre_create=refuse), observers=[metrics])
    with httpx.Client(transport=httpx.WSGITransport(app), base_url="http://test") as client:
        assert client.post("/", headers={**TUS, "Upload-Length": "3"}).status_code == 403
        assert client.head("/unknown", headers=TUS).status_code == 404
    found = scraped(metrics)
    assert value(found, "tusd_errors_total", status="403", code="ERR_UPLOAD_REJECTED") == 1
    assert value(found, "tusd_errors_total", status="404", code="ERR_UPLOAD_NOT_FOUND") == 1
    assert value(found, "tusd_hook_invocations_total", hooktype="pre-create") == 1
    assert value(found, "tusd_hook_errors_total", hooktype="pre-create") == 1
    assert value(found, "tus_hook_seconds_count", hooktype="pre-create") == 1


def test_waits_and_hand_overs_are_counted_and_a_redone_request_once() -> None:
    metrics = PrometheusMetrics()
    locker = MemoryLocker()
    app = ASGIApp(Composer(MemoryStore(), locker), Config(acquire_lock_timeout=10), observers=[metrics])

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            location = (await client.post("/", headers={**TUS, "Upload-Length": "10"})).headers["Location"]
            asked = threading.Event()
            lock = locker.try_lock(location.rpartition("/")[2], asked.set, lambda: None)
            assert lock is not None

            async def let_go() -> None:
                await anyio.to_thread.run_sync(asked.wait)
                lock.release()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(let_go)
                answer = await client.patch(location, headers={**APPEND, "Upload-Offset": "0"}, content=b"hello")
                assert answer.status_code == 204

    anyio.run(main)
    found = scraped(metrics)
    assert value(found, "tus_lock_wait_seconds_count") == 1
    assert value(found, "tusd_requests_total", method="PATCH") == 1


def test_a_request_that_lets_go_is_one_hand_over() -> None:
    metrics = PrometheusMetrics()
    locker = MemoryLocker()
    client = EngineClient(Composer(MemoryStore(), locker))
    upload = client.create(10).id

    def ask_again_and_again() -> None:
        for _ in range(3):
            locker.request_release(upload)

    fields = {**APPEND, "Upload-Offset": "0", "Transfer-Encoding": "chunked"}
    headers = tuple((name.lower(), text) for name, text in fields.items())
    request = Request(method="PATCH", url=f"http://test/{upload}", path=f"/{upload}", headers=headers)
    runtime = Runtime(client.composer, InlineCaller(), observer=metrics)
    body = Script(b"hello", ask_again_and_again, b"never")
    reply = run_sync(client.engine.carry_out(client.engine.begin(request), body, runtime))
    assert reply.response.status == 423
    assert value(scraped(metrics), "tus_lock_handovers_total") == 1


def test_metrics_may_have_an_address_of_their_own() -> None:
    metrics = PrometheusMetrics()
    with serving("127.0.0.1", 0, "/metrics", metrics) as (host, port):
        page = httpx.get(f"http://{host}:{port}/metrics")
        assert value(samples(page.text), "tusd_requests_total", method="GET") == 0
        assert httpx.get(f"http://{host}:{port}/").status_code == 404
        openmetrics = httpx.get(f"http://{host}:{port}/metrics", headers={"Accept": "application/openmetrics-text"})
        assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
