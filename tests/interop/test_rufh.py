"""Resumable uploads (RUFH) on real servers, in every interop version. docs/requirements-rufh.md maps R1 to R128."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from functools import partial

import pytest

from tests.interop.rufh import BASE, DraftClient, DraftServer, DraftWire, draft_server
from tests.interop.rufh_app import LARGE
from tests.protocol.drafts import PARTIAL, VERSIONS
from tests.servers.wire import WireAnswer, WireClient, eventually

BODY = os.urandom(300_000)
with_digests = pytest.mark.parametrize("client", [6, 7, 8], indirect=True)
since_8 = pytest.mark.parametrize("client", [8, 9], indirect=True)
since_4 = pytest.mark.parametrize("client", range(4, 10), indirect=True)  # 3 takes no length from Content-Length


@pytest.fixture(params=["asgi", "wsgi"], scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DraftServer]:
    """A server for the whole module: each test makes uploads of its own."""
    with draft_server(request.param, tmp_path_factory.mktemp("rufh") / "uploads", network_timeout=5.0) as found:
        yield found


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, server: DraftServer) -> DraftClient:
    version: int = request.param
    return server.client(version)


def answer_with(name: str) -> str:
    """Upload-Metadata that chooses the app's final answer."""
    return f"answer {base64.b64encode(name.encode()).decode()}"


def digest(body: bytes, algorithm: str = "sha256") -> str:
    value = base64.b64encode(hashlib.new(algorithm, body).digest()).decode()
    return f"sha-{algorithm[3:]}=:{value}:"


def problem(answer: WireAnswer) -> str | None:
    found: str | None = json.loads(answer.body).get("type")
    return None if found is None else found.rpartition("#")[2]


def finished(client: DraftClient, upload: str) -> bytes:
    answer = client.get(upload)
    assert answer.status == 200, answer
    return answer.body


# Creation


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_an_upload_sent_whole_is_complete(client: DraftClient, method: str) -> None:
    answer = client.post(BODY, last=True, method=method)
    assert (answer.status, client.says_complete(answer), answer.offset) == (201, True, len(BODY))
    assert client.says_complete(client.head(answer["location"])) is True
    download = client.get(answer["location"])
    assert (download.status, download.body == BODY) == (200, True)
    assert (client.says_complete(download), download.offset) == (True, len(BODY))


def test_an_upload_that_goes_on_is_resumed_at_its_location(client: DraftClient) -> None:
    answer = client.post(BODY[:1000], last=False)
    upload = answer["location"]
    assert (answer.status, client.says_complete(answer), answer.offset) == (201, False, 1000)
    more = client.append(upload, 1000, BODY[1000:2000], last=False)
    assert (more.status, more.offset) == (201 if client.version in range(3, 7) else 204, 2000)
    assert client.says_complete(more) is False
    ended = client.append(upload, 2000, BODY[2000:], last=True)
    assert (ended.status, ended.offset, client.says_complete(ended)) == (201, len(BODY), True)
    assert finished(client, upload) == BODY


def test_a_creation_without_content_makes_an_empty_upload(client: DraftClient) -> None:
    whole = client.post(last=True)
    assert (whole.status, client.says_complete(whole), whole.offset) == (201, True, 0)
    assert finished(client, whole["location"]) == b""
    assert client.head(whole["location"])["upload-length"] == "0"
    careful = client.post(last=False)
    assert (careful.status, client.says_complete(careful), careful.offset) == (201, False, 0)


def test_every_answer_names_the_version_that_was_spoken(client: DraftClient) -> None:
    upload = client.create()
    found = [client.head(upload), client.append(upload, 5, last=False), client.append(upload, 0, b"x", last=True)]
    found += [client.head(upload + "x"), client.delete(upload)]
    assert {answer["upload-draft-interop-version"] for answer in found} == {str(client.version)}
    assert {answer["cache-control"] for answer in found} == {"no-store"}


