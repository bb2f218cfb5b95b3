"""Any bytes in any field: an intent or an error of ours, and an answer, in every version."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.drafts import NOW, PARTIAL, VERSIONS, T, U, call, complete, framed, of, upload
from tuspy_server import Config, Request
from tuspy_server.errors import TusError
from tuspy_server.protocol.dialect import Call, Capabilities, Refusal
from tuspy_server.protocol.dialects import choose
from tuspy_server.protocol.digests import claimed_by, wanted_by
from tuspy_server.protocol.intents import Append, Create
from tuspy_server.protocol.resolve import Target

FIELDS = [
    "accept",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "expect",
    "prefer",
    "repr-digest",
    "transfer-encoding",
    "tus-resumable",
    "upload-complete",
    "upload-draft-interop-version",
    "upload-incomplete",
    "upload-length",
    "upload-limit",
    "upload-metadata",
    "upload-offset",
    "want-repr-digest",
]
# Servers hand fields over as Latin-1, so every byte may be in one; a few that come close to being valid.
NEARLY = [
    "?1",
    "?0",
    "0",
    "5",
    "9" * 15,
    "-1",
    "?1;a=b",
    "sha-256=:AAAA:",
    PARTIAL,
    "chunked",
    'x; filename="',
    "filename*=",
]
VALUES = st.one_of(
    st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")),
    st.sampled_from(NEARLY),
    st.tuples(st.sampled_from(NEARLY), st.text(max_size=8)).map("".join),
)
HEADERS = st.lists(st.tuples(st.sampled_from(FIELDS), VALUES), max_size=12)
METHODS = st.sampled_from(["POST", "PUT", "PATCH", "HEAD", "GET", "DELETE"])
TARGETS = st.sampled_from([T, U, None])
CONFIG = Config(interim_responses=True)

unhurried = settings(deadline=None)  # a busy machine is no fault of an example


def answer(asked: Call) -> None:
    """Read a request and write every answer to it. Header values without line breaks are Response's own check."""
    dialect = choose(asked.request, asked.method, asked.target, asked.config)
    info = upload(length=10, offset=4)
    try:
        intent = dialect.read(asked)
    except TusError as error:
        dialect.refused(asked, Refusal(error=error, upload=info), NOW)
        return
    if isinstance(intent, Create):
        claimed_by(intent.origin)
        wanted_by(intent.origin)
    if isinstance(intent, Create | Append):
        dialect.progressed(asked, intent, 3)
        dialect.announced(asked, info, "/x", NOW)
    dialect.completed(asked, info, None, "/x", NOW)
    dialect.described(asked, info, NOW)


@unhurried
@given(METHODS, TARGETS, HEADERS)
def test_any_bytes_in_any_field_give_an_intent_or_an_error(
    method: str, target: Target, headers: list[tuple[str, str]]
) -> None:
    request = Request(method=method, url="http://test/", path="/", headers=tuple(headers), host="test")
    capabilities = Capabilities(extensions=("checksum", "creation-defer-length"))
    content = framed(request)
    answer(
        Call(
            request=request,
            method=method,
            target=target,
            config=CONFIG,
            capabilities=capabilities,
            content=content,
        )
    )


@unhurried
@given(st.sampled_from(VERSIONS), st.booleans(), st.sampled_from(FIELDS), VALUES, st.sampled_from(["POST", "PATCH"]))
def test_one_broken_field_of_a_good_request_gives_an_intent_or_an_error(
    version: int, last: bool, field: str, value: str, method: str
) -> None:
    headers: dict[str, str | None] = {"upload-offset": "0", "content-type": PARTIAL}
    headers |= {name.lower(): said for name, said in complete(version, last).items()}
    answer(call(method, T if method == "POST" else U, headers | {field: value}, version=version, config=CONFIG))


@unhurried
@given(
    st.sampled_from(VERSIONS),
    st.booleans(),
    st.integers(0, 10**15 - 1),
    st.none() | st.integers(0, 10**15 - 1),
    st.none() | st.integers(0, 10**6),
)
def test_what_a_client_writes_is_what_is_read(
    version: int, last: bool, offset: int, length: int | None, size: int | None
) -> None:
    headers = {"Content-Type": PARTIAL, "Upload-Offset": str(offset), **complete(version, last)}
    if length is not None:
        headers["Upload-Length"] = str(length)
    asked = call("PATCH", U, headers, version=version, size=size)
    end = None if size is None else offset + size
    implied = end if last and version > 3 else None
    try:
        intent = of(version).read(asked)
    except TusError:
        assert (end or 0) >= 10**15 or (None not in (length, implied) and length != implied)
        return
    assert isinstance(intent, Append)
    assert (intent.offset, intent.complete, intent.content.size) == (offset, last, size)
    assert intent.length == (implied if length is None else length)


@unhurried
@given(st.sampled_from(VERSIONS), st.integers(0, 10**15 - 1), st.none() | st.integers(0, 10**15 - 1))
def test_what_is_answered_can_be_sent_back(version: int, offset: int, length: int | None) -> None:
    info = upload(offset=offset, length=length)
    answered = of(version).appended(call("PATCH", U, version=version), info, "/x", NOW)
    names = ("Upload-Offset", "Upload-Complete", "Upload-Incomplete", "Upload-Length")
    echoed = {name: value for name, value in answered.headers if name in names}
    intent = of(version).read(call("PATCH", U, {"Content-Type": PARTIAL, **echoed}, version=version))
    assert isinstance(intent, Append)
    assert (intent.offset, intent.length, intent.complete) == (offset, length, False)
