from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.hooks.samples import REQUEST, event
from tuspy_server.errors import RejectUpload, StopUpload
from tuspy_server.hooks.payload import (
    DEFAULT_EVENTS,
    HookFailed,
    RejectTermination,
    canonical,
    decode,
    encode,
    parse_events,
)
from tuspy_server.models import HookEvent, HookResult, Kind, Response


def told(of: HookEvent) -> Any:
    return encode(of)["Event"]


def test_the_request_has_every_field_of_tusd_and_ours() -> None:
    assert encode(event(expires=datetime(2030, 1, 3, tzinfo=UTC), server_metadata={"tenant": "t1"})) == {
        "Type": "post-finish",
        "DeliveryID": "24e533e0-post_finish",
        "Event": {
            "Upload": {
                "ID": "24e533e02ec3bc40c387f1a0e460e216",
                "Size": 11,
                "SizeIsDeferred": False,
                "Offset": 4,
                "MetaData": {"filename": "naïve.txt", "flag": ""},
                "IsPartial": False,
                "IsFinal": False,
                "PartialUploads": None,
                "Storage": {"Path": "24e533e02ec3bc40c387f1a0e460e216"},
                "RawMetaData": "filename bmHDr3ZlLnR4dA==,flag",
                "ServerMetaData": {"tenant": "t1"},
                "Principal": "alice",
                "ExpiresAt": "2030-01-03T00:00:00Z",
            },
            "HTTPRequest": {
                "Method": "PATCH",
                "URI": "/up/24e533e02ec3bc40c387f1a0e460e216?x=1",
                "RemoteAddr": "192.0.2.1:40123",
                "Header": {
                    "Cookie": ["a=1", "b=2"],
                    "Host": ["files.example"],
                    "Tus-Resumable": ["1.0.0"],
                    "X-Http-Method-Override": ["PATCH"],
                    "X-Name": ["naïve"],
                },
                "Client": "203.0.113.7",
            },
        },
    }


def test_before_creation_there_is_no_id_and_no_storage() -> None:
    upload = told(event("pre_create", storage={}, length=None))["Upload"]
    assert (upload["ID"], upload["Storage"], upload["Size"], upload["SizeIsDeferred"]) == ("", None, 0, True)


def test_a_final_upload_names_its_parts() -> None:
    upload = told(event(kind=Kind.FINAL, parts=("a", "b")))["Upload"]
    assert (upload["IsFinal"], upload["IsPartial"], upload["PartialUploads"]) == (True, False, ["a", "b"])


def test_bytes_that_are_no_utf8_become_one_replacement_character_each_and_the_json_is_valid() -> None:
    payload = encode(event(metadata={"bad": "a\udcff\udcfe"}, request=replace(REQUEST, headers=(("x-raw", "é\xff"),))))
    read = json.loads(json.dumps(payload).encode("utf-8"))["Event"]
    assert read["Upload"]["MetaData"] == {"bad": "a\ufffd\ufffd"}
    assert read["HTTPRequest"]["Header"]["X-Raw"] == ["\ufffd\ufffd"]


@pytest.mark.parametrize(
    ("peer", "native", "address"),
    [
        ("192.0.2.1", {"REMOTE_PORT": "81"}, "192.0.2.1:81"),
        ("2001:db8::1", {"client": ("2001:db8::1", 5)}, "[2001:db8::1]:5"),
        ("192.0.2.1", object(), "192.0.2.1:0"),
        (None, {"client": None}, ""),
    ],
)
def test_the_remote_address_has_go_s_form(peer: str | None, native: object, address: str) -> None:
    request = replace(REQUEST, peer=peer, client=None, native=native)
    assert told(event(request=request))["HTTPRequest"]["RemoteAddr"] == address


@pytest.mark.parametrize(
    ("url", "uri"),
    [("http://h/files/", "/files/"), ("http://h", "/"), ("/files/a?b", "/files/a?b"), ("http://h//x%41", "//x%41")],
)
def test_the_uri_is_the_request_target(url: str, uri: str) -> None:
    assert told(event(request=replace(REQUEST, url=url)))["HTTPRequest"]["URI"] == uri


def test_a_field_name_that_is_no_token_stays_as_it_is() -> None:
    assert canonical("x y-z") == "x y-z"


@pytest.mark.parametrize("answer", [None, {}, {"ChangeFileInfo": None, "HTTPResponse": None}, {"Unknown": 1}])
def test_an_empty_answer_changes_nothing(answer: object) -> None:
    assert decode(event("pre_create"), answer) is None


def test_a_creation_can_be_changed_and_answered() -> None:
    answer = {
        "HTTPResponse": {"StatusCode": 200, "Body": "hi", "Header": {"X-A": "1"}},
        "ChangeFileInfo": {
            "ID": "mine",
            "MetaData": {},
            "Storage": {"Path": "a/b"},
            "ServerMetaData": {"tenant": "t1"},
        },
    }
    assert decode(event("pre_create"), answer) == HookResult(
        id="mine",
        metadata={},
        storage={"path": "a/b"},
        server_metadata={"tenant": "t1"},
        response=Response(status=200, headers=(("X-A", "1"),), body=b"hi"),
    )


def test_keys_match_in_any_case_and_the_last_one_wins() -> None:
    answer = json.loads('{"changefileinfo": {"ID": "a", "id": "b"}}')
    assert decode(event("pre_create"), answer) == HookResult(id="b")