def test_a_request_that_says_nothing_of_completeness_creates_nothing(client: DraftClient, server: DraftServer) -> None:
    before = set(server.directory.iterdir())
    answer = client.request(
        "POST", BASE, {"Upload-Complete" if client.version == 3 else "Upload-Incomplete": "?1"}, b"x"
    )
    assert answer.status == 400
    assert not [name for name in answer.headers if name.startswith("upload-") or name == "location"]
    assert set(server.directory.iterdir()) == before


def test_an_upload_outlives_a_change_of_version(client: DraftClient, server: DraftServer) -> None:
    upload = client.create(b"abc")
    for version in VERSIONS:
        other = server.client(version)
        answer = other.head(upload)
        assert (answer.status, answer.offset, other.says_complete(answer)) == (204, 3, False)
    newest = server.client(9)
    assert newest.append(upload, 3, b"def", last=True).status == 201
    assert client.says_complete(client.head(upload)) is True


def test_content_codings_are_counted_as_they_are(client: DraftClient) -> None:
    packed = gzip.compress(b"hello" * 100)
    wire = client.begin("POST", BASE, {**client.last(True), "Content-Encoding": "gzip"}, None, packed)
    wire.send_chunk(b"")
    answer = wire.receive()
    assert answer.offset == len(packed)
    assert finished(client, answer["location"]) == packed


def test_chunked_content_has_its_length_at_its_end(client: DraftClient) -> None:
    upload = client.create()
    assert "upload-length" not in client.head(upload).headers
    assert client.chunked(upload, 0, b"hello", last=True).status == 201
    assert client.head(upload)["upload-length"] == "5"


def test_the_request_waits_for_100_continue(client: DraftClient) -> None:
    wire = client.begin("POST", BASE, {**client.last(True), "Expect": "100-continue"}, 100_000)
    assert wire.receive().status == 100
    wire.send(BODY[:100_000])
    assert wire.receive().status == 201


def test_a_file_name_and_a_type_are_served_with_the_download(client: DraftClient) -> None:
    fields = {"Content-Disposition": "inline; filename*=UTF-8''%e2%82%ac.png", "Content-Type": "image/png"}
    answer = client.post(b"x", last=True, **fields)
    download = client.get(answer["location"])
    assert download["content-type"] == "image/png"
    assert "filename*=UTF-8''%E2%82%AC.png" in download["content-disposition"]


# Cut bodies


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_cut_creation_keeps_its_prefix_and_is_not_complete(
    client: DraftClient, server: DraftServer, size: int | None
) -> None:
    before = set(server.directory.iterdir())
    wire = client.begin("POST", BASE, client.last(True), size, BODY[:100_000])

    def created() -> list[str]:
        return [path.name for path in set(server.directory.iterdir()) - before if "." not in path.name]

    eventually(created)
    upload = f"{BASE}/{created()[0]}"
    wire.finish()
    eventually(lambda: server.stored(upload) == 100_000)
    answer = client.head(upload)
    assert (answer.offset, client.says_complete(answer), server.ends(upload)) == (100_000, False, 0)
    assert client.append(upload, 100_000, BODY[100_000:], last=True).status == 201
    assert finished(client, upload) == BODY


@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_cut_append_keeps_its_prefix_and_does_not_freeze_the_length(
    client: DraftClient, server: DraftServer, size: int | None
) -> None:
    upload = client.create()
    wire = client.begin("PATCH", upload, client.appending(0, True), size, BODY[:100_000])
    wire.finish()
    eventually(lambda: server.stored(upload) == 100_000)
    answer = client.head(upload)
    assert (answer.offset, client.says_complete(answer), server.ends(upload)) == (100_000, False, 0)
    assert answer.headers.get("upload-length") in (None, str(len(BODY)))
    assert client.append(upload, 100_000, BODY[100_000:], last=True).status == 201
    assert finished(client, upload) == BODY


# Completion and lengths


def test_reaching_the_length_completes_nothing(client: DraftClient, server: DraftServer) -> None:
    upload = client.create(b"hello", Upload_Length="5")
    answer = client.head(upload)
    assert (answer.offset, answer["upload-length"], client.says_complete(answer)) == (5, "5", False)
    assert server.ends(upload) == 0
    ended = client.append(upload, 5, last=True)
    assert (ended.status, client.says_complete(ended), server.ends(upload)) == (201, True, 1)


