"""The command with storage and locks that other servers keep."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import TUS, Served, wait_until_stored


@pytest.mark.parametrize("workers", ["1", "2"])
def test_uploads_go_to_a_bucket(tmp_path: Path, workers: str) -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    from tests.servers.s3 import BUCKET, KEY_ID, SECRET, moto

    server = moto()
    credentials = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    arguments = ["--s3-bucket", BUCKET, "--s3-endpoint", server.url, "--s3-object-prefix", f"cli-{workers}/"]
    with Served(tmp_path, *arguments, "--workers", workers, environment=credentials) as served:
        served.wait_for(f"storing in s3://{BUCKET}/cli-{workers}/")
        url = served.upload(b"hello")
        assert served.request("GET", url)[2] == b"hello"
        key = f"cli-{workers}/{url.rpartition('/')[2]}"
        assert server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"hello"
    assert list(tmp_path.iterdir()) == []


def test_hosts_that_share_a_redis_exclude_each_other(tmp_path: Path) -> None:
    pytest.importorskip("redis", reason="redis is not installed")

    from tests.lockers.test_redis import redis_server
    from tests.servers.ports import free_port

    part = b"h" * 100_000
    with redis_server(tmp_path, free_port()) as redis:
        arguments = ["--locker", f"redis://127.0.0.1:{redis.port}", "--acquire-lock-timeout", "20s"]
        data = tmp_path / "data"
        with Served(data, *arguments) as one, Served(data, *arguments) as other:
            url = one.create(2 * len(part))
            with one.begin_append(url, part, 2 * len(part)) as client:
                wait_until_stored(data, len(part))
                assert other.offset(url) == len(part)
                assert client.recv(20).startswith(b"HTTP/1.1 423 ")


@pytest.mark.parametrize(
    "arguments",
    [["--locker", "redis://127.0.0.1:1"], ["--s3-bucket", "b", "--s3-endpoint", "http://127.0.0.1:1"]],
    ids=["redis", "s3"],
)
def test_without_its_lock_service_the_command_tells_clients_to_come_back(tmp_path: Path, arguments: list[str]) -> None:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    pytest.importorskip("redis", reason="redis is not installed")
    environment = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "us-east-1"}
    with Served(tmp_path, *arguments, environment=environment) as served:
        status, headers, _ = served.request("DELETE", f"{served.url}nonesuch", TUS)
        assert status == 423
        assert headers["Retry-After"]
        assert served.request("GET", "/healthz")[0] == 200
