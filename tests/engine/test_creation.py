"""tus 1.0.0: creation, creation-with-upload, creation-defer-length."""

from __future__ import annotations

import pytest

from tests.engine.client import APPEND, EngineClient, Runner
from tuspy_server import Composer, Config, Limits, MemoryLocker, MemoryStore, Request


def test_a_created_upload_is_found_at_its_location(client: EngineClient) -> None:
    answer = client.create(5)
    assert (answer.status, answer.offset) == (201, 0)
    assert answer["location"].startswith("http://test/")
    assert len(answer.id) == 32
    assert client.head(answer.id).status == 200


@pytest.mark.parametrize("length", [None, "", "-1", "abc", "+5", " ", "1e3", "9" * 20])
def test_a_missing_or_bad_length_is_400(client: EngineClient, length: str | None) -> None:
    headers = {} if length is None else {"Upload-Length": length}
    answer = client.request("POST", "", headers)
    assert answer.status == 400
    assert "location" not in answer.headers


def test_length_and_deferred_length_exclude_each_other(client: EngineClient) -> None:
    assert client.create(5, upload_defer_length="1").status == 400


@pytest.mark.parametrize("value", ["0", "2", "true", ""])
def test_a_deferred_length_is_said_by_1_alone(client: EngineClient, value: str) -> None:
    assert client.request("POST", "", {"Upload-Defer-Length": value}).status == 400


def test_an_upload_of_length_zero_is_complete_at_once(client: EngineClient) -> None:
    upload = client.create(0).id
    answer = client.head(upload)
    assert (answer.offset, answer["upload-length"]) == (0, "0")
    fetched = client.get(upload)
    assert (fetched.status, fetched.body, fetched["content-length"]) == (200, b"", "0")


def test_metadata_is_echoed_as_received(client: EngineClient) -> None:
    raw = "filename d29ybGQ=,is_confidential,empty ,bin //79"
    upload = client.create(5, upload_metadata=raw).id
    assert client.head(upload)["upload-metadata"] == raw


@pytest.mark.parametrize("raw", [",", " x", "k !!", "a YQ==,a Yg==", "a YQ==,", "k  YQ==", "k YQ", "a\x01 YQ=="])
def test_bad_metadata_is_400(client: EngineClient, raw: str) -> None:
    assert client.create(5, upload_metadata=raw).status == 400


def test_empty_metadata_is_accepted_and_not_echoed(client: EngineClient) -> None:
    upload = client.create(5, upload_metadata="").id
    assert "upload-metadata" not in client.head(upload).headers


def test_a_length_above_the_maximum_is_413() -> None:
    client = EngineClient(config=Config(max_size=10))
    assert client.create(11).status == 413
    assert client.create(10).status == 201


def test_the_maximum_may_depend_on_the_request(runner: Runner) -> None:
    def of(request: Request) -> int:
        return 20 if request.header("x-plan") == "paid" else 5

    client = EngineClient(config=Config(max_size=of), runner=runner)
    assert client.create(10).status == 413
    assert client.create(10, x_plan="paid").status == 201
    assert client.request("OPTIONS")["tus-max-size"] == "5"


def test_the_maximum_holds_for_a_deferred_upload_however_the_bytes_come() -> None:
    client = EngineClient(config=Config(max_size=10))
    upload = client.create().id
    assert client.append(upload, 0, b"x" * 11).status == 413
    assert client.request("PATCH", upload, {**APPEND, "Upload-Offset": "0"}, b"x" * 11, size=None).status == 413
    assert client.head(upload).offset == 10
    assert client.append(upload, 10, b"", upload_length="11").status == 413
    assert client.create(None, b"x" * 11).status == 413


def test_a_limit_lowered_later_does_not_bind_a_running_upload() -> None:
    store = MemoryStore()
    before = EngineClient(store, Config(max_size=10))
    upload = before.create().id
    after = EngineClient(before.composer, Config(max_size=5))
    assert after.append(upload, 0, b"x" * 10).status == 204


def test_the_first_bytes_may_come_with_the_creation(client: EngineClient) -> None:
    answer = client.create(11, b"hello ")
    assert (answer.status, answer.offset) == (201, 6)
    assert client.append(answer.id, 6, b"world").status == 204
    assert client.get(answer.id).body == b"hello world"