def test_a_length_is_recorded_and_never_changes(client: DraftClient) -> None:
    upload = client.create(Upload_Length="100")
    assert client.head(upload)["upload-length"] == "100"
    answer = client.append(upload, 0, b"x", last=False, Upload_Length="99")
    assert (answer.status, client.says_complete(answer), answer.offset) == (400, False, 0)
    if client.version in range(7, 10):
        assert problem(answer) == "inconsistent-upload-length"
    assert client.head(upload)["upload-length"] == "100"
    later = client.create()
    assert client.append(later, 0, b"x", last=False, Upload_Length="7").status in (201, 204)
    assert client.head(later)["upload-length"] == "7"


@since_4
def test_two_lengths_of_one_creation_must_agree(client: DraftClient, server: DraftServer) -> None:
    before = set(server.directory.iterdir())
    answer = client.post(b"0123456789", last=True, Upload_Length="11")
    assert (answer.status, client.says_complete(answer)) == (400, False)
    assert "location" not in answer.headers
    assert set(server.directory.iterdir()) == before


def test_a_last_append_must_reach_the_length(client: DraftClient) -> None:
    upload = client.create(Upload_Length="1000")
    answer = client.chunked(upload, 0, b"x" * 500, last=True)
    assert (answer.status, client.says_complete(answer)) == (400, False)
    assert client.says_complete(client.head(upload)) is False
    assert client.append(upload, client.offset(upload), b"x" * 500, last=True).status == 201


@pytest.mark.parametrize("chunked", [True, False])
def test_content_beyond_the_length_is_refused_and_ends_the_upload_from_version_7_on(
    client: DraftClient, chunked: bool
) -> None:
    upload = client.create(Upload_Length="10")
    send = client.chunked if chunked else client.append
    answer = send(upload, 0, b"x" * 11, last=False)
    assert (answer.status, client.says_complete(answer)) == (400, False)
    after = client.head(upload)
    if client.version in range(7, 10):
        assert after.status == 410
        assert client.append(upload, 0, b"x", last=False).status == 410
    else:
        assert (after.status, after.offset) == (204, 10 if chunked else 0)


@pytest.mark.parametrize("chunked", [False, True])
def test_an_overrun_upload_stays_dead_where_nothing_can_be_removed(
    tmp_path_factory: pytest.TempPathFactory, chunked: bool
) -> None:
    directory = tmp_path_factory.mktemp("kept") / "uploads"
    with draft_server("asgi", directory, composer={"terminater": None}) as server:
        for client in map(server.client, range(7, 10)):
            upload = client.create(Upload_Length="10")
            answer = (client.chunked if chunked else client.append)(upload, 0, b"x" * 11, last=False)
            assert (answer.status, "upload-offset" in answer.headers) == (400, False)
            found = [client.head(upload), client.append(upload, 0, b"x", last=False), client.get(upload)]
            assert [answer.status for answer in found] == [410] * 3


def test_a_stray_retry_does_not_destroy_a_completed_upload(client: DraftClient) -> None:
    upload = client.create(b"hello")
    assert client.append(upload, 5, last=True).status == 201
    answer = client.append(upload, 5, b"more", last=False)
    assert (answer.status, client.says_complete(answer)) == (400, False)
    assert client.append(upload, 0, b"hello", last=True).status == 409
    assert finished(client, upload) == b"hello"


# The final answer


def test_the_app_gives_the_final_answer_of_a_creation(client: DraftClient) -> None:
    answer = client.post(BODY, last=True, Upload_Metadata=answer_with("photo"))
    assert (answer.status, answer.body, answer["x-photo"]) == (200, b'{"photo": 7}', "7")
    assert (client.says_complete(answer), answer.offset) == (True, len(BODY))
    assert ("location" in answer.headers) is (client.version in range(3, 7))


