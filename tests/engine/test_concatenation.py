"""tus 1.0.0: concatenation and concatenation-unfinished."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.engine.client import APPEND, EngineClient, Runner
from tests.engine.test_locking import Script
from tuspy_server import Config, HookEvent, HookResult, Hooks, MemoryStore
from tuspy_server.errors import StoreFailed, StoreUnavailable
from tuspy_server.models import UploadInfo


def test_a_final_is_its_parts_in_the_order_listed(client: EngineClient) -> None:
    a, b = client.part(b"hello "), client.part(b"world")
    final = client.final([b, a, b])
    assert (final.status, final.offset) == (201, 16)
    assert client.get(final.id).body == b"worldhello world"
    assert client.head(final.id)["upload-concat"] == f"final;/{b} /{a} /{b}"


def test_parts_are_kept_and_keep_their_mark(client: EngineClient) -> None:
    a = client.part(b"hello")
    client.final([a])
    head = client.head(a)
    assert (head.status, head.offset, head["upload-concat"]) == (200, 5, "partial")


def test_metadata_of_the_final_is_its_own(client: EngineClient) -> None:
    a = client.create(5, b"hello", upload_concat="partial", upload_metadata="part MQ==").id
    final = client.final([a], upload_metadata="name eA==").id
    assert client.head(final)["upload-metadata"] == "name eA=="


def test_an_append_to_a_final_is_403(client: EngineClient) -> None:
    final = client.final([client.part(b"hello")]).id
    assert client.append(final, 5, b"x").status == 403
    assert client.get(final).body == b"hello"


def test_a_final_with_a_body_is_403(client: EngineClient) -> None:
    part = client.part(b"hello")
    answer = client.request("POST", "", {**APPEND, "Upload-Concat": f"final;/{part}"}, b"x")
    assert (answer.status, "location" in answer.headers) == (403, False)


@pytest.mark.parametrize("value", ["", "final", "final;", "final; ", "partial;x", "Final;/a", "other"])
def test_a_malformed_concat_is_400(client: EngineClient, value: str) -> None:
    assert client.request("POST", "", {"Upload-Concat": value, "Upload-Length": "1"}).status == 400


@pytest.mark.parametrize("url", ["/nope", "https://evil.example/nope", "/../etc/passwd", "/a/b", "/%2e%2e", "nope"])
def test_an_unknown_or_foreign_part_is_404(client: EngineClient, url: str) -> None:
    assert client.request("POST", "", {"Upload-Concat": f"final;{url}"}).status == 404


def test_a_part_is_known_by_its_path_whatever_the_host(client: EngineClient) -> None:
    part = client.part(b"hello")
    for url in (f"/{part}", f"http://test/{part}", f"https://other.example/{part}"):
        assert client.request("POST", "", {"Upload-Concat": f"final;{url}"}).status == 201


def test_an_upload_that_is_no_part_cannot_be_concatenated(client: EngineClient) -> None:
    regular = client.create(5, b"hello").id
    assert client.final([regular]).status == 400


def test_a_length_on_a_final_is_400(client: EngineClient) -> None:
    assert client.final([client.part(b"hello")], upload_length="5").status == 400


def test_the_maximum_holds_for_what_the_parts_sum_up_to() -> None:
    client = EngineClient(config=Config(max_size=10))
    part = client.part(b"123456")
    assert client.final([part, part]).status == 413


def test_a_repeated_final_is_the_same_upload(client: EngineClient) -> None:
    parts = [client.part(b"hello "), client.part(b"world")]
    first, again = client.final(parts), client.final(parts)
    assert (again.status, again["location"]) == (201, first["location"])
    assert client.final(parts, upload_metadata="x eA==")["location"] != first["location"]
    assert client.final(parts[::-1])["location"] != first["location"]


def test_a_final_whose_answer_was_lost_is_finished_once(runner: Runner) -> None:
    told: list[str] = []
    hooks = Hooks(post_finish=lambda event: told.append(event.upload.id))
    client = EngineClient(hooks=hooks, runner=runner)
    part = client.part(b"hello")
    first, again = client.final([part]), client.final([part])
    assert first["location"] == again["location"]
    assert told == [first.id]


def test_a_terminated_final_can_be_made_anew_under_another_name(client: EngineClient) -> None:
    part = client.part(b"hello")
    first = client.final([part])
    client.delete(first.id)
    second = client.final([part])
    assert second.status == 201
    assert second.id != first.id
    assert client.head(first.id).status == 410
    assert client.final([part]).id == second.id


def test_a_final_of_empty_parts_is_complete_and_told_once(runner: Runner) -> None:
    told: list[str] = []
    client = EngineClient(hooks=Hooks(post_finish=lambda event: told.append(event.upload.id)), runner=runner)
    final = client.final([client.part(b""), client.part(b"")]).id
    assert client.get(final).body == b""
    assert told == [final]


def test_parts_have_no_finish_hooks(runner: Runner) -> None:
    told: list[str] = []
    hooks = Hooks(pre_finish=lambda event: told.append(event.type), post_finish=lambda event: told.append(event.type))
    EngineClient(hooks=hooks, runner=runner).part(b"hello")
    assert told == []


def test_a_final_waits_for_unfinished_parts(client: EngineClient) -> None:
    a = client.part(b"hello ")
    b = client.create(5, upload_concat="partial").id
    final = client.final([a, b])
    assert final.status == 201
    waiting = client.head(final.id)
    assert (waiting.status, "upload-offset" in waiting.headers, waiting["upload-length"]) == (200, False, "11")
    assert client.append(final.id, 0, b"x").status == 403
    client.append(b, 0, b"world")
    assert client.get(final.id).body == b"hello world"


def test_head_on_a_waiting_final_assembles_it(client: EngineClient) -> None:
    b = client.create(5, upload_concat="partial").id
    final = client.final([b]).id
    client.crash_after_answer = True
    client.append(b, 0, b"world")
    client.crash_after_answer = False
    assert client.head(final).offset == 5
    assert client.get(final).body == b"world"


def test_a_final_that_could_not_be_assembled_is_tried_again_by_a_look_at_its_part(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    client = EngineClient(FailingConcat(StoreUnavailable()), runner=runner)
    part = client.create(5, upload_concat="partial").id
    final = client.final([part]).id
    assert client.append(part, 0, b"hello").status == 204
    assert "assembling a final upload failed" in caplog.text
    assert client.head(part).status == 200
    assert client.get(final).body == b"hello"


def test_the_end_of_one_part_does_not_interrupt_another() -> None:
    client = EngineClient()
    one, other = (client.create(5, upload_concat="partial").id for _ in range(2))
    final = client.final([one, other]).id
    ended: list[int] = []

    def end_one() -> None:
        ended.append(client.append(one, 0, b"hello").status)
        ended.append(client.head(one).status)

    body = Script(b"wo", end_one, b"rld")
    assert client.request("PATCH", other, {**APPEND, "Upload-Offset": "0"}, body).status == 204
    assert ended == [204, 200]
    assert client.get(final).body == b"helloworld"


@pytest.mark.parametrize("is_finished", [False, True])
def test_head_on_a_part_assembles_the_final_that_a_crash_left(runner: Runner, is_finished: bool) -> None:
    told: list[str] = []
    client = EngineClient(hooks=Hooks(post_finish=lambda event: told.append(event.upload.id)), runner=runner)
    part = client.create(5, upload_concat="partial").id
    final = client.final([part]).id
    if is_finished:
        client.crash_after_answer = True
        client.append(part, 0, b"hello")
        client.crash_after_answer = False
    else:
        store = client.composer.store
        assert isinstance(store, MemoryStore)
        writer = store.open(store.get(part), fence=None)
        writer.write([b"hello"])
        writer.close()
    assert told == []
    assert client.head(part).offset == 5
    assert told == [final]


def test_the_length_of_a_waiting_final_appears_when_it_can_be_computed(client: EngineClient) -> None:
    b = client.create(upload_concat="partial").id
    final = client.final([b]).id
    assert "upload-length" not in client.head(final).headers
    client.append(b, 0, b"wor", upload_length="5")
    assert client.head(final)["upload-length"] == "5"
    client.append(b, 3, b"ld")
    assert client.head(final).offset == 5


def test_a_deleted_part_leaves_its_final_waiting(client: EngineClient) -> None:
    b = client.create(5, upload_concat="partial").id
    final = client.final([b]).id
    client.delete(b)
    assert client.head(final).status == 410
    assert client.get(final).status != 200


class FailingConcat(MemoryStore):
    """Its first concatenations fail with the errors given."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.errors = list(errors)

    def concat(self, info: UploadInfo, parts: Sequence[UploadInfo], /) -> UploadInfo:
        if self.errors:
            raise self.errors.pop(0)
        return super().concat(info, parts)


