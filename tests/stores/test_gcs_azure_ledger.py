"""The pure parts of the ledger stores: formats, and how pieces and blocks are planned."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tuspy_server.backends.azure import BLOCK_LIMIT, BLOCK_SIZE_LIMIT
from tuspy_server.errors import UploadGone
from tuspy_server.stores.azure_blocks import BLOB_SIZE_LIMIT, small_block, whole_block
from tuspy_server.stores.gcs_compose import full_group
from tuspy_server.stores.ledger import Ledger, Piece, Run, decode_ledger, encode_ledger
from tuspy_server.stores.ledger_objects import content_type
from tuspy_server.stores.ledger_record import decode_record

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


def test_ledger_survives_its_format() -> None:
    ledger = Ledger((Run("t", 0, 3, 8), Run("u", 5, 1, 2, 4)), b"\n\x00tail\n", "stamp", datetime.now(UTC))
    assert decode_ledger(encode_ledger(ledger)) == ledger


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_cut_ledger_is_gone_and_never_shorter(cut: int) -> None:
    body = encode_ledger(Ledger((Run("t", 0, 3, 8),), b"tail", "stamp"))
    with pytest.raises(UploadGone):
        decode_ledger(body[:cut])


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b'{"format":2}', b"\xff"])
def test_unreadable_record_is_gone(body: bytes) -> None:
    with pytest.raises(UploadGone):
        decode_record(body, "1")


def test_pieces_of_one_writer_are_one_run() -> None:
    ledger = Ledger(tail=b"x").followed_by(Piece("t", n, 8) for n in range(1000)).followed_by([Piece("t", 1000, 3)])
    assert ledger.runs == (Run("t", 0, 1000, 8), Run("t", 1000, 1, 3))
    assert (ledger.count, ledger.stored, ledger.tail) == (1001, 8003, b"")
    assert [piece.number for piece in ledger.pieces] == list(range(1001))


def test_piece_of_another_writer_begins_a_run() -> None:
    ledger = Ledger.of([Piece("t", 0, 8), Piece("u", 1, 8), Piece("u", 3, 8)])
    assert ledger.runs == (Run("t", 0, 1, 8), Run("u", 1, 1, 8), Run("u", 3, 1, 8))


def test_composing_keeps_few_pieces_of_each_level() -> None:
    """1 TiB in pieces of 8 MiB never leaves more than 31 objects of each of four levels, nor a wrong order."""
    pieces: list[Piece] = []
    most = 0
    for number in range(TiB // (8 * MiB)):
        pieces.append(Piece("t", number, 8 * MiB))
        while (span := full_group(pieces)) is not None:
            group = pieces[span.start : span.stop]
            assert len(group) == 32
            pieces[span.start : span.stop] = [
                Piece("c", group[0].number, sum(p.size for p in group), group[0].level + 1)
            ]
        most = max(most, len(pieces))
    assert most <= 31 * 4
    assert sum(piece.size for piece in pieces) == TiB
    assert [piece.number for piece in pieces] == sorted(piece.number for piece in pieces)


def use_blocks_up_to(target: int, length: int | None, *, small: bool) -> None:
    """Blocks as small as they may be: those of one long append, or what many small ones leave."""
    count = stored = 0
    while stored < target:
        ledger = Ledger((Run("t", 0, count, 0), Run("t", count, 1, stored)))
        size = small_block(256 * KiB, ledger, length) if small else whole_block(8 * MiB, ledger, length)
        count, stored = count + 1, stored + min(size, target - stored)
        assert size <= BLOCK_SIZE_LIMIT
        assert count < BLOCK_LIMIT, f"no block is left at {stored / TiB:.2f} TiB"


@pytest.mark.parametrize("length", [1, 8 * MiB, 8 * MiB * (BLOCK_LIMIT - 2), GiB, 5 * TiB, BLOB_SIZE_LIMIT * 9 // 10])
def test_blocks_suffice_for_a_known_length(length: int) -> None:
    use_blocks_up_to(length, length, small=False)


@pytest.mark.parametrize("length", [12 * GiB, 100 * GiB, 5 * TiB])
def test_blocks_suffice_for_small_appends_to_a_known_length(length: int) -> None:
    use_blocks_up_to(length, length, small=True)


@pytest.mark.parametrize("small", [True, False])
def test_blocks_suffice_for_terabytes_of_unknown_length(small: bool) -> None:
    use_blocks_up_to(3 * TiB, None, small=small)


def test_usual_uploads_have_blocks_of_the_preferred_size() -> None:
    assert whole_block(8 * MiB, Ledger(), 300 * GiB) == 8 * MiB
    assert whole_block(8 * MiB, Ledger(), None) == 8 * MiB
    assert small_block(256 * KiB, Ledger(), 10 * GiB) == 256 * KiB


@pytest.mark.parametrize("announced", ["image/png", "text/plain; charset=utf-8", "application/vnd.a+json"])
def test_announced_media_type_is_used(announced: str) -> None:
    assert content_type({"filetype": announced}) == announced


@pytest.mark.parametrize("announced", ["", "png", "a/b\r\nX-Evil: 1", "ü/x", "a/b;\x00", "/", "a/" + "b" * 500])
def test_what_is_no_media_type_is_not_used(announced: str) -> None:
    assert content_type({"filetype": announced}) is None
