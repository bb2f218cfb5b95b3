"""Downloads from the bucket itself, by presigned URLs, on a server that checks signatures."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from werkzeug.test import Client

from tests.cli.command import Served, wait_until
from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.stores.redirects import DATA, fetch, redirected, uploaded
from tuspy_server import WSGIApp
from tuspy_server.backends.s3 import Bucket
from tuspy_server.stores.limited import LimitedStore
from tuspy_server.stores.s3 import S3Store

_prefixes = (f"redirects-{n}" for n in itertools.count())


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET)


def new_store(seconds: float) -> S3Store:
    server = servers.seaweedfs()
    bucket = Bucket(servers.BUCKET, endpoint_url=server.url, region="us-east-1", addressing="path")
    return S3Store(bucket, prefix=next(_prefixes), redirect_downloads=seconds)


@pytest.mark.parametrize("size", [0, len(DATA)])
def test_the_address_leads_to_the_bytes(size: int) -> None:
    client = Client(WSGIApp(new_store(60)))
    answer = redirected(client, uploaded(client, DATA[:size]))
    assert fetch(answer.headers["Location"])[::2] == (200, DATA[:size])


def test_the_address_is_signed_as_every_bucket_takes_it() -> None:
    """AWS takes version 2, which boto3 presigns by default, for buckets of before 2020 only."""
    client = Client(WSGIApp(new_store(60)))
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in redirected(client, uploaded(client)).headers["Location"]


def test_a_range_passes_through() -> None:
    client = Client(WSGIApp(new_store(60)))
    url = redirected(client, uploaded(client), Range="bytes=5-9").headers["Location"]
    status, headers, body = fetch(url, Range="bytes=5-9")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 5-9/{len(DATA)}", DATA[5:10])


def test_what_a_stranger_uploaded_is_served_as_harmlessly_as_from_here() -> None:
    """The object itself has the client's type; a hook may have chosen yet another disposition."""
    client = Client(WSGIApp(new_store(60)))
    url = uploaded(client, b"<script>", filename="größe.html", filetype="text/html; charset=x")
    headers = fetch(redirected(client, url).headers["Location"])[1]
    assert headers["Content-Type"] == "text/html"
    assert (
        headers["Content-Disposition"] == "attachment; filename=\"gr__e.html\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.html"
    )
    assert headers["Cache-Control"] == "private, no-cache"


def test_nothing_of_the_address_can_be_changed() -> None:
    client = Client(WSGIApp(new_store(60)))
    url = redirected(client, uploaded(client, filetype="text/html")).headers["Location"]
    assert "attachment" in url
    assert fetch(url.replace("attachment", "inline"))[0] == 403
    other = uploaded(client).rpartition("/")[2]
    assert fetch(url.replace(urlsplit(url).path.rpartition("/")[2], other))[0] == 403


def test_the_address_is_refused_once_its_time_is_over() -> None:
    client = Client(WSGIApp(new_store(1)))
    upload = uploaded(client)
    url = redirected(client, upload).headers["Location"]
    begun = time.monotonic()
    wait_until(lambda: fetch(url)[0] == 403)
    assert time.monotonic() - begun < 5
    assert client.head(upload, headers={"Tus-Resumable": "1.0.0"}).headers["Upload-Offset"] == str(len(DATA))


def test_a_capped_store_redirects_too() -> None:
    client = Client(WSGIApp(LimitedStore(new_store(60), 1 << 30)))
    assert fetch(redirected(client, uploaded(client)).headers["Location"])[2] == DATA


def test_without_the_option_the_bytes_are_sent_from_here() -> None:
    client = Client(WSGIApp(new_store(0)))
    answer = client.get(uploaded(client))
    assert (answer.status_code, answer.data) == (200, DATA)


@pytest.mark.parametrize("seconds", [-1, 7 * 24 * 3600 + 1])
def test_times_that_no_server_grants_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="redirect_downloads"):
        S3Store("bucket", redirect_downloads=seconds)


def test_a_client_of_the_command_follows_to_the_bucket(tmp_path: Path) -> None:
    server = servers.seaweedfs()
    bucket = ["--s3-bucket", servers.BUCKET, "--s3-endpoint", server.url, "--s3-object-prefix", next(_prefixes)]
    with Served(tmp_path, *bucket, "--s3-redirect-downloads", "1m", environment={"AWS_REGION": "us-east-1"}) as served:
        url = served.upload(DATA)
        assert served.request("GET", url)[0] == 307
        assert fetch(url)[::2] == (200, DATA)
        assert fetch(url, Range="bytes=-5")[::2] == (206, DATA[-5:])
