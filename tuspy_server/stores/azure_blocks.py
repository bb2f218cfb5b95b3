"""How a block blob's 50 000 blocks are shared out over an upload."""

from __future__ import annotations

from typing import Final

from tuspy_server.backends.azure import BLOCK_LIMIT, BLOCK_SIZE_LIMIT
from tuspy_server.stores.ledger import Ledger

#: Bytes of the largest block blob.
BLOB_SIZE_LIMIT: Final = BLOCK_LIMIT * BLOCK_SIZE_LIMIT

#: While the length is unknown, blocks double in size each time so many are used up: 8 MiB ones then hold 4.9 TiB.
_WHOLE_STEP: Final = 8_000
#: The same for what small appends leave, with fewer steps left to spend: 256 KiB ones then hold 4 TiB.
_SMALL_STEP: Final = 4_000


def whole_block(preferred: int, ledger: Ledger, length: int | None) -> int:
    """Bytes of the next whole block: `preferred`, or more where the blocks that are left would not suffice."""
    if length is None:
        return min(preferred << (ledger.count // _WHOLE_STEP), BLOCK_SIZE_LIMIT)
    return min(max(preferred, _least(ledger, length)), BLOCK_SIZE_LIMIT)


def small_block(preferred: int, ledger: Ledger, length: int | None) -> int:
    """Bytes below which the rest of a body is no block yet, so that small appends do not use all blocks up."""
    if length is None:
        return min(preferred << (ledger.count // _SMALL_STEP), BLOCK_SIZE_LIMIT)
    return min(max(preferred, _least(ledger, length)), BLOCK_SIZE_LIMIT)


def _least(ledger: Ledger, length: int) -> int:
    """The size at which the missing bytes fit into the blocks left, less one for the tail."""
    left = max(BLOCK_LIMIT - 1 - ledger.count, 1)
    return -(-(length - ledger.stored) // left)
