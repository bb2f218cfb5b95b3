"""An app on S3Store with its default locker, in the bucket too."""

from __future__ import annotations

import base64
import itertools

import pytest
from werkzeug.test import Client

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.stores.ledger_app import PIECE, AppSuite
from tuspy_server.backends.s3 import Bucket
from tuspy_server.stores.s3 import S3Store
from tuspy_server.stores.s3_parts import PartLimits

_prefixes = (f"app {n}/" for n in itertools.count())


class TestS3App(AppSuite):
    def new_store(self) -> S3Store:  # type: ignore[override]
        bucket = Bucket(servers.BUCKET, client=servers.moto().client())
        limits = PartLimits(part_size=PIECE, min_part_size=servers.SMALL_PART)
        return S3Store(bucket, prefix=next(_prefixes), limits=limits)

    def stored(self, store: S3Store) -> list[str]:  # type: ignore[override]
        return [entry.key for entry in store.bucket.list(store.keys.prefix)]

    def test_an_empty_upload_is_an_empty_object(self, client: Client, store: S3Store) -> None:  # type: ignore[override]
        url = self.ask(client, "POST", "/", Upload_Length=0).headers["Location"]
        assert client.get(url).data == b""
        upload_id = url.rpartition("/")[2]
        assert store.bucket.call("head_object", Key=store.keys.prefix + upload_id)["ContentLength"] == 0

    def test_rus3_head_tells_the_clients_metadata_and_nothing_of_s3(self, client: Client, store: S3Store) -> None:
        sent = "filename " + base64.b64encode(b"a.txt").decode()
        url = self.ask(client, "POST", "/", Upload_Length=3 * PIECE, Upload_Metadata=sent).headers["Location"]
        for offset, size in ((0, PIECE), (PIECE, 3), (PIECE + 3, PIECE)):
            assert self.ask(client, "PATCH", url, bytes(size), Upload_Offset=offset).status_code == 204
            headers = self.ask(client, "HEAD", url).headers
            assert headers["Upload-Metadata"] == sent
            assert store.get(url.rpartition("/")[2]).storage["multipart"] not in str(headers)

    @pytest.mark.parametrize("chunk", [1, 4096, PIECE - 1])
    def test_clients_that_send_small_chunks_are_served(self, client: Client, chunk: int) -> None:
        data = bytes(n * 31 % 251 for n in range(5 * chunk + 1))
        url = self.ask(client, "POST", "/", Upload_Length=len(data)).headers["Location"]
        for start in range(0, len(data), chunk):
            answer = self.ask(client, "PATCH", url, data[start : start + chunk], Upload_Offset=start)
            assert answer.headers["Upload-Offset"] == str(min(start + chunk, len(data)))
        assert client.get(url).data == data
