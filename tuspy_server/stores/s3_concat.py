"""Filling a final upload out of its sources, by the server's own copying where the sources are large enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuspy_server.backends.s3 import Missing, Refused, quoted
from tuspy_server.errors import StoreFailed
from tuspy_server.stores.s3_parts import CopiedPart, Slice, plan_concat
from tuspy_server.stores.s3_upload import Target
from tuspy_server.stores.s3_view import Part, Token, mark_of


@dataclass(frozen=True, slots=True)
class Source:
    """A finished object: read and copied only while it still is this very one."""

    key: str
    size: int
    etag: str


class _CopyNotTold(Exception):
    """The server copied a part, or did not, without telling its ETag."""


def fill(target: Target, sources: Sequence[Source], token: Token, *, server_copies: bool) -> int:
    """Store all parts of the final upload and their mark; its size. Starting over overwrites the same parts.

    Servers whose copying cannot be used (rclone) are served by streaming through this process.
    """
    try:
        return _fill(target, sources, token, server_copies=server_copies)
    except _CopyNotTold:
        return _fill(target, sources, token, server_copies=False)


def _fill(target: Target, sources: Sequence[Source], token: Token, *, server_copies: bool) -> int:
    plan = plan_concat([source.size for source in sources], target.plan, server_copies=server_copies)
    made: dict[int, Part] = {}
    flight = target.flight()
    for number, part in enumerate(plan, 1):
        flight.launch(part.size if part.streamed else 0, _task(target, sources, number, part, made))
    flight.wait()
    if flight.failure is not None:
        raise flight.failure
    parts = [made[number] for number in range(1, len(plan) + 1)]
    mark = mark_of(parts, token, 0)
    target.put_mark(mark)
    return mark.end


def _task(
    target: Target, sources: Sequence[Source], number: int, part: CopiedPart, made: dict[int, Part]
) -> Callable[[], None]:
    def make() -> None:
        try:
            made[number] = (_stream if part.streamed else _copy)(target, sources, number, part)
        except (Missing, Refused) as exc:
            raise StoreFailed("a partial upload vanished or was replaced") from exc

    return make


def _stream(target: Target, sources: Sequence[Source], number: int, part: CopiedPart) -> Part:
    body = b"".join(_fetch(target, sources[piece.index], piece) for piece in part.slices)
    return target.upload_part(number, body, part.size)


def _copy(target: Target, sources: Sequence[Source], number: int, part: CopiedPart) -> Part:
    (piece,) = part.slices
    source = sources[piece.index]
    # AWS takes ranges of objects above 5 MiB only, and a smaller one is never cut.
    whole = piece.size == source.size
    answer = target.bucket.call(
        "upload_part_copy",
        Key=target.key,
        UploadId=target.upload_id,
        PartNumber=number,
        CopySource={"Bucket": target.bucket.name, "Key": source.key},
        CopySourceIfMatch=source.etag,
        **({} if whole else {"CopySourceRange": _range(piece)}),
    )
    etag = answer.get("CopyPartResult", {}).get("ETag")
    if not etag:
        raise _CopyNotTold
    return Part(number, piece.size, quoted(etag))


def _fetch(target: Target, source: Source, piece: Slice) -> bytes:
    answer = target.bucket.call("get_object", Key=source.key, IfMatch=source.etag, Range=_range(piece))
    body = target.bucket.read_all(answer)
    if len(body) != piece.size:
        raise StoreFailed("a partial upload is short")
    return body


def _range(piece: Slice) -> str:
    return f"bytes={piece.start}-{piece.stop - 1}"