def test_the_app_gives_the_final_answer_of_an_append(client: DraftClient) -> None:
    upload = client.create(Upload_Metadata=answer_with("photo"))
    answer = client.append(upload, 0, b"hello", last=True)
    assert (answer.status, answer.body, client.says_complete(answer)) == (200, b'{"photo": 7}', True)


def test_a_lost_final_answer_is_repeated_to_an_empty_append(client: DraftClient, server: DraftServer) -> None:
    upload = client.create(Upload_Metadata=answer_with("photo"))
    first = client.append(upload, 0, b"hello", last=True)
    again = client.append(upload, 5, last=True)
    assert (again.status, again.body, again["x-photo"]) == (first.status, first.body, "7")
    assert client.says_complete(again) is True
    assert server.ends(upload) == 1


def test_a_lost_final_answer_is_repeated_to_its_principal_only(client: DraftClient, server: DraftServer) -> None:
    owner = server.client(client.version, "ann")
    upload = owner.create(b"hello", Upload_Metadata=answer_with("photo"))
    assert owner.append(upload, 5, last=True).status == 200
    for stranger in (server.client(client.version, "bob"), client):
        answer = stranger.append(upload, 5, last=True)
        assert (answer.status, b"photo" in answer.body) == (404, False)
        assert "upload-offset" not in answer.headers
    assert owner.append(upload, 5, last=True).body == b'{"photo": 7}'


def test_of_a_large_final_answer_status_and_fields_are_kept(client: DraftClient, server: DraftServer) -> None:
    upload = client.create(Upload_Metadata=answer_with("large"))
    first = client.append(upload, 0, b"hello", last=True)
    assert (first.status, len(first.body)) == (200, len(LARGE.body))
    again = client.append(upload, 5, last=True)
    assert (again.status, again.body, again["x-photo"]) == (200, b"", "8")
    name = upload.rpartition("/")[2]
    assert sum(file.stat().st_size for file in server.directory.rglob(f"{name}*")) < 64 * 1024


def test_a_lost_final_answer_survives_a_restart(tmp_path: object, client: DraftClient, server: DraftServer) -> None:
    upload = client.create(b"hello", Upload_Metadata=answer_with("photo"))
    assert client.append(upload, 5, last=True).status == 200
    with draft_server(server.name, server.directory) as second:
        again = second.client(client.version).append(upload, 5, last=True)
    assert (again.status, again.body) == (200, b'{"photo": 7}')


def test_nothing_else_is_taken_after_the_end(client: DraftClient) -> None:
    upload = client.create(b"hello")
    client.append(upload, 5, last=True)
    for answer in (client.append(upload, 5, last=False), client.append(upload, 5, b"x", last=True)):
        assert (answer.status, client.says_complete(answer), answer.offset) == (400, False, 5)
    assert client.chunked(upload, 5, b"x", last=True).status == 400
    assert finished(client, upload) == b"hello"


def test_a_refusal_by_the_app_is_the_final_answer(client: DraftClient) -> None:
    upload = client.create(b"hello", Upload_Metadata=answer_with("refuse"))
    answer = client.append(upload, 5, last=True)
    assert (answer.status, answer.body, client.says_complete(answer)) == (422, b"not a photo", True)
    for again in (client.append(upload, 5, last=True), client.head(upload)):
        assert (again.status, client.says_complete(again)) == (422, True)


# Retrieval, cancellation


def test_get_tells_the_state_of_an_open_upload(client: DraftClient) -> None:
    upload = client.create(b"hello")
    answer = client.get(upload)
    assert (answer.status, answer.offset, client.says_complete(answer)) == (204, 5, False)


def test_an_unknown_upload_is_404_without_an_offset(client: DraftClient) -> None:
    for answer in (client.head(f"{BASE}/nothing"), client.append(f"{BASE}/nothing", 0, last=True)):
        assert answer.status == 404
        assert "upload-offset" not in answer.headers


def test_a_cancelled_upload_is_gone_for_good(client: DraftClient, server: DraftServer) -> None:
    upload = client.create(b"hello")
    assert client.delete(upload).status == 204
    gone = 410 if client.version in range(7, 10) else 404
    found = [client.head(upload), client.append(upload, 5, last=True), client.delete(upload)]
    assert [answer.status for answer in found] == [gone] * 3
    client.create()
    assert client.head(upload).status == gone
    assert not (server.directory / upload.rpartition("/")[2]).exists()


