"""The record of an upload as a small JSON object."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, cast

from tuspy_server.errors import UploadGone
from tuspy_server.models import Headers, Kind, Limits, State, StoredRequest, StoredResponse, UploadInfo

_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~-]{0,127}", re.ASCII)
_FORMAT: Final = 1


def is_upload_id(upload_id: str) -> bool:
    """Whether an id can be part of an object's name: one path segment, nothing that a service would rewrite."""
    return _ID.fullmatch(upload_id) is not None


def encode_record(info: UploadInfo) -> bytes:
    """Everything but `offset` and `revision`, which are the store's to fill in. ASCII; lone surrogates survive.

    No two are equal, so that a writer whose answer was lost knows its own from another's.
    """
    return json.dumps(
        {
            "format": _FORMAT,
            "write": secrets.token_hex(8),
            "id": info.id,
            "length": info.length,
            "state": info.state.value,
            "kind": info.kind.value,
            "metadata": dict(info.metadata),
            "server_metadata": dict(info.server_metadata),
            "raw_metadata": info.raw_metadata,
            "raw_concat": info.raw_concat,
            "parts": info.parts,
            "finals": info.finals,
            "protocol": info.protocol,
            "created": info.created.isoformat(),
            "expires": info.expires.isoformat() if info.expires else None,
            "limits": _encode_limits(info.limits),
            "principal": info.principal,
            "storage": dict(info.storage),
            "origin": _encode_origin(info.origin),
            "response": _encode_response(info.response),
            "undelivered": info.undelivered,
        },
        separators=(",", ":"),
    ).encode("ascii")


def decode_record(body: bytes, revision: str) -> UploadInfo:
    """The record that `encode_record` made, with offset 0. Raises UploadGone if it cannot be read."""
    try:
        fields = json.loads(body)
        if fields["format"] != _FORMAT:
            raise UploadGone("the upload's record is of an unknown format")
        return UploadInfo(
            id=fields["id"],
            length=fields["length"],
            state=State(fields["state"]),
            kind=Kind(fields["kind"]),
            metadata=_mapping(fields["metadata"]),
            server_metadata=_mapping(fields["server_metadata"]),
            raw_metadata=fields["raw_metadata"],
            raw_concat=fields["raw_concat"],
            parts=tuple(fields["parts"]),
            finals=tuple(fields["finals"]),
            protocol=fields["protocol"],
            created=datetime.fromisoformat(fields["created"]),
            expires=datetime.fromisoformat(fields["expires"]) if fields["expires"] else None,
            limits=Limits(**fields["limits"]),
            principal=fields["principal"],
            storage=_mapping(fields["storage"]),
            origin=_decode_origin(fields["origin"]),
            response=_decode_response(fields["response"]),
            undelivered=tuple(fields["undelivered"]),
            revision=revision,
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise UploadGone("the upload's record is unreadable") from exc


def _mapping(value: dict[str, str]) -> Mapping[str, str]:
    return MappingProxyType(value)


def _headers(value: list[list[str]]) -> Headers:
    return tuple((name, text) for name, text in value)


def _encode_limits(limits: Limits) -> dict[str, object]:
    return {name: getattr(limits, name) for name in Limits.__dataclass_fields__}


def _encode_origin(origin: StoredRequest | None) -> dict[str, object] | None:
    if origin is None:
        return None
    return {"method": origin.method, "target": origin.target, "headers": origin.headers}


def _decode_origin(value: dict[str, Any] | None) -> StoredRequest | None:
    if value is None:
        return None
    return StoredRequest(method=value["method"], target=value["target"], headers=_headers(value["headers"]))


def _encode_response(response: StoredResponse | None) -> dict[str, object] | None:
    if response is None:
        return None
    body = base64.b64encode(response.body).decode("ascii")
    return {"status": response.status, "headers": response.headers, "body": body}


def _decode_response(value: dict[str, Any] | None) -> StoredResponse | None:
    if value is None:
        return None
    body = base64.b64decode(cast(str, value["body"]), validate=True)
    return StoredResponse(status=value["status"], headers=_headers(value["headers"]), body=body)