def test_a_part_that_vanishes_while_copied_is_an_error_and_no_final() -> None:
    client = EngineClient(FailingConcat(StoreFailed("part is short")))
    answer = client.final([client.part(b"hello")])
    assert answer.status == 500
    assert "location" not in answer.headers


def test_a_failed_concatenation_is_taken_up_by_the_repeated_request() -> None:
    client = EngineClient(FailingConcat(StoreUnavailable()))
    part = client.part(b"hello")
    assert client.final([part]).status == 503
    client.clock.seconds += 120
    final = client.final([part])
    assert (final.status, client.get(final.id).body) == (201, b"hello")


def test_a_hook_may_name_a_final(runner: Runner) -> None:
    def named(event: HookEvent) -> HookResult | None:
        return HookResult(id="chosen") if event.upload.parts else None

    client = EngineClient(hooks=Hooks(pre_create=named), runner=runner)
    part, other = client.part(b"hello"), client.part(b"world")
    assert client.final([part]).id == "chosen"
    assert client.final([part]).id == "chosen"
    assert client.final([other]).status == 409
    client.delete("chosen")
    assert client.final([part]).status == 410


def test_the_number_of_parts_is_bounded(client: EngineClient) -> None:
    assert client.final(["x"] * 10_001).status == 400


def test_a_final_that_expired_while_it_waited_is_not_assembled(runner: Runner) -> None:
    client = EngineClient(config=Config(expires_after=10, sliding=True), runner=runner)
    part = client.create(5, upload_concat="partial").id
    final = client.final([part]).id
    client.clock.seconds = 8
    assert client.append(part, 0, b"hel").status == 204
    client.clock.seconds = 12
    assert client.append(part, 3, b"lo").status == 204
    assert client.head(final).status == 410