def test_a_completed_upload_can_be_removed(client: DraftClient) -> None:
    upload = client.post(b"hello", last=True)["location"]
    assert client.delete(upload).status == 204
    assert client.get(upload).status == (410 if client.version in range(7, 10) else 404)


def test_cancelling_ends_a_running_append_first(client: DraftClient, server: DraftServer) -> None:
    upload = client.create()
    wire = client.begin("PATCH", upload, client.appending(0, False), len(BODY), BODY[:70_000])
    eventually(lambda: server.stored(upload) > 0)
    assert client.delete(upload).status == 204
    _ended_early(wire)
    assert client.head(upload).status in (404, 410)


# Append


def test_another_offset_is_409_with_the_true_one(client: DraftClient) -> None:
    upload = client.create(b"hello")
    for wrong in (0, 4, 6):
        answer = client.append(upload, wrong, b"x", last=True)
        assert (answer.status, answer.offset, client.says_complete(answer)) == (409, 5, False)
        if client.version in range(6, 10):
            told = json.loads(answer.body)
            assert problem(answer) == "mismatching-upload-offset"
            assert (told["expected-offset"], told["provided-offset"]) == (5, wrong)
    assert client.offset(upload) == 5


def test_an_append_of_another_type_is_415_from_version_6_on(client: DraftClient) -> None:
    upload = client.create()
    answer = client.append(upload, 0, b"x", last=False, Content_Type="application/octet-stream")
    if client.version in range(3, 6):
        assert answer.status == 201
        return
    assert (answer.status, answer["accept-patch"], client.says_complete(answer)) == (415, PARTIAL, False)
    assert answer.offset == 0


def test_an_append_without_an_offset_is_400(client: DraftClient) -> None:
    upload = client.create(b"hello")
    answer = client.append(upload, 5, b"x", last=False, Upload_Offset="x")
    assert (answer.status, client.says_complete(answer), answer.offset) == (400, False, 5)
    assert client.offset(upload) == 5


def test_a_refused_append_tells_a_stranger_no_offset(client: DraftClient, server: DraftServer) -> None:
    upload = server.client(client.version, "ann").create(b"hello")
    answer = client.append(upload, 5, b"x", last=False, Upload_Offset="x")
    assert (answer.status, "upload-offset" in answer.headers) == (400, False)


def test_an_empty_append_changes_nothing(client: DraftClient) -> None:
    upload = client.create(b"hello")
    answer = client.append(upload, 5, last=False)
    assert (answer.status, answer.offset) == (201 if client.version in range(3, 7) else 204, 5)


def test_an_append_that_does_not_say_so_is_the_last_until_version_6(client: DraftClient) -> None:
    upload = client.create(b"hello")
    answer = client.request("PATCH", upload, {"Content-Type": PARTIAL, "Upload-Offset": "5"}, b"x")
    if client.version in range(3, 7):
        assert (answer.status, client.says_complete(answer)) == (201, True)
    else:
        assert (answer.status, client.says_complete(answer)) == (400, False)


def test_representation_fields_of_an_append_are_ignored(client: DraftClient) -> None:
    upload = client.create(Content_Type="image/png")
    fields = {"Content-Encoding": "gzip", "Content-Disposition": "inline; filename=b.txt", "Content-Language": "de"}
    assert client.append(upload, 0, b"not gzip", last=True, **fields).status == 201
    download = client.get(upload)
    assert (download.body, download["content-type"]) == (b"not gzip", "image/png")
    assert "b.txt" not in download["content-disposition"]


# Digests


def test_content_with_a_wrong_digest_is_not_appended(client: DraftClient) -> None:
    upload = client.create(b"hello")
    answer = client.append(upload, 5, b"world", last=True, Content_Digest=digest(b"other"))
    if client.version not in (6, 7, 8):
        assert answer.status == 201
        return
    assert (answer.status, answer.offset, client.says_complete(answer)) == (400, 5, False)
    assert client.offset(upload) == 5
    assert client.append(upload, 5, b"world", last=True, Content_Digest=digest(b"world", "sha512")).status == 201
    assert finished(client, upload) == b"helloworld"


