"""Metrics for Prometheus (extra `prometheus`): tusd's names, and what tusd does not tell.

Where several processes serve, set PROMETHEUS_MULTIPROC_DIR to an empty directory before they start, as
prometheus_client asks for: each scrape then shows the sum over all of them, whichever answers it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from tuspy_server.errors import TusError
from tuspy_server.models import HookEvent, Response
from tuspy_server.observability.measuring import HAPPENED, METHODS, QUICK_TO_SLOW, REQUEST_SECONDS, Measuring
from tuspy_server.observability.observer import Part

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"

HOOK_TYPES = (
    *("pre-create", "post-create", "post-receive", "pre-terminate", "post-terminate", "post-finish", "pre-finish"),
    "pre-access",
)


class PrometheusMetrics(Measuring):
    """Counts and times what an app does: `ASGIApp(store, observers=[metrics])`; `scrape()` is the page.

    One object may watch several apps of a process. `registry` is for who collects more beside it; in multiprocess
    mode `scrape` reads the shared files instead.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._is_shared = MULTIPROCESS in os.environ
        self._count_requests()
        self._count_uploads()
        self._time_members()
        # `labels` looks its child up under a lock: too much for what a request asks a dozen times
        self._requests_of, self._seconds_of = cache(self._requests.labels), cache(self._seconds.labels)
        self._store_of, self._lock_of = cache(self._store.labels), cache(self._lock.labels)
        if registry is None and not self._is_shared:
            ProcessCollector(registry=self.registry)

    def _count_requests(self) -> None:
        to = self.registry
        self._requests = Counter("tusd_requests", "Requests served.", ["method"], registry=to)
        self._errors = Counter("tusd_errors", "Requests refused or failed.", ["status", "code"], registry=to)
        self._open = Gauge("tus_requests_open", "Requests under way.", registry=to, multiprocess_mode="livesum")
        self._seconds = Histogram(
            "tus_request_seconds", "Time to an answer.", ["method"], buckets=REQUEST_SECONDS, registry=to
        )
        for method in METHODS:
            self._requests.labels(method)

    def _count_uploads(self) -> None:
        to = self.registry
        self._bytes = Counter("tusd_bytes_received", "Bytes of bodies given to the store.", registry=to)
        self._uploads = {
            word: Counter(f"tusd_uploads_{word}", f"Uploads {word}.", registry=to) for word in HAPPENED.values()
        }
        self._receiving = Gauge(
            "tus_uploads_in_progress", "Bodies being received.", registry=to, multiprocess_mode="livesum"
        )

    def _time_members(self) -> None:
        to = self.registry
        self._invocations = Counter("tusd_hook_invocations", "Hooks called.", ["hooktype"], registry=to)
        self._hook_errors = Counter("tusd_hook_errors", "Hooks that refused or failed.", ["hooktype"], registry=to)
        for name in HOOK_TYPES:
            self._invocations.labels(name)
            self._hook_errors.labels(name)
        self._hook = Histogram("tus_hook_seconds", "Hooks.", ["hooktype"], buckets=QUICK_TO_SLOW, registry=to)
        self._store = Histogram("tus_store_seconds", "The store.", ["operation"], buckets=QUICK_TO_SLOW, registry=to)
        self._store_errors = Counter("tus_store_errors", "Calls of the store that failed.", ["operation"], registry=to)
        self._lock = Histogram("tus_lock_seconds", "The locker.", ["operation"], buckets=QUICK_TO_SLOW, registry=to)
        self._waits = Histogram(
            "tus_lock_wait_seconds", "Waits for uploads in use.", buckets=QUICK_TO_SLOW, registry=to
        )
        self._handovers = Counter("tus_lock_handovers", "Requests asked to let go of their upload.", registry=to)

    def changed(self, change: int, *, has_body: bool) -> None:
        self._open.inc(change)
        if has_body:
            self._receiving.inc(change)

    def answered(self, method: str, seconds: float, response: Response, error: TusError | None) -> None:
        self._requests_of(method).inc()
        self._seconds_of(method).observe(seconds)
        if error is not None:
            self._errors.labels(str(response.status), error.code).inc()

    def stepped(self, part: Part, operation: str, seconds: float, *, failed: bool) -> None:
        if part == "store":
            self._store_of(operation).observe(seconds)
            if failed:
                self._store_errors.labels(operation).inc()
        elif part == "hook":
            name = operation.replace("_", "-")
            self._invocations.labels(name).inc()
            self._hook.labels(name).observe(seconds)
            if failed:
                self._hook_errors.labels(name).inc()
        elif operation == "wait":
            self._waits.observe(seconds)
        else:
            self._lock_of(operation).observe(seconds)

    def received(self, size: int) -> None:
        self._bytes.inc(size)

    def handed_over(self) -> None:
        self._handovers.inc()

    def happened(self, event: HookEvent) -> None:
        if event.type in HAPPENED:
            self._uploads[HAPPENED[event.type]].inc()

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """The page for a scraper that sent this Accept field, and its Content-Type."""
        return scrape(None if self._is_shared else self.registry, accept)


def scrape(registry: CollectorRegistry | None, accept: str = "") -> tuple[bytes, str]:
    """A page and its Content-Type; without a registry, that of all processes which share PROMETHEUS_MULTIPROC_DIR."""
    if registry is None:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def forget_process(pid: int) -> None:
    """Count the gauges of a process that has ended no longer; its counters stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


@contextmanager
def serving(host: str, port: int, path: str, metrics: PrometheusMetrics | None) -> Iterator[tuple[str, int]]:
    """Answer GET of `path` at an address of its own, in a thread, until the block ends; yields that address.

    `metrics` None is for a process that serves nothing itself and shares PROMETHEUS_MULTIPROC_DIR. Raises OSError.
    """

    class Page(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if urlsplit(self.path).path != path:
                self.send_error(404)
                return
            accept = self.headers.get("Accept", "")
            page, content_type = scrape(None, accept) if metrics is None else metrics.scrape(accept)
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((host, port), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield (host, server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