def test_a_final_whose_other_part_expired_is_not_assembled(runner: Runner) -> None:
    client = EngineClient(config=Config(expires_after=10, sliding=True), runner=runner)
    part, other = (client.create(5, upload_concat="partial").id for _ in range(2))
    client.clock.seconds = 5
    assert client.append(part, 0, b"hel").status == 204
    final = client.final([part, other]).id
    client.clock.seconds = 12
    assert client.append(part, 3, b"lo").status == 204
    assert client.get(final).status != 200


def test_a_final_asked_for_again_waits_for_its_parts_once(client: EngineClient) -> None:
    part = client.create(5, upload_concat="partial").id
    first, again = client.final([part]), client.final([part])
    assert (again.status, again.id) == (201, first.id)
    assert client.append(part, 0, b"hello").status == 204
    assert client.get(first.id).body == b"hello"


def test_a_part_that_is_the_last_is_told_and_then_its_final_is_made(runner: Runner) -> None:
    events: list[tuple[str, str]] = []
    hooks = Hooks(post_finish=lambda event: events.append((event.type, event.upload.id)))
    client = EngineClient(hooks=hooks, runner=runner)
    part = client.create(5, upload_concat="partial").id
    final = client.final([part]).id
    assert client.append(part, 0, b"hello").status == 204
    assert client.get(final).body == b"hello"
    assert events == [("post_finish", final)]