@with_digests
def test_a_creation_with_a_wrong_content_digest_keeps_nothing_of_it(client: DraftClient) -> None:
    answer = client.post(b"hello", last=True, Content_Digest=digest(b"other"))
    assert (answer.status, answer.offset, client.says_complete(answer)) == (400, 0, False)
    assert client.append(answer["location"], 0, b"hello", last=True).status == 201


@with_digests
def test_a_cut_body_with_a_digest_leaves_nothing_behind(client: DraftClient, server: DraftServer) -> None:
    upload = client.create(b"hello")
    fields = client.appending(5, True, {"Content-Digest": digest(BODY)})
    wire = client.begin("PATCH", upload, fields, len(BODY), BODY[:100_000])
    wire.finish()
    eventually(lambda: client.head(upload).status == 204)
    assert client.offset(upload) == 5
    assert client.append(upload, 5, BODY, last=True, Content_Digest=digest(BODY)).status == 201
    assert finished(client, upload) == b"hello" + BODY


@with_digests
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_wrong_repr_digest_fails_the_upload(client: DraftClient, server: DraftServer, algorithm: str) -> None:
    upload = client.create(b"hello", Repr_Digest=digest(b"helloworld", algorithm))
    answer = client.append(upload, 5, b"wurst", last=True)
    assert (answer.status, client.says_complete(answer), server.ends(upload)) == (400, True, 0)
    assert b"ERR_DIGEST_MISMATCH" in answer.body
    assert client.head(upload).status == 400
    assert client.get(upload).status == 400
    good = client.create(b"hello", Repr_Digest=digest(b"helloworld", algorithm))
    assert client.append(good, 5, b"world", last=True).status == 201


@with_digests
def test_a_wanted_repr_digest_is_sent_with_the_final_answer(client: DraftClient) -> None:
    plain = client.post(BODY, last=True, Want_Repr_Digest="sha-512=3, sha-256=1")
    assert plain["repr-digest"] == digest(BODY, "sha512")
    photo = client.post(BODY, last=True, Want_Repr_Digest="sha-256=1", Upload_Metadata=answer_with("photo"))
    assert (photo["repr-digest"], photo.body) == (digest(BODY), b'{"photo": 7}')


# Concurrency


