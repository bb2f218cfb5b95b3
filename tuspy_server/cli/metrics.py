"""Metrics of the command: one page for all its processes, at the main address or at one of its own."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tuspy_server.cli.errors import extra
from tuspy_server.cli.settings import Settings

if TYPE_CHECKING:
    from tuspy_server.observability.prometheus import PrometheusMetrics

_SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

log = logging.getLogger("tuspy_server.server")


def make_metrics(settings: Settings) -> PrometheusMetrics | None:
    """This process's metrics, None if none are wanted. Raises SettingsError if the extra is missing."""
    if not settings.metrics.metrics:
        return None
    with extra("--metrics", "prometheus"):
        from tuspy_server.observability.prometheus import PrometheusMetrics
    return PrometheusMetrics()


def share_metrics(settings: Settings, until: ExitStack) -> None:
    """Let worker processes count together. Before prometheus_client is imported, which looks only then."""
    if settings.metrics.metrics and settings.listening.workers > 1 and _SHARED_DIRECTORY not in os.environ:
        directory = until.enter_context(tempfile.TemporaryDirectory(prefix="tuspy-server-metrics-"))
        os.environ[_SHARED_DIRECTORY] = directory
        until.callback(os.environ.pop, _SHARED_DIRECTORY, None)


def serve_metrics(settings: Settings, metrics: PrometheusMetrics | None, until: ExitStack) -> None:
    """Answer scrapes at an address of their own, if there is one, until the end. Raises OSError."""
    wanted = settings.metrics
    if metrics is None or not wanted.metrics_port:
        return
    from tuspy_server.observability.prometheus import serving

    host, port = until.enter_context(serving(wanted.metrics_host, wanted.metrics_port, wanted.metrics_path, metrics))
    if settings.logs.show_startup_logs:
        log.info("metrics at http://%s:%d%s", host, port, wanted.metrics_path)


def forget_worker(settings: Settings, pid: int | None) -> None:
    """Count what a worker that has ended was doing no longer."""
    if settings.metrics.metrics and pid is not None:
        from tuspy_server.observability.prometheus import forget_process

        forget_process(pid)
