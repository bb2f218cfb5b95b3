"""Metrics of the command: one page, whichever process answers, where the flags say."""

from __future__ import annotations

import http.client
import signal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.command import TUS, Served
from tests.servers.ports import free_port


def total(page: bytes, name: str) -> float:
    families = text_string_to_metric_families(page.decode())
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@pytest.mark.parametrize("workers", ["1", "3"])
def test_the_page_counts_what_all_processes_did(tmp_path: Path, workers: str) -> None:
    with Served(tmp_path, "--metrics", "--workers", workers) as served:
        if workers != "1":
            served.wait_for("worker started", 3)
        for _ in range(12):
            served.upload(b"hello")
        status, headers, page = served.request("GET", "/metrics")
        assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
        assert total(page, "tusd_uploads_finished_total") == 12
        assert total(page, "tusd_bytes_received_total") == 60


def test_bytes_that_the_kernel_moves_count(tmp_path: Path) -> None:
    with Served(tmp_path, "--metrics") as served:
        served.upload(bytes(1 << 20))
        _, _, page = served.request("GET", "/metrics")
        assert total(page, "tusd_bytes_received_total") == 1 << 20
        assert b'tus_store_seconds_count{operation="move"}' in page


def test_a_cap_of_the_command_is_kept(tmp_path: Path) -> None:
    with Served(tmp_path, "--max-open-uploads", "1", "--expires-after", "1h", "--max-lifetime", "2h") as served:
        url = served.create(5)
        fields = {**TUS, "Upload-Length": "5"}
        assert served.request("POST", served.url, fields)[0] == 429
        assert served.request("DELETE", url)[0] == 204
        assert served.request("POST", served.url, fields)[0] == 201


def test_metrics_have_an_address_of_their_own(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--metrics", "--metrics-port", str(port), "--metrics-path", "/m", "--workers", "2"]
    with Served(tmp_path, *arguments) as served:
        served.upload(b"hello")
        assert served.request("GET", "/m")[0] == 404
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("GET", "/m")
        assert total(client.getresponse().read(), "tusd_uploads_finished_total") == 1
        client.close()
        served.signal(signal.SIGTERM)
        assert served.wait() == 0


def test_quirk_44_nothing_is_shown_unless_asked_for(tmp_path: Path) -> None:
    with Served(tmp_path) as served:
        assert served.request("GET", "/metrics")[0] == 404
