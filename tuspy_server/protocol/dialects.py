"""Which protocol a request speaks, and whose uploads it may touch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from werkzeug.http import quote_etag

from tuspy_server.config import Config
from tuspy_server.errors import UnsupportedVersion, UploadNotFound
from tuspy_server.models import Request, Response, UploadInfo
from tuspy_server.protocol import fields, structured
from tuspy_server.protocol.dialect import Call, Dialect, Refusal
from tuspy_server.protocol.download import etag_of, representation_headers
from tuspy_server.protocol.draft import Draft
from tuspy_server.protocol.draft_profiles import NEWEST, OLDEST, PROFILES, VERSION_FIELD
from tuspy_server.protocol.draft_requests import APPEND_TYPE, CREATING_METHODS
from tuspy_server.protocol.resolve import Collection, Target, UploadPath
from tuspy_server.protocol.rules import RUFH, is_complete
from tuspy_server.protocol.tus1 import Tus1, wants

_TUS = Tus1()
_NAMED = {version: Draft(profile) for version, profile in PROFILES.items()}
_UNNAMED = Draft(NEWEST, is_named=False)


@dataclass(frozen=True, slots=True)
class Undecided(Draft):
    """A HEAD, GET or DELETE that names no protocol: it speaks whatever the upload was created with.

    `is_draft` says whether such a request may be taken for the newest draft, of which later versions name none.
    """

    is_named: bool = False
    protocol: str = ""
    is_draft: bool = True

    def described(self, call: Call, info: UploadInfo, now: datetime) -> Response:
        if info.protocol != RUFH:
            if call.method == "GET":
                return _TUS.described(call, info, now)
            if is_complete(info):
                return _as_download(call, info, now)
        return Draft.described(self, call, info, now)

    def refused(self, call: Call, refusal: Refusal, now: datetime) -> Response:
        if not self.is_draft or isinstance(refusal.error, UnsupportedVersion):
            return _TUS.refused(call, refusal, now)
        return Draft.refused(self, call, refusal, now)


def choose(request: Request, method: str, target: Target, config: Config) -> Dialect:
    """The dialect of a request. What speaks none of ours gets tus, which answers 412.

    tus is known by its field alone. A draft version that we do not know is taken for the newest if it is newer,
    and for no draft if it is older than all of ours (-00 let clients choose the URL).
    """
    if wants(request):
        return _TUS
    version = structured.integer(request.header(VERSION_FIELD.lower()))
    if version is not None:
        return _NAMED.get(version, _TUS if version < OLDEST else _UNNAMED)
    is_draft = config.unversioned == "newest"
    if isinstance(target, UploadPath) and (method in ("HEAD", "GET") or (method == "DELETE" and is_draft)):
        return Undecided(is_draft=is_draft)
    return _UNNAMED if is_draft and _looks_like_draft(request, method, target) else _TUS


def _looks_like_draft(request: Request, method: str, target: Target) -> bool:
    if method not in CREATING_METHODS:
        return False
    if structured.boolean(request.header("upload-complete")) is not None:
        return True
    return not isinstance(target, Collection) and fields.media_type(request) == APPEND_TYPE


def check_protocol(info: UploadInfo, dialect: Dialect, method: str) -> None:
    """An upload belongs to the protocol that created it; for the other one it does not exist.

    Completion means different things to them, so a half-understood upload would end too early or never, and 404
    makes a client start anew. What is complete may be looked at by both, and downloads know no protocol.
    """
    if method == "GET" or dialect.protocol == info.protocol:
        return
    if isinstance(dialect, Undecided):
        _check_undecided(info, dialect, method)
    elif method != "HEAD" or not is_complete(info):
        raise UploadNotFound


def _check_undecided(info: UploadInfo, dialect: Undecided, method: str) -> None:
    if info.protocol != RUFH and not (method == "HEAD" and (dialect.is_draft or is_complete(info))):
        raise UnsupportedVersion


def _as_download(call: Call, info: UploadInfo, now: datetime) -> Response:
    """What a GET would say, and the offset beside it."""
    if not call.capabilities.downloads:
        return _TUS.described(call, info, now)
    headers = (
        *representation_headers(info),
        ("ETag", quote_etag(etag_of(info))),
        ("Accept-Ranges", "bytes"),
        ("Content-Length", str(info.length)),
        ("Upload-Offset", str(info.offset)),
    )
    return Response(status=200, headers=headers)
