"""tus 1.0.0, Core: HEAD, PATCH, OPTIONS, versions."""

from __future__ import annotations

import pytest

from tests.engine.client import APPEND, EngineClient, Runner
from tuspy_server import Composer, Config, Cors, MemoryLocker, MemoryStore
from tuspy_server.errors import StoreFailed, StoreUnavailable
from tuspy_server.models import UploadInfo


def test_an_upload_in_two_appends_is_stored_byte_for_byte(client: EngineClient) -> None:
    upload = client.create(11).id
    first = client.append(upload, 0, b"hello ")
    second = client.append(upload, 6, b"world")
    assert (first.status, first.offset, second.status, second.offset) == (204, 6, 204, 11)
    assert client.get(upload).body == b"hello world"


def test_head_always_tells_offset_and_length(client: EngineClient) -> None:
    upload = client.create(11).id
    fresh = client.head(upload)
    client.append(upload, 0, b"hello world")
    complete = client.head(upload)
    assert (fresh.status, fresh.offset, fresh["upload-length"], fresh["cache-control"]) == (200, 0, "11", "no-store")
    assert (complete.status, complete.offset, complete["upload-length"]) == (200, 11, "11")
    assert complete["content-length"] == "11"


def test_head_of_an_unknown_upload_is_404_without_an_offset(client: EngineClient) -> None:
    answer = client.head("0" * 32)
    assert answer.status == 404
    assert "upload-offset" not in answer.headers
    assert answer["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("version", [None, "0.2.2", "1.0.0, 1.0.0"])
def test_an_unsupported_version_is_412_and_changes_nothing(runner: Runner, method: str, version: str | None) -> None:
    client = EngineClient(config=Config(unversioned="off"), runner=runner)
    upload = client.create(5).id
    path = "" if method == "POST" else upload
    headers = {"Upload-Length": "5"} if method == "POST" else {**APPEND, "Upload-Offset": "0"}
    answer = client.request(method, path, headers, b"hello" if method == "PATCH" else b"", version=version)
    assert (answer.status, answer["tus-version"], answer["tus-resumable"]) == (412, "1.0.0", "1.0.0")
    assert client.head(upload).offset == 0


@pytest.mark.parametrize(
    "offset", [None, "", "-1", "abc", "+1", "1_0", "٣", "1.0", "0x1", "9" * 20, "9223372036854775808"]
)
def test_a_bad_offset_is_400(client: EngineClient, offset: str | None) -> None:
    upload = client.create(5).id
    headers = dict(APPEND) if offset is None else {**APPEND, "Upload-Offset": offset}
    assert client.request("PATCH", upload, headers, b"hello").status == 400
    assert client.head(upload).offset == 0


def test_blanks_around_an_offset_are_no_error(client: EngineClient) -> None:
    upload = client.create(5).id
    assert client.request("PATCH", upload, {**APPEND, "Upload-Offset": " 0\t"}, b"hello").status == 204


@pytest.mark.parametrize("offset", [1, 4, 5, 6, 10**18])
def test_a_wrong_offset_is_409_and_stores_nothing(client: EngineClient, offset: int) -> None:
    upload = client.create(10, b"abc").id
    answer = client.append(upload, offset, b"xyz")
    assert answer.status == 409
    assert "upload-offset" not in answer.headers
    assert client.head(upload).offset == 3


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/octet-stream"])
def test_another_content_type_is_415_and_stores_nothing(client: EngineClient, media_type: str | None) -> None:
    upload = client.create(5).id
    headers = {"Upload-Offset": "0"} | ({} if media_type is None else {"Content-Type": media_type})
    answer = client.request("PATCH", upload, headers, b"hello")
    assert (answer.status, answer["accept-patch"]) == (415, APPEND["Content-Type"])
    assert client.head(upload).offset == 0


def test_a_content_type_with_parameters_and_capitals_is_understood(client: EngineClient) -> None:
    upload = client.create(5).id
    headers = {"Content-Type": "Application/Offset+Octet-Stream; charset=x", "Upload-Offset": "0"}
    assert client.request("PATCH", upload, headers, b"hello").status == 204


def test_content_length_beyond_the_end_is_413_before_a_byte_is_stored(client: EngineClient) -> None:
    upload = client.create(5).id
    assert client.append(upload, 0, b"too long").status == 413
    assert client.head(upload).offset == 0


def test_a_chunked_body_beyond_the_end_is_cut_at_the_end_and_413(client: EngineClient) -> None:
    upload = client.create(5).id
    answer = client.request("PATCH", upload, {**APPEND, "Upload-Offset": "0"}, b"hello world", size=None)
    assert answer.status == 413
    assert client.head(upload).offset == 5
    assert client.get(upload).body == b"hello"


def test_an_empty_append_at_the_end_is_204(client: EngineClient) -> None:
    upload = client.create(5, b"hello").id
    answer = client.append(upload, 5)
    assert (answer.status, answer.offset) == (204, 5)


def test_a_chunked_append_to_a_full_upload_is_413(client: EngineClient) -> None:
    upload = client.create(5, b"hello").id
    answer = client.request("PATCH", upload, {**APPEND, "Upload-Offset": "5"}, b"more", size=None)
    assert answer.status == 413
    assert client.get(upload).body == b"hello"


def test_a_body_that_ends_early_keeps_what_arrived(client: EngineClient) -> None:
    upload = client.create(100).id
    answer = client.request("PATCH", upload, {**APPEND, "Upload-Offset": "0"}, b"x" * 40, size=100)
    assert answer.status == 500
    assert client.head(upload).offset == 40


def test_options_tells_what_the_store_can_do(client: EngineClient) -> None:
    answer = client.request("OPTIONS", version=None)
    assert (answer.status, answer["tus-version"]) == (200, "1.0.0")
    assert answer["tus-extension"].split(",") == [
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "termination",
        "concatenation",
        "concatenation-unfinished",
        "checksum",
    ]
    assert set(answer["tus-checksum-algorithm"].split(",")) >= {"sha1", "md5", "sha256", "sha512", "crc32"}
    assert "tus-max-size" not in answer.headers


def test_options_ignores_the_version_and_answers_any_path(client: EngineClient) -> None:
    for path in ("", "abc", "a/b/c"):
        assert client.request("OPTIONS", path, version="9.9.9").status == 200


def test_options_names_the_maximum_and_only_composed_extensions() -> None:
    composer = Composer(
        MemoryStore(),
        MemoryLocker(),
        terminater=None,
        stager=None,
        concater=None,
        length_deferrer=None,
        expirer=None,
        reader=None,
    )
    client = EngineClient(composer, Config(max_size=100))
    answer = client.request("OPTIONS")
    assert answer["tus-extension"] == "creation,creation-with-upload"
    assert answer["tus-max-size"] == "100"
    assert "tus-checksum-algorithm" not in answer.headers


def test_switched_off_features_are_not_announced_and_not_done() -> None:
    client = EngineClient(config=Config(termination=False, concatenation=False, download=False))
    extensions = client.request("OPTIONS")["tus-extension"]
    assert "termination" not in extensions
    assert "concatenation" not in extensions
    upload = client.create(5, b"hello").id
    assert (client.delete(upload).status, client.delete(upload)["allow"]) == (405, "HEAD, PATCH, OPTIONS")
    assert client.get(upload).status == 405
    assert client.create(5, upload_concat="partial").status == 400


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("PUT", ""), ("HEAD", ""), ("POST", "abc"), ("PUT", "abc")])
def test_a_method_that_does_not_fit_is_405_with_allow(client: EngineClient, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert answer.status == 405
    assert answer["allow"] == ("HEAD, GET, PATCH, DELETE, OPTIONS" if path else "POST, OPTIONS")


@pytest.mark.parametrize(
    "path", ["a/b", "..", "../etc/passwd", "a\0b", "a\\b", ".hidden", "x" * 129, "abc.info", "ABC.INFO"]
)
def test_what_cannot_be_an_id_is_404_on_every_method(client: EngineClient, path: str) -> None:
    for method in ("HEAD", "PATCH", "GET", "DELETE"):
        assert client.request(method, path, {**APPEND, "Upload-Offset": "0"}).status == 404


def test_post_with_an_override_is_the_other_method(client: EngineClient) -> None:
    upload = client.create(5).id
    headers = {**APPEND, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert client.request("POST", upload, headers, b"hello").status == 204
    assert client.request("POST", upload, {"X-HTTP-Method-Override": "HEAD"}).offset == 5
    assert client.request("POST", upload, {"X-HTTP-Method-Override": "DELETE"}).status == 204
    assert client.head(upload).status == 410


def test_an_override_on_another_method_is_ignored(client: EngineClient) -> None:
    upload = client.create(5, b"hello").id
    assert client.request("HEAD", upload, {"X-HTTP-Method-Override": "DELETE"}).status == 200
    assert client.request("GET", upload, {"X-HTTP-Method-Override": "DELETE"}).body == b"hello"
    assert client.head(upload).status == 200


def test_framing_by_length_and_chunks_at_once_is_400(client: EngineClient) -> None:
    upload = client.create(5).id
    headers = {**APPEND, "Upload-Offset": "0", "Transfer-Encoding": "chunked", "Content-Length": "5"}
    assert client.request("PATCH", upload, headers, b"hello").status == 400
    assert client.head(upload).offset == 0


class BrokenStore(MemoryStore):
    """Fails at `get` with whatever it was given."""

    error: Exception = StoreUnavailable()

    def get(self, upload_id: str, /) -> UploadInfo:
        raise self.error


@pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("secret path /etc")])
def test_head_never_answers_5xx(error: Exception) -> None:
    store = BrokenStore()
    store.error = error
    answer = EngineClient(store).head("abc")
    assert (answer.status, answer["retry-after"]) == (423, "1")