@pytest.mark.parametrize(
    ("hook", "method", "http", "status"),
    [
        ("pre_create", "POST", {"Header": {"X-A": "1"}}, 201),
        ("pre_finish", "POST", {"Body": "x"}, 201),
        ("pre_finish", "PATCH", {"Header": {"X-A": "1"}}, 204),
        ("pre_finish", "PATCH", {"Body": "x"}, 200),
        ("pre_terminate", "DELETE", {"StatusCode": 202}, 202),
    ],
)
def test_an_answer_without_a_status_keeps_the_usual_one(
    hook: str, method: str, http: dict[str, object], status: int
) -> None:
    request = replace(REQUEST, method=method, headers=())
    result = decode(event(hook, request=request), {"HTTPResponse": http})
    assert result is not None
    assert result.response is not None
    assert result.response.status == status


def test_an_overridden_method_counts_for_the_usual_status() -> None:
    result = decode(
        event("pre_finish", request=replace(REQUEST, method="POST")), {"HTTPResponse": {"Header": {"A": "1"}}}
    )
    assert result == HookResult(response=Response(status=204, headers=(("A", "1"),)))


@pytest.mark.parametrize(
    ("hook", "field", "status", "code"),
    [
        ("pre_create", "RejectUpload", 400, "ERR_UPLOAD_REJECTED"),
        ("pre_finish", "RejectUpload", 400, "ERR_UPLOAD_REJECTED"),
        ("pre_access", "RejectAccess", 403, "ERR_UPLOAD_REJECTED"),
        ("pre_access", "RejectUpload", 403, "ERR_UPLOAD_REJECTED"),
        ("pre_terminate", "RejectTermination", 400, "ERR_UPLOAD_TERMINATION_REJECTED"),
    ],
)
def test_a_refusal_keeps_what_the_hook_does_not_say(hook: str, field: str, status: int, code: str) -> None:
    with pytest.raises(RejectUpload) as plain:
        decode(event(hook), {field: True})
    assert (plain.value.answer_status, plain.value.answer_body, plain.value.code) == (status, None, code)
    with pytest.raises(RejectUpload) as worded:
        decode(event(hook), {field: True, "HTTPResponse": {"StatusCode": 418, "Body": "no", "Header": {"A": "1"}}})
    assert (worded.value.answer_status, worded.value.answer_body) == (418, b"no")
    assert worded.value.answer_headers == (("A", "1"),)


def test_a_refused_termination_has_its_own_error() -> None:
    with pytest.raises(RejectTermination):
        decode(event("pre_terminate"), {"RejectTermination": True})


def test_a_stop_removes_the_upload_and_says_so_unless_the_hook_says_more() -> None:
    with pytest.raises(StopUpload) as plain:
        decode(event("post_receive"), {"StopUpload": True})
    assert (plain.value.terminate, plain.value.response) == (True, None)
    with pytest.raises(StopUpload) as partly:
        decode(event("post_receive"), {"StopUpload": True, "HTTPResponse": {"Header": {"X-A": "1"}}})
    assert partly.value.response == Response(
        status=400,
        headers=(("Content-Type", "text/plain; charset=utf-8"), ("X-A", "1")),
        body=b"ERR_UPLOAD_STOPPED: the upload was stopped by the server\n",
    )
    with pytest.raises(StopUpload) as fully:
        decode(event("post_receive"), {"StopUpload": True, "HTTPResponse": {"StatusCode": 413, "Body": "big"}})
    assert fully.value.response == Response(status=413, body=b"big")


@pytest.mark.parametrize("hook", ["post_create", "post_receive", "post_finish", "post_terminate", "pre_access"])
def test_fields_of_other_hooks_are_ignored(hook: str) -> None:
    answer = {"RejectTermination": True, "ChangeFileInfo": {"ID": "x"}, "HTTPResponse": {"StatusCode": 200}}
    assert decode(event(hook), answer) is None


@pytest.mark.parametrize(
    "answer",
    [
        [],
        "x",
        {"RejectUpload": "true"},
        {"HTTPResponse": []},
        {"HTTPResponse": {"StatusCode": True}},
        {"HTTPResponse": {"StatusCode": "400"}},
        {"HTTPResponse": {"StatusCode": 1000}},
        {"HTTPResponse": {"Body": 1}},
        {"HTTPResponse": {"Header": {"A": ["1"]}}},
        {"HTTPResponse": {"Header": {"A": "1\r\nB: 2"}}},
        {"ChangeFileInfo": {"MetaData": {"a": 1}}},
        {"ChangeFileInfo": {"ID": 5}},
    ],
)
def test_an_answer_that_breaks_the_schema_is_a_failure(answer: object) -> None:
    with pytest.raises(HookFailed):
        decode(event("pre_create"), answer)


def test_event_lists_are_trimmed_and_an_empty_one_enables_nothing() -> None:
    assert parse_events("pre-create, post_finish ,") == {"pre_create", "post_finish"}
    assert parse_events("") == frozenset()
    assert parse_events(DEFAULT_EVENTS) == DEFAULT_EVENTS
    with pytest.raises(ValueError, match=r"unknown hook event 'pre-creat'.*pre-access, pre-create"):
        parse_events("pre-creat")
