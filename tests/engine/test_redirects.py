"""GET of finished uploads whose store lets clients fetch the bytes from the storage itself."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.engine.client import EngineClient, Runner
from tests.engine.test_download import finished
from tuspy_server import Composer, Config, Hooks, MemoryStore
from tuspy_server.errors import RejectUpload, StoreUnavailable
from tuspy_server.models import HookEvent, UploadInfo

ELSEWHERE = "https://bucket.example/"


class Elsewhere(MemoryStore):
    """Its bytes can be fetched from another address too."""

    told: Mapping[str, str]

    def redirect(self, info: UploadInfo, headers: Mapping[str, str], /) -> str | None:
        self.told = headers
        return f"{ELSEWHERE}{info.id}?signed"


class ElsewhereInAsync(Elsewhere):
    async def redirect(self, info: UploadInfo, headers: Mapping[str, str], /) -> str | None:  # type: ignore[override]  # the other colour
        return super().redirect(info, headers)


@pytest.fixture(params=["def", "async def"])
def elsewhere(request: pytest.FixtureRequest, runner: Runner) -> EngineClient:
    if request.param == "def":
        return EngineClient(Elsewhere(), runner=runner)
    return EngineClient(ElsewhereInAsync(), runner="asyncio" if runner == "run_sync" else runner)


def test_a_finished_upload_is_fetched_where_the_store_says(elsewhere: EngineClient) -> None:
    upload = finished(elsewhere)
    answer = elsewhere.get(upload)
    assert (answer.status, answer["location"], answer.body) == (307, f"{ELSEWHERE}{upload}?signed", b"")
    assert (answer["cache-control"], answer["referrer-policy"]) == ("no-store", "no-referrer")
    assert answer.reply.download is None


def test_the_store_is_told_what_makes_the_bytes_harmless() -> None:
    store = Elsewhere()
    client = EngineClient(store)
    client.get(finished(client, filename="../ü.html", filetype="text/html"))
    assert store.told["Content-Type"] == "text/html"
    assert store.told["Content-Disposition"] == "attachment; filename=\"_.html\"; filename*=UTF-8''%C3%BC.html"
    client.get(finished(client, filetype="image/png"))
    assert store.told["Content-Disposition"] == "inline"


def test_head_is_answered_here(elsewhere: EngineClient) -> None:
    upload = finished(elsewhere)
    answer = elsewhere.head(upload)
    assert (answer.status, answer.offset, answer["content-length"]) == (200, 10, "10")
    plain = elsewhere.request("HEAD", upload, version=None)
    assert (plain.status, plain["content-length"], plain["etag"]) == (200, "10", f'"{upload}-10"')


def test_a_range_is_left_to_the_storage(elsewhere: EngineClient) -> None:
    assert elsewhere.get(finished(elsewhere), range="bytes=2-5").status == 307


def test_what_has_no_bytes_to_fetch_is_answered_here(elsewhere: EngineClient) -> None:
    upload = finished(elsewhere)
    assert elsewhere.get(upload, if_none_match=f'"{upload}-10"').status == 304
    assert elsewhere.get(upload, range="bytes=10-").status == 416
    assert elsewhere.get(elsewhere.create(10, b"hello").id).status == 204


def test_nobody_is_told_an_address_who_may_not_see_the_upload() -> None:
    def refuse(event: HookEvent) -> None:
        raise RejectUpload("not yours", status=403)

    client = EngineClient(Elsewhere())
    upload = finished(client)
    client.hooks = Hooks(pre_access=refuse)
    client.restart()
    answer = client.get(upload)
    assert answer.status == 403
    assert "location" not in answer.headers


def test_downloads_that_are_switched_off_stay_off() -> None:
    client = EngineClient(Elsewhere(), Config(download=False))
    assert client.get(finished(client)).status == 405


def test_a_draft_s_client_is_told_the_state_beside_the_address(elsewhere: EngineClient) -> None:
    fields = {"Upload-Draft-Interop-Version": "8"}
    made = elsewhere.request("POST", "", {**fields, "Upload-Complete": "?1"}, b"0123456789", version=None)
    answer = elsewhere.request("GET", made.id, fields, version=None)
    assert (answer.status, answer["upload-complete"]) == (307, "?1")


def test_without_an_address_the_bytes_are_sent_from_here() -> None:
    class Here(Elsewhere):
        def redirect(self, info: UploadInfo, headers: Mapping[str, str], /) -> str | None:
            return None

    client = EngineClient(Here())
    answer = client.get(finished(client))
    assert (answer.status, answer.body) == (200, b"0123456789")


def test_an_address_that_cannot_be_made_is_the_store_s_error() -> None:
    class Unable(Elsewhere):
        def redirect(self, info: UploadInfo, headers: Mapping[str, str], /) -> str | None:
            raise StoreUnavailable("no credentials yet")

    client = EngineClient(Unable())
    assert client.get(finished(client)).status == 503


def test_a_composer_can_do_without() -> None:
    client = EngineClient(Composer(Elsewhere(), redirecter=None))
    assert client.get(finished(client)).status == 200


def test_an_address_that_must_be_awaited_needs_a_loop() -> None:
    assert Composer(Elsewhere()).is_blocking
    assert not Composer(ElsewhereInAsync()).is_blocking