def test_an_error_of_ours_tells_nothing_of_the_inside() -> None:
    store = BrokenStore()
    store.error = RuntimeError("secret path /etc")
    answer = EngineClient(store).append("abc", 0, b"x")
    assert answer.status == 500
    assert b"secret" not in answer.body


def test_details_of_the_stores_trouble_are_in_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    store = BrokenStore()
    for error in (StoreFailed("no such bucket: secret"), StoreUnavailable("secret.internal refused")):
        store.error = error
        for method in ("PATCH", "GET", "DELETE", "HEAD"):
            answer = EngineClient(store).request(method, "abc", {**APPEND, "Upload-Offset": "0"})
            assert b"secret" not in answer.body
    assert "no such bucket: secret" in caplog.text


def test_an_unavailable_store_is_503_with_retry_after_on_an_append() -> None:
    answer = EngineClient(BrokenStore()).append("abc", 0, b"x")
    assert (answer.status, answer["retry-after"]) == (503, "1")


def test_errors_and_answers_carry_the_origin_fields() -> None:
    client = EngineClient(config=Config(cors=Cors(allow_origins=["https://a.example"])))
    origin = {"Origin": "https://a.example"}
    for answer in (
        client.request("POST", "", origin, version=None),
        client.request("PATCH", "nope", origin),
        client.request("OPTIONS", "", origin),
        client.request("HEAD", "nope", origin),
        client.request("PUT", "", origin),
    ):
        assert answer["access-control-allow-origin"] == "https://a.example"
        assert answer["vary"] == "Origin"


def test_a_foreign_origin_is_403_without_origin_fields() -> None:
    client = EngineClient(config=Config(cors=Cors(allow_origins=["https://a.example"])))
    answer = client.request("POST", "", {"Origin": "https://b.example", "Upload-Length": "1"})
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
