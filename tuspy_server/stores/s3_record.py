"""The record of an upload as a small JSON object."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from types import MappingProxyType
from typing import Any

from tuspy_server.models import Headers, Kind, Limits, State, StoredRequest, StoredResponse, UploadInfo

_FORMAT = 1


def encode_record(info: UploadInfo) -> bytes:
    """The record's bytes, different each time, so that they tell one write from another. Offset and revision
    are not part of it."""
    response = info.response
    fields: dict[str, Any] = {
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
        "limits": asdict(info.limits),
        "principal": info.principal,
        "storage": dict(info.storage),
        "origin": asdict(info.origin) if info.origin else None,
        "response": asdict(response) | {"body": b64encode(response.body).decode()} if response else None,
        "undelivered": info.undelivered,
    }
    # Undecodable metadata bytes are lone surrogates, which only the escapes of ASCII JSON can carry.
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def decode_record(body: bytes, *, revision: str) -> UploadInfo:
    """The record that `encode_record` wrote, with offset 0. Raises ValueError for anything else."""
    try:
        fields = json.loads(body)
        if fields["format"] != _FORMAT:
            raise ValueError(f"record format {fields['format']!r} is unknown")
        return _record(fields, revision)
    except (KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ValueError("not a record") from exc


def _record(fields: dict[str, Any], revision: str) -> UploadInfo:
    origin, response, expires = fields["origin"], fields["response"], fields["expires"]
    return UploadInfo(
        id=fields["id"],
        length=fields["length"],
        state=State(fields["state"]),
        kind=Kind(fields["kind"]),
        metadata=_frozen(fields["metadata"]),
        server_metadata=_frozen(fields["server_metadata"]),
        raw_metadata=fields["raw_metadata"],
        raw_concat=fields["raw_concat"],
        parts=tuple(fields["parts"]),
        finals=tuple(fields["finals"]),
        protocol=fields["protocol"],
        created=datetime.fromisoformat(fields["created"]),
        expires=datetime.fromisoformat(expires) if expires else None,
        limits=Limits(**fields["limits"]),
        principal=fields["principal"],
        storage=_frozen(fields["storage"]),
        origin=origin
        and StoredRequest(method=origin["method"], target=origin["target"], headers=_headers(origin["headers"])),
        response=response
        and StoredResponse(
            status=response["status"],
            headers=_headers(response["headers"]),
            body=b64decode(response["body"], validate=True),
        ),
        undelivered=tuple(fields["undelivered"]),
        revision=revision,
    )


def _frozen(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(mapping))


def _headers(pairs: list[list[str]]) -> Headers:
    return tuple((name, value) for name, value in pairs)
