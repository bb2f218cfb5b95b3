"""Steps that several operations share: admission, loading, locking, and what follows a body."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tuspy_server.caps import caps_for
from tuspy_server.composer import Composer
from tuspy_server.config import Config
from tuspy_server.engine.exchange import Exchange
from tuspy_server.engine.finishing import Backoff, deliver, fail, finish, settled
from tuspy_server.engine.hooking import decide, inform
from tuspy_server.engine.locking import Locked
from tuspy_server.errors import InconsistentLength, StopUpload, StoreError, TusError, UploadGone
from tuspy_server.hooks.events import Hooks
from tuspy_server.models import State, UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.protocol.dialects import check_protocol
from tuspy_server.protocol.intents import Append, Create


class Steps:
    """One composition, configured. Holds no request; safe to use from any thread."""

    def __init__(self, composer: Composer, config: Config, hooks: Hooks) -> None:
        self.composer = composer
        self.config = config
        self.hooks = hooks
        self.backoff = Backoff()
        self.caps = caps_for(config)

    async def admit(self, exchange: Exchange, upload_id: str) -> None:
        """Whose is it, and does the app allow it: asked before any lock, so that a stranger interrupts nothing."""
        if self.config.principal is None and not self.hooks.of("pre_access"):
            return
        info = await self.load(exchange, upload_id)
        await decide(exchange, "pre_access", info)

    async def load(self, exchange: Exchange, upload_id: str) -> UploadInfo:
        info = settled(exchange, await exchange.runtime.get(upload_id))
        rules.check_principal(info, exchange.request.principal)
        check_protocol(info, exchange.dialect, exchange.call.method)
        rules.check_available(info, exchange.runtime.now())
        if rules.is_outlived(info, self.config.max_lifetime, exchange.runtime.now()):
            raise UploadGone
        exchange.upload = info
        return info

    def locked(self, exchange: Exchange, *upload_ids: str) -> Locked:
        return Locked(exchange.runtime, upload_ids, exchange.body, self.config.acquire_lock_timeout)

    async def max_size(self, exchange: Exchange) -> int | None:
        max_size = self.config.max_size
        if callable(max_size):
            found: int | None = await exchange.runtime.ask(max_size, exchange.request)
            return found
        return max_size

    async def conclude(
        self, exchange: Exchange, intent: Create | Append, info: UploadInfo, held: Locked, failure: TusError | None
    ) -> UploadInfo:
        """What follows the body: a later expiry, a stop, the end of the upload."""
        if failure is not None:
            if isinstance(failure, StopUpload) and failure.terminate:
                await self.bury(exchange, info, held, failure)
                await inform(exchange, "post_terminate", info)
                raise failure
            if isinstance(failure, StopUpload | StoreError):
                return info
        if info.limits.sliding and not self.composer.slides and not info.is_full:
            held.check()
            info = await exchange.runtime.update(
                replace(info, expires=rules.expiry(info.limits, exchange.runtime.now()))
            )
            exchange.upload = info
        if failure is None and intent.complete and not rules.ends_by_length(info):
            info = await self._declare_end(exchange, info, held)
            return await self._finish(exchange, info, held)
        return await self.ended(exchange, info, held)

    async def _declare_end(self, exchange: Exchange, info: UploadInfo, held: Locked) -> UploadInfo:
        """The client says that this is all: the length is known now, or was and must be reached."""
        if info.length is None:
            held.check()
            return await exchange.runtime.declare_length(info, info.offset)
        if not info.is_full:
            raise InconsistentLength
        return info

    async def ended(self, exchange: Exchange, info: UploadInfo, held: Locked) -> UploadInfo:
        """The upload, carried to its end if all of it is there."""
        if rules.is_finishing(info):
            info = await self._finish(exchange, info, held)
        exchange.upload = info
        return info

    async def _finish(self, exchange: Exchange, info: UploadInfo, held: Locked) -> UploadInfo:
        if self.caps is not None:  # all bytes are there: it cannot stay open
            self.caps.ended(info.id)
        return await finish(exchange, info, held, self.backoff)

    async def take_up(self, exchange: Exchange, info: UploadInfo, held: Locked) -> None:
        """Finish what is finishing and deliver what is owed. Requires the lock."""
        info = await self.ended(exchange, info, held)
        after = deliver(exchange, info, held)
        if after is not None:
            await after(exchange.runtime)

    async def bury(self, exchange: Exchange, info: UploadInfo, held: Locked, reason: TusError) -> None:
        """End an upload that must never be resumed: removed, or failed for good where the store removes nothing."""
        if self.composer.terminater is not None:
            await self.remove(exchange, info, held)
        else:
            held.check()
            await fail(exchange, info, reason)
        exchange.upload = None

    async def remove(self, exchange: Exchange, info: UploadInfo, held: Locked) -> None:
        if self.caps is not None:
            self.caps.ended(info.id)
        if self.composer.terminater is not None:
            held.check()
            until = exchange.runtime.now() + timedelta(seconds=self.config.tombstone_period)
            tombstone = until if self.config.tombstone_period else None
            await exchange.runtime.terminate(replace(info, state=State.GONE, expires=tombstone))