def test_of_two_appends_at_one_offset_one_history_results(client: DraftClient) -> None:
    upload = client.create()
    bodies = [bytes([n]) * 200_000 for n in (1, 2)]
    answers: list[WireAnswer | None] = [None, None]

    def send(index: int) -> None:
        answers[index] = client.append(upload, 0, bodies[index], last=False)

    threads = [threading.Thread(target=send, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    offset = client.offset(upload)
    client.append(upload, offset, last=True)
    assert finished(client, upload) in (bodies[0][:offset], bodies[1][:offset])
    assert {answer.status for answer in answers if answer} <= {201, 204, 409, 423}


def test_asking_for_the_offset_ends_a_stalled_append_and_the_offset_stands(
    client: DraftClient, server: DraftServer
) -> None:
    _ask_while_stalled(client, server, "HEAD")


@since_8
def test_get_asks_for_an_offset_that_stands_too(client: DraftClient, server: DraftServer) -> None:
    _ask_while_stalled(client, server, "GET")


def _ask_while_stalled(client: DraftClient, server: DraftServer, method: str) -> None:
    upload = client.create()
    wire = client.begin("PATCH", upload, client.appending(0, True), len(BODY), BODY[:70_000])
    eventually(lambda: server.stored(upload) > 0)
    answer = client.request(method, upload)
    assert answer.status == 204
    assert answer.offset <= 70_000
    _ended_early(wire)
    assert client.append(upload, answer.offset, BODY[answer.offset :], last=True).status == 201
    assert finished(client, upload) == BODY


def test_a_new_append_takes_over_from_a_stalled_one(client: DraftClient, server: DraftServer) -> None:
    upload = client.create()
    wire = client.begin("PATCH", upload, client.appending(0, False), len(BODY), BODY[:70_000])
    eventually(lambda: server.stored(upload) > 0)
    answer = client.append(upload, 0, BODY, last=True)
    assert (answer.status, client.says_complete(answer)) == (409, False)
    _ended_early(wire)
    assert client.append(upload, answer.offset, BODY[answer.offset :], last=True).status == 201


def _ended_early(wire: DraftWire) -> None:
    """The request was ended: refused with the reason, or its connection was closed."""
    try:
        assert wire.receive().status == 423
    except ConnectionError:
        pass
    finally:
        wire.finish()


# Kill


def test_an_offset_once_told_is_never_taken_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("killed") / "uploads"
    upload, told = "", 0
    for version in VERSIONS:
        with draft_server("asgi", directory) as server:
            client = server.client(version)
            upload = upload or client.create()
            assert client.offset(upload) >= told
            told = client.append(upload, client.offset(upload), b"x" * 1000, last=False).offset
            wire = client.begin("PATCH", upload, client.appending(told, False), len(BODY), BODY[:70_000])
            eventually(partial(_grew, server, upload, told))
            server.kill()
            wire.finish()
    with draft_server("asgi", directory) as server:
        answer = server.client(9).head(upload)
        assert answer.offset >= told
        assert answer["upload-complete"] == "?0"


def _grew(server: DraftServer, upload: str, offset: int) -> bool:
    return server.stored(upload) > offset


# Without a version, across protocols


def test_a_request_without_a_version_speaks_the_newest(server: DraftServer) -> None:
    client = server.client(None)
    upload = client.create(b"hello")
    answer = client.head(upload)
    assert (answer.status, answer.offset, client.says_complete(answer)) == (204, 5, False)
    assert "upload-draft-interop-version" not in answer.headers
    assert client.append(upload, 5, b"world", last=True).status == 201
    assert finished(client, upload) == b"helloworld"
    assert client.delete(upload).status == 204


def test_tus_and_the_draft_do_not_see_each_others_open_uploads(client: DraftClient) -> None:
    tus = WireClient(client.port)
    drafts, tus_upload = client.create(b"hello"), tus.create(10, b"hello")
    assert [tus.head(drafts).status, tus.append(drafts, 5, b"x").status, tus.request("DELETE", drafts).status] == [
        404
    ] * 3
    ours = [client.head(tus_upload), client.append(tus_upload, 5, b"x", last=True), client.delete(tus_upload)]
    assert [answer.status for answer in ours] == [404] * 3
    assert (client.offset(drafts), tus.offset(tus_upload)) == (5, 5)


def test_both_see_each_others_finished_uploads(client: DraftClient) -> None:
    tus = WireClient(client.port)
    drafts, tus_upload = client.post(b"hello", last=True)["location"], tus.create(5, b"hello")
    found = tus.head(drafts)
    assert (found.status, found.offset, found["upload-length"]) == (200, 5, "5")
    answer = client.head(tus_upload)
    assert (answer.status, answer.offset, client.says_complete(answer)) == (204, 5, True)
    assert tus.get(drafts).body == client.get(tus_upload).body == b"hello"
    assert (tus.append(drafts, 5, b"").status, client.append(tus_upload, 5, last=True).status) == (404, 404)


# Discovery


def test_discovery_serves_both_protocols_at_once(server: DraftServer) -> None:
    for version in (None, *VERSIONS):
        for target in (BASE, server.client().create()):
            answer = server.client(version).request("OPTIONS", target, {"Origin": "https://example.org"})
            assert answer["upload-limit"] == "min-size=0"
            assert PARTIAL in answer["accept-patch"].split(", ")
            assert answer["tus-version"] == "1.0.0"
            assert "Upload-Complete" in answer["access-control-allow-headers"]


def test_an_options_request_creates_nothing(client: DraftClient) -> None:
    answer = client.request("OPTIONS", BASE, client.last(True), b"hello")
    assert answer.status == 200
    assert "location" not in answer.headers
