"""Metrics by OpenTelemetry (extra `otel`): the instruments that Prometheus is given, under the same names.

`_total` is Prometheus' and left off. Without an SDK the API makes instruments that go nowhere.
"""

from __future__ import annotations

from opentelemetry import metrics
from opentelemetry.metrics import Histogram, MeterProvider

from tuspy_server.errors import TusError
from tuspy_server.models import HookEvent, Response
from tuspy_server.observability.measuring import HAPPENED, QUICK_TO_SLOW, REQUEST_SECONDS, Measuring
from tuspy_server.observability.observer import Part


class OpenTelemetryMetrics(Measuring):
    """Counts and times what an app does: `ASGIApp(store, observers=[OpenTelemetryMetrics()])`.

    `provider` is the global one unless given. No attribute holds an upload's id or URL.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._meter = metrics.get_meter("tuspy_server", meter_provider=provider)
        self._count_requests()
        self._count_uploads()
        self._time_members()

    def _count_requests(self) -> None:
        counter = self._meter.create_counter
        self._requests = counter("tusd_requests", description="Requests served.")
        self._errors = counter("tusd_errors", description="Requests refused or failed.")
        self._open = self._meter.create_up_down_counter("tus_requests_open", description="Requests under way.")
        self._seconds = self._histogram("tus_request_seconds", "Time to an answer.", REQUEST_SECONDS)

    def _count_uploads(self) -> None:
        counter = self._meter.create_counter
        self._bytes = counter("tusd_bytes_received", unit="By", description="Bytes of bodies given to the store.")
        self._uploads = {
            word: counter(f"tusd_uploads_{word}", description=f"Uploads {word}.") for word in HAPPENED.values()
        }
        self._receiving = self._meter.create_up_down_counter(
            "tus_uploads_in_progress", description="Bodies being received."
        )

    def _time_members(self) -> None:
        counter = self._meter.create_counter
        self._invocations = counter("tusd_hook_invocations", description="Hooks called.")
        self._hook_errors = counter("tusd_hook_errors", description="Hooks that refused or failed.")
        self._hook = self._histogram("tus_hook_seconds", "Hooks.")
        self._store = self._histogram("tus_store_seconds", "The store.")
        self._store_errors = counter("tus_store_errors", description="Calls of the store that failed.")
        self._lock = self._histogram("tus_lock_seconds", "The locker.")
        self._waits = self._histogram("tus_lock_wait_seconds", "Waits for uploads in use.")
        self._handovers = counter("tus_lock_handovers", description="Requests asked to let go of their upload.")

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...] = QUICK_TO_SLOW) -> Histogram:
        return self._meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=buckets
        )

    def changed(self, change: int, *, has_body: bool) -> None:
        self._open.add(change)
        if has_body:
            self._receiving.add(change)

    def answered(self, method: str, seconds: float, response: Response, error: TusError | None) -> None:
        self._requests.add(1, {"method": method})
        self._seconds.record(seconds, {"method": method})
        if error is not None:
            self._errors.add(1, {"status": response.status, "code": error.code})

    def stepped(self, part: Part, operation: str, seconds: float, *, failed: bool) -> None:
        if part == "store":
            self._store.record(seconds, {"operation": operation})
            if failed:
                self._store_errors.add(1, {"operation": operation})
        elif part == "hook":
            kind = {"hooktype": operation.replace("_", "-")}
            self._invocations.add(1, kind)
            self._hook.record(seconds, kind)
            if failed:
                self._hook_errors.add(1, kind)
        elif operation == "wait":
            self._waits.record(seconds)
        else:
            self._lock.record(seconds, {"operation": operation})

    def received(self, size: int) -> None:
        self._bytes.add(size)

    def handed_over(self) -> None:
        self._handovers.add(1)

    def happened(self, event: HookEvent) -> None:
        if event.type in HAPPENED:
            self._uploads[HAPPENED[event.type]].add(1)
