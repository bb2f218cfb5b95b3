"""A whole app on a store, with its default locker: what a tus client sees."""

from __future__ import annotations

import base64
import hashlib
from abc import abstractmethod

import pytest
from werkzeug.test import Client, TestResponse

from tuspy_server import Config, WSGIApp
from tuspy_server.stores.ledger_store import LedgerStore

PIECE = 64 * 1024


class AppSuite:
    """A subclass gives the store, of pieces of PIECE bytes, and the names of all that is stored outside `.locks/`."""

    @abstractmethod
    def new_store(self) -> LedgerStore: ...

    @abstractmethod
    def stored(self, store: LedgerStore) -> list[str]: ...

    @pytest.fixture
    def store(self) -> LedgerStore:
        return self.new_store()

    @pytest.fixture
    def client(self, store: LedgerStore) -> Client:
        return Client(WSGIApp(store, Config(tombstone_period=0)))

    def ask(
        self, client: Client, method: str, url: str, body: bytes = b"", announced: int | None = None, **headers: object
    ) -> TestResponse:
        """One request; `announced` is the Content-Length of a body that breaks off."""
        overrides = {} if announced is None else {"CONTENT_LENGTH": str(announced)}
        fields = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        if method == "PATCH":
            fields["Content-Type"] = "application/offset+octet-stream"
        fields["Tus-Resumable"] = "1.0.0"
        return client.open(url, method=method, data=body, headers=fields, environ_overrides=overrides)

    def test_a_file_goes_up_comes_down_and_is_removed(self, client: Client, store: LedgerStore) -> None:
        data = bytes(n * 31 % 251 for n in range(5 * PIECE + 77))
        name = base64.b64encode("名前.txt".encode()).decode()
        made = self.ask(client, "POST", "/", Upload_Length=len(data), Upload_Metadata=f"filename {name}")
        assert made.status_code == 201
        url = made.headers["Location"]
        first = self.ask(client, "PATCH", url, data[: 3 * PIECE + 1], Upload_Offset=0)
        assert (first.status_code, first.headers["Upload-Offset"]) == (204, str(3 * PIECE + 1))
        assert self.ask(client, "HEAD", url).headers["Upload-Offset"] == str(3 * PIECE + 1)
        last = self.ask(client, "PATCH", url, data[3 * PIECE + 1 :], Upload_Offset=3 * PIECE + 1)
        assert (last.status_code, last.headers["Upload-Offset"]) == (204, str(len(data)))
        assert client.get(url).data == data
        part = client.get(url, headers={"Range": f"bytes=10-{PIECE + 20}"})
        assert (part.status_code, part.data) == (206, data[10 : PIECE + 21])
        assert self.ask(client, "DELETE", url).status_code == 204
        assert self.ask(client, "HEAD", url).status_code == 404
        assert self.stored(store) == []

    def test_g1_a_client_that_goes_at_its_first_patch_finds_its_bytes(self, client: Client) -> None:
        data = bytes(n * 31 % 251 for n in range(4 * PIECE))
        url = self.ask(client, "POST", "/", Upload_Length=len(data)).headers["Location"]
        cut = self.ask(client, "PATCH", url, data[: 2 * PIECE + 5], len(data), Upload_Offset=0)
        assert cut.status_code == 500
        assert self.ask(client, "HEAD", url).headers["Upload-Offset"] == str(2 * PIECE + 5)
        rest = self.ask(client, "PATCH", url, data[2 * PIECE + 5 :], Upload_Offset=2 * PIECE + 5)
        assert rest.status_code == 204
        assert client.get(url).data == data

    def test_a_body_of_another_checksum_leaves_nothing(self, client: Client) -> None:
        data = bytes(3 * PIECE)
        url = self.ask(client, "POST", "/", Upload_Length=len(data)).headers["Location"]
        right = base64.b64encode(hashlib.sha1(data).digest()).decode()
        wrong = base64.b64encode(hashlib.sha1(b"").digest()).decode()
        refused = self.ask(client, "PATCH", url, data, Upload_Offset=0, Upload_Checksum=f"sha1 {wrong}")
        assert refused.status_code == 460
        assert self.ask(client, "HEAD", url).headers["Upload-Offset"] == "0"
        taken = self.ask(client, "PATCH", url, data, Upload_Offset=0, Upload_Checksum=f"sha1 {right}")
        assert taken.status_code == 204
        assert client.get(url).data == data

    @pytest.mark.parametrize("sizes", [(PIECE, 2 * PIECE + 3), (0, 5, 0), (0, 0)], ids=str)
    def test_parts_become_a_final(self, client: Client, sizes: tuple[int, ...]) -> None:
        contents = [bytes([n + 1]) * size for n, size in enumerate(sizes)]
        urls = []
        for data in contents:
            made = self.ask(client, "POST", "/", Upload_Length=len(data), Upload_Concat="partial")
            urls.append(made.headers["Location"])
            if data:
                assert self.ask(client, "PATCH", urls[-1], data, Upload_Offset=0).status_code == 204
        final = self.ask(client, "POST", "/", Upload_Concat="final;" + " ".join(urls))
        assert final.status_code == 201
        assert client.get(final.headers["Location"]).data == b"".join(contents)

    def test_a_length_declared_with_the_last_byte_completes(self, client: Client) -> None:
        url = self.ask(client, "POST", "/", Upload_Defer_Length=1).headers["Location"]
        assert self.ask(client, "PATCH", url, b"x" * (PIECE + 1), Upload_Offset=0).status_code == 204
        done = self.ask(client, "PATCH", url, b"", Upload_Offset=PIECE + 1, Upload_Length=PIECE + 1)
        assert done.status_code == 204
        assert client.get(url).data == b"x" * (PIECE + 1)

    def test_an_empty_upload_is_an_empty_object(self, client: Client, store: LedgerStore) -> None:
        url = self.ask(client, "POST", "/", Upload_Length=0).headers["Location"]
        assert client.get(url).data == b""
        assert sum(name.endswith("/data") for name in self.stored(store)) == 1
