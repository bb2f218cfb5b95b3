"""104 answers while a body is on its way: where the upload is, and how much of it is durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuspy_server.engine.exchange import Exchange
from tuspy_server.models import UploadInfo

if TYPE_CHECKING:
    from tuspy_server.models import Headers
    from tuspy_server.protocol.intents import Append, Create

PROGRESS_INTERVAL = 1.0  # seconds between two progress answers of one request


async def announce(exchange: Exchange, intent: Create, info: UploadInfo) -> None:
    """Name a new upload to a client that may lose the connection before the answer. Requires the upload's lock: a
    client may ask for it at once."""
    if intent.announce:
        location, now = exchange.url_of(info.id), exchange.runtime.now()
        await _send(exchange, exchange.dialect.announced(exchange.call, info, location, now))


async def tell_progress(exchange: Exchange, intent: Create | Append, offset: int) -> None:
    """Tell an offset that is durable: it is never taken back."""
    await _send(exchange, exchange.dialect.progressed(exchange.call, intent, offset))


async def _send(exchange: Exchange, headers: Headers | None) -> None:
    if headers is not None and exchange.interim is not None:
        await exchange.interim(headers)
