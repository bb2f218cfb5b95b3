"""What glibc does with memory that a body needed."""

from __future__ import annotations

_LARGEST_BLOCK = 8 << 20  # bytes; two batches of a body


def keep_freed_memory() -> None:
    """Let glibc keep what one piece of a body freed for the next one.

    It gives freed memory back to the system once there is twice as much of it as the largest block that was ever
    freed, and a body is read in blocks that would be paged in again and again: half of the cost of a large body
    under gunicorn, a tenth under uvicorn. It keeps at most 16 MiB of a process for that.
    """
    bytearray(_LARGEST_BLOCK)