def test_a_body_of_another_type_at_creation_is_415(client: EngineClient) -> None:
    answer = client.request("POST", "", {"Upload-Length": "5", "Content-Type": "text/plain"}, b"hello")
    assert (answer.status, "location" in answer.headers) == (415, False)


def test_a_first_body_longer_than_the_upload_is_413_and_leaves_nothing(client: EngineClient) -> None:
    assert client.create(3, b"hello").status == 413
    answer = client.request("POST", "", {**APPEND, "Upload-Length": "3"}, b"hello", size=None)
    assert (answer.status, "location" in answer.headers) == (413, False)


def test_a_creation_whose_body_breaks_still_tells_where_it_is(client: EngineClient) -> None:
    answer = client.request("POST", "", {**APPEND, "Upload-Length": "100"}, b"x" * 40, size=100)
    assert (answer.status, answer.offset) == (201, 40)
    assert client.head(answer.id).offset == 40


def test_a_full_disk_is_507_and_what_was_stored_counts() -> None:
    client = EngineClient(MemoryStore(capacity=5))
    upload = client.create(100).id
    assert client.append(upload, 0, b"12345").status == 204
    assert client.append(upload, 5, b"67890").status == 507
    assert client.head(upload).offset == 5
    created = client.create(100, b"1234567890")
    assert (created.status, created.offset) == (201, 0)


def test_a_deferred_length_is_shown_until_it_is_declared(client: EngineClient) -> None:
    upload = client.create().id
    fresh = client.head(upload)
    assert (fresh["upload-defer-length"], "upload-length" in fresh.headers) == ("1", False)
    client.append(upload, 0, b"hello", upload_length="10")
    known = client.head(upload)
    assert (known["upload-length"], "upload-defer-length" in known.headers) == ("10", False)


def test_a_declared_length_never_changes(client: EngineClient) -> None:
    upload = client.create().id
    client.append(upload, 0, b"hello", upload_length="10")
    assert client.append(upload, 5, b"", upload_length="11").status == 400
    assert client.append(upload, 5, b"world", upload_length="10").status == 204
    assert client.head(upload)["upload-length"] == "10"


def test_a_length_of_a_fixed_upload_never_changes(client: EngineClient) -> None:
    upload = client.create(10).id
    assert client.append(upload, 0, b"hello", upload_length="5").status == 400
    assert client.head(upload).offset == 0


def test_a_length_below_the_offset_is_400(client: EngineClient) -> None:
    upload = client.create(None, b"hello").id
    assert client.append(upload, 5, b"", upload_length="4").status == 400


def test_an_empty_append_that_declares_the_offset_completes_the_upload(client: EngineClient) -> None:
    upload = client.create(None, b"hello").id
    assert client.append(upload, 5, b"", upload_length="5").status == 204
    assert client.get(upload).body == b"hello"


def test_a_deferred_length_needs_a_store_that_can() -> None:
    client = EngineClient(Composer(MemoryStore(), MemoryLocker(), length_deferrer=None))
    assert client.create().status == 501
    upload = client.create(5).id
    assert client.append(upload, 0, b"hello", upload_length="5").status == 501


def test_an_id_of_the_apps_own_is_used_and_never_twice() -> None:
    client = EngineClient(config=Config(new_id=lambda request: "mine"))
    assert client.create(5, b"abc").id == "mine"
    assert client.create(5).status == 409
    assert client.head("mine").offset == 3


def test_limits_are_frozen_into_the_record() -> None:
    store = MemoryStore()
    client = EngineClient(store, Config(max_size=10, expires_after=60, sliding=True))
    upload = client.create(5).id
    assert store.get(upload).limits == Limits(max_size=10, max_age=60, sliding=True)


@pytest.mark.parametrize(
    ("config", "location"),
    [
        (Config(relative_location=True), "/mine"),
        (Config(base_url="https://up.example/x/"), "https://up.example/x/mine"),
        (Config(url_for=lambda request, upload_id: f"urn:{upload_id}"), "urn:mine"),
    ],
)
def test_the_location_can_be_chosen(config: Config, location: str) -> None:
    from dataclasses import replace

    client = EngineClient(config=replace(config, new_id=lambda request: "mine"))
    assert client.create(5)["location"] == location
