"""Digests of a whole upload (RFC 9530): the one it was created with must match, the one wished for is answered."""

from __future__ import annotations

from dataclasses import replace

from tuspy_server.engine.exchange import Exchange
from tuspy_server.errors import DigestMismatch
from tuspy_server.models import Checksum, StoredResponse, UploadInfo
from tuspy_server.protocol.checksums import Hasher, hasher, matches
from tuspy_server.protocol.digests import claimed_by, wanted_by, write_digest


async def verify_whole(exchange: Exchange, info: UploadInfo) -> None:
    """Raise DigestMismatch if the upload's bytes do not have its Repr-Digest: trying again cannot help."""
    claimed = claimed_by(info.origin)
    if claimed is None or exchange.runtime.composer.reader is None:
        return
    if not matches(claimed, await _digest(exchange, info, claimed.algorithm)):
        raise DigestMismatch


async def with_wanted_digest(
    exchange: Exchange, info: UploadInfo, response: StoredResponse | None
) -> StoredResponse | None:
    """The final answer with the digest that the client asked for at creation."""
    algorithm = wanted_by(info.origin)
    if algorithm is None or exchange.runtime.composer.reader is None:
        return response
    computed = await _digest(exchange, info, algorithm)
    field = ("Repr-Digest", write_digest(Checksum(algorithm=algorithm, digest=computed.digest())))
    answer = response or StoredResponse(status=201)
    return replace(answer, headers=(*answer.headers, field))


async def _digest(exchange: Exchange, info: UploadInfo, algorithm: str) -> Hasher:
    reader = exchange.runtime.composer.reader
    assert reader is not None
    computed = hasher(algorithm)
    pieces = reader.read(info, 0, info.offset)
    try:
        while await exchange.runtime.next_piece(pieces, computed) is not None:
            continue
    finally:
        await exchange.runtime.drop(pieces)
    return computed
