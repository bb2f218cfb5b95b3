"""The orchestrator: what a request wants, carried out in order, once for WSGI and ASGI.

`begin` is pure and checks everything that needs no record and no body. `carry_out` awaits nothing but the body
and the runtime. In which order? Read `Engine._create` and `Engine._append`; why refused? `protocol/rules.py`.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

from tuspy_server.composer import Composer
from tuspy_server.config import Config
from tuspy_server.engine.body import EMPTY_BODY, Body, Buffered
from tuspy_server.engine.concatenating import assemble, assemble_waiting, parts_of, wait_for_parts
from tuspy_server.engine.downloading import Download, open_download
from tuspy_server.engine.exchange import After, Exchange, Reply
from tuspy_server.engine.finishing import Backoff, deliver, finish, settled
from tuspy_server.engine.hooking import decide, inform
from tuspy_server.engine.locking import Locked, WouldWait, unlocked
from tuspy_server.engine.receiving import receive
from tuspy_server.errors import (
    BodyTooLarge,
    ChecksumMismatch,
    InconsistentLength,
    MethodNotAllowed,
    RejectUpload,
    StopUpload,
    StoreError,
    SyncFailed,
    TusError,
    UploadExists,
    UploadGone,
    UploadLocked,
    UploadNotFound,
)
from tuspy_server.hooks.events import Hooks
from tuspy_server.models import Headers, Kind, Request, Response, State, UploadInfo
from tuspy_server.protocol import rules
from tuspy_server.protocol.cors import cors_headers
from tuspy_server.protocol.dialect import Call, Capabilities, Dialect, Refusal, allowed_methods
from tuspy_server.protocol.download import plan_download
from tuspy_server.protocol.intents import Append, Create, Describe, Discover, Fetch, Intent, Terminate
from tuspy_server.protocol.merge import merge
from tuspy_server.protocol.resolve import UploadPath, resolve
from tuspy_server.protocol.tus1 import Tus1, discovery

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime

__all__ = ["EMPTY_BODY", "Begun", "Body", "Buffered", "Download", "Engine", "Reply", "WouldWait"]

log = logging.getLogger("tuspy_server")

_OVERRIDABLE = frozenset(["PATCH", "DELETE", "HEAD"])  # SEC10: from POST only, and nothing that a form could not do


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A request after everything that can be checked without a record: an intent, or the error it ends with."""

    call: Call
    dialect: Dialect
    headers: Headers = ()
    intent: Intent | None = None
    error: TusError | None = None


_MOST_ATTEMPTS = 100  # finals of the same parts and metadata, each terminated before the next was asked for


class Engine:
    """One composition, configured. Holds no request; safe to use from any thread."""

    def __init__(self, composer: Composer, config: Config, hooks: Hooks) -> None:
        self.composer = composer
        self.config = config
        self.hooks = hooks
        self.backoff = Backoff()
        self._capabilities = _capabilities(composer, config)

    @property
    def is_blocking(self) -> bool:
        """Whether a small request can run in one thread to its end: no hooks of the app's, no async member."""
        config = self.config
        asks = config.principal is not None or callable(config.max_size)
        return not self.hooks and not asks and self.composer.is_blocking

    def begin(self, request: Request, *, raw_path: str | None = None) -> Begun:
        """Route the request and read its intent. Pure; never raises."""
        target = resolve(request.path, request.script_name, self.config, raw_path=raw_path)
        call = Call(
            request=request,
            method=_effective_method(request),
            target=target,
            config=self.config,
            capabilities=self._capabilities,
        )
        dialect = Tus1()
        headers: Headers = ()
        try:
            headers = cors_headers(request, self.config.cors)
            return Begun(call=call, dialect=dialect, headers=headers, intent=_read(call, dialect))
        except TusError as exc:
            return Begun(call=call, dialect=dialect, headers=headers, error=exc)

    async def carry_out(self, begun: Begun, body: Body, runtime: Runtime) -> Reply:
        """Do what was asked and say so. Raises WouldWait where the runtime may not wait, and nothing else."""
        exchange = Exchange(call=begun.call, dialect=begun.dialect, body=body, runtime=runtime, hooks=self.hooks)
        try:
            if begun.error is not None:
                raise begun.error
            assert begun.intent is not None
            await self._identify(exchange)
            reply = await self._dispatch(exchange, begun.intent)
        except WouldWait:
            raise
        except Exception as exc:
            reply = await self._refuse(exchange, exc)
        return replace(reply, response=_with(reply.response, begun.headers))

    async def _identify(self, exchange: Exchange) -> None:
        if self.config.principal is not None:
            principal = await exchange.runtime.ask(self.config.principal, exchange.request)
            exchange.call = replace(exchange.call, request=replace(exchange.request, principal=principal))

    async def _dispatch(self, exchange: Exchange, intent: Intent) -> Reply:
        match intent:
            case Create(kind=Kind.FINAL):
                return await self._create_final(exchange, intent)
            case Create():
                return await self._create(exchange, intent)
            case Append():
                return await self._append(exchange, intent)
            case Describe():
                return await self._describe(exchange, intent)
            case Terminate():
                return await self._terminate(exchange, intent)
            case Fetch():
                return await self._fetch(exchange, intent)
            case Discover():
                return await self._discover(exchange)
            case _:
                assert_never(intent)

    def own_exchange(self, runtime: Runtime) -> Exchange:
        """An exchange that no request caused, for the sweep."""
        begun = self.begin(Request(method="OPTIONS", url="", path=self.config.base_path))
        return Exchange(call=begun.call, dialect=begun.dialect, body=EMPTY_BODY, runtime=runtime, hooks=self.hooks)

    async def take_up(self, exchange: Exchange, info: UploadInfo, held: Locked) -> None:
        """Finish what is finishing and deliver what is owed. Requires the lock."""
        info = await self._ended(exchange, info, held)
        after = deliver(exchange, info, held)
        if after is not None:
            await after()

    # Creation

    async def _create(self, exchange: Exchange, intent: Create) -> Reply:
        limits = rules.limits_for(self.config, await self._max_size(exchange))
        rules.check_create(intent, limits)
        info = self._new_record(exchange, intent)
        own_id = info.id
        info, response = await decide(exchange, "pre_create", replace(info, limits=limits))
        async with self._reserved(exchange, intent, info, is_own=info.id == own_id) as held:
            info = exchange.upload = await exchange.runtime.create(info)
            await inform(exchange, "post_create", info)
            failure: TusError | None = None
            if intent.content.present:
                info, failure = await receive(exchange, info, held, intent.checksum)
                exchange.upload = info
            if isinstance(failure, ChecksumMismatch | BodyTooLarge):
                await self.remove(exchange, info, held)
                exchange.upload = None
                raise failure
            info = await self._conclude(exchange, intent, info, held, failure)
            if isinstance(failure, StopUpload | SyncFailed):
                raise failure
            after = deliver(exchange, info, held)
        created = exchange.dialect.created(exchange.call, info, exchange.url_of(info.id), exchange.runtime.now())
        return Reply(response=merge(merge(created, response), info.response), after=after, failed=failure is not None)

    def _new_record(self, exchange: Exchange, intent: Create) -> UploadInfo:
        now = exchange.runtime.now()
        new_id = self.config.new_id
        return UploadInfo(
            id=secrets.token_hex(16) if new_id is None else new_id(exchange.request),
            length=intent.length,
            kind=intent.kind,
            metadata=intent.metadata,
            raw_metadata=intent.raw_metadata,
            raw_concat=intent.raw_concat,
            parts=intent.parts,
            protocol=intent.protocol,
            created=now,
            expires=rules.expiry(rules.limits_for(self.config, None), now),
            principal=exchange.request.principal,
            origin=intent.origin,
        )

    def _reserved(self, exchange: Exchange, intent: Create, info: UploadInfo, *, is_own: bool) -> Locked:
        """The lock on a new upload. None is needed while nobody can know its id and nothing can interrupt it."""
        private = is_own and self.config.new_id is None and not intent.announce
        if private and isinstance(exchange.body, Buffered) and not exchange.hooks.of("post_create"):
            return unlocked(exchange.runtime, exchange.body)
        return self._locked(exchange, info.id)

    async def _create_final(self, exchange: Exchange, intent: Create) -> Reply:
        limits = rules.limits_for(self.config, await self._max_size(exchange))
        for part_id in dict.fromkeys(intent.parts):
            await self._admit(exchange, part_id)
        record = replace(self._new_record(exchange, intent), id=self._final_id(exchange, intent, 0), limits=limits)
        record, response = await decide(exchange, "pre_create", record)
        for attempt in range(1, _MOST_ATTEMPTS):
            try:
                info, after = await self._make_final(exchange, intent, record)
                break
            except UploadGone:  # the earlier one of this name was removed: its name is not used again
                if record.id != self._final_id(exchange, intent, attempt - 1):
                    raise
                record = replace(record, id=self._final_id(exchange, intent, attempt))
        created = exchange.dialect.created(exchange.call, info, exchange.url_of(info.id), exchange.runtime.now())
        return Reply(response=merge(merge(created, response), info.response), after=after)

    def _final_id(self, exchange: Exchange, intent: Create, attempt: int) -> str:
        return rules.final_id(intent, exchange.request.principal, attempt)

    async def _make_final(
        self, exchange: Exchange, intent: Create, record: UploadInfo
    ) -> tuple[UploadInfo, After | None]:
        """Create and assemble a final upload, or carry on with the one that the same request made before."""
        runtime = exchange.runtime
        async with self._locked(exchange, record.id, *intent.parts) as held:
            info = await self._earlier_final(exchange, intent, record.id)
            if info is None:
                parts = await parts_of(exchange, intent.parts)
                for part in parts:
                    rules.check_principal(part, exchange.request.principal)
                length = rules.plan_concat(parts, record.limits, runtime.now(), may_wait=True)
                info = exchange.upload = await runtime.create(replace(record, length=length))
                await inform(exchange, "post_create", info)
            if rules.is_unassembled(info):
                parts = await parts_of(exchange, intent.parts)
                await wait_for_parts(exchange, info, parts)
                info = await assemble(exchange, info, parts, held, self.backoff)
            info = await self._ended(exchange, info, held)
            return info, deliver(exchange, info, held)

    async def _earlier_final(self, exchange: Exchange, intent: Create, upload_id: str) -> UploadInfo | None:
        try:
            info = await self._load(exchange, upload_id)
        except UploadGone:
            raise
        except UploadNotFound:
            return None
        if not rules.is_same_final(intent, info, exchange.request.principal):
            raise UploadExists
        return info

    # Appending

    async def _append(self, exchange: Exchange, intent: Append) -> Reply:
        runtime = exchange.runtime
        await self._admit(exchange, intent.id)
        async with self._locked(exchange, intent.id) as held:
            info = await self._load(exchange, intent.id)
            plan = rules.plan_append(intent, info, runtime.now())
            failure: TusError | None = None
            if rules.is_complete(info) or rules.is_finishing(info):
                await _refuse_content(exchange.body)
                info = await self._ended(exchange, info, held)
            else:
                if plan.declare is not None:
                    info = exchange.upload = await runtime.declare_length(info, plan.declare)
                if intent.content.present:
                    info, failure = await receive(exchange, info, held, intent.checksum)
                    exchange.upload = info
                info = await self._conclude(exchange, intent, info, held, failure)
            if failure is not None:
                raise failure
            after = deliver(exchange, info, held)
        location = exchange.url_of(info.id)
        appended = exchange.dialect.appended(exchange.call, info, location, runtime.now())
        return Reply(response=merge(appended, info.response), after=_both(after, self._waiting(exchange, info)))

    async def _conclude(
        self, exchange: Exchange, intent: Create | Append, info: UploadInfo, held: Locked, failure: TusError | None
    ) -> UploadInfo:
        """What follows the body: a later expiry, a stop, the end of the upload."""
        if isinstance(failure, StopUpload) and failure.terminate:
            await self.remove(exchange, info, held)
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
            return await finish(exchange, info, held, self.backoff)
        return await self._ended(exchange, info, held)

    async def _declare_end(self, exchange: Exchange, info: UploadInfo, held: Locked) -> UploadInfo:
        """The client says that this is all: the length is known now, or was and must be reached."""
        if info.length is None:
            held.check()
            return await exchange.runtime.declare_length(info, info.offset)
        if not info.is_full:
            raise InconsistentLength
        return info

    async def _ended(self, exchange: Exchange, info: UploadInfo, held: Locked) -> UploadInfo:
        """The upload, carried to its end if all of it is there."""
        if rules.is_finishing(info):
            info = await finish(exchange, info, held, self.backoff)
        exchange.upload = info
        return info

    def _waiting(self, exchange: Exchange, info: UploadInfo) -> After | None:
        """Assembling the finals that waited for this part, once its own lock is free."""
        if not info.finals or not rules.is_complete(info):
            return None

        async def after() -> None:
            for final_id in info.finals:
                try:
                    await assemble_waiting(exchange, final_id, self.backoff)
                except TusError as exc:  # the next HEAD on the final tries again
                    log.warning("assembling a final upload failed: %s", exc.code)

        return after

    # The rest

    async def _describe(self, exchange: Exchange, intent: Describe) -> Reply:
        await self._admit(exchange, intent.id)
        info = await self._load(exchange, intent.id)
        after: After | None = None
        if not rules.is_complete(info) or info.undelivered:
            info, after = await self._look_closely(exchange, info)
        response = exchange.dialect.described(exchange.call, info, exchange.runtime.now())
        return Reply(response=response, after=after)

    async def _look_closely(self, exchange: Exchange, info: UploadInfo) -> tuple[UploadInfo, After | None]:
        """Under the lock: ends a running append, so that the offset stands, and takes up what was left undone."""
        try:
            async with self._locked(exchange, info.id, *(info.parts if rules.is_unassembled(info) else ())) as held:
                info = await self._load(exchange, info.id)
                if rules.is_unassembled(info):
                    parts = await parts_of(exchange, info.parts)
                    info = await assemble(exchange, info, parts, held, self.backoff)
                info = await self._ended(exchange, info, held)
                return info, deliver(exchange, info, held)
        except UploadLocked:
            if rules.is_complete(info):  # its holder is delivering what is owed
                return info, None
            raise

    async def _terminate(self, exchange: Exchange, intent: Terminate) -> Reply:
        await self._admit(exchange, intent.id)
        async with self._locked(exchange, intent.id) as held:
            info = await self._load(exchange, intent.id)
            info, response = await decide(exchange, "pre_terminate", info)
            await self.remove(exchange, info, held)

        async def after() -> None:
            await inform(exchange, "post_terminate", info)

        terminated = exchange.dialect.terminated(exchange.call)
        return Reply(response=merge(terminated, response), after=after if self.hooks.of("post_terminate") else None)

    async def remove(self, exchange: Exchange, info: UploadInfo, held: Locked) -> None:
        if self.composer.terminater is not None:
            held.check()
            until = exchange.runtime.now() + timedelta(seconds=self.config.tombstone_period)
            tombstone = until if self.config.tombstone_period else None
            await exchange.runtime.terminate(replace(info, state=State.GONE, expires=tombstone))

    async def _fetch(self, exchange: Exchange, intent: Fetch) -> Reply:
        await self._admit(exchange, intent.id)
        info = await self._load(exchange, intent.id)
        if not rules.is_complete(info):
            state = exchange.dialect.described(exchange.call, info, exchange.runtime.now())
            return Reply(response=replace(state, status=204))
        plan = plan_download(exchange.request, info)
        if plan.span is None or intent.head:
            return Reply(response=plan.response)
        opened = await open_download(exchange.runtime, info, plan.span)
        return Reply(response=plan.response, download=opened)

    async def _discover(self, exchange: Exchange) -> Reply:
        limits = rules.limits_for(self.config, await self._max_size(exchange))
        call = replace(exchange.call, capabilities=replace(exchange.call.capabilities, limits=limits))
        return Reply(response=Response(status=200, headers=tuple(discovery(call).items())))

    # Shared steps

    async def _admit(self, exchange: Exchange, upload_id: str) -> None:
        """Whose is it, and does the app allow it: asked before any lock, so that a stranger interrupts nothing."""
        if self.config.principal is None and not self.hooks.of("pre_access"):
            return
        info = await self._load(exchange, upload_id)
        await decide(exchange, "pre_access", info)

    async def _load(self, exchange: Exchange, upload_id: str) -> UploadInfo:
        info = settled(exchange, await exchange.runtime.get(upload_id))
        rules.check_principal(info, exchange.request.principal)
        rules.check_available(info, exchange.runtime.now())
        exchange.upload = info
        return info

    def _locked(self, exchange: Exchange, *upload_ids: str) -> Locked:
        return Locked(exchange.runtime, upload_ids, exchange.body, self.config.acquire_lock_timeout)

    async def _max_size(self, exchange: Exchange) -> int | None:
        max_size = self.config.max_size
        if callable(max_size):
            found: int | None = await exchange.runtime.ask(max_size, exchange.request)
            return found
        return max_size

    async def _refuse(self, exchange: Exchange, exc: Exception) -> Reply:
        error = exc if isinstance(exc, TusError) else TusError()
        if error.fault == "server" or error is not exc:
            log.error("%s %s failed: %s", exchange.call.method, error.code, exc, exc_info=exc)
        for hook in self.hooks.on_error:
            answer: Response | None = await exchange.runtime.ask(hook, exc, exchange.request)
            if answer is not None:
                return Reply(response=answer, failed=True)
        refusal = Refusal(
            error=error,
            upload=exchange.upload,
        )
        response = exchange.dialect.refused(exchange.call, refusal, exchange.runtime.now())
        return Reply(response=merge(response, _answer_of(error)), failed=True)


def _effective_method(request: Request) -> str:
    if request.method == "POST":
        override = (request.header("x-http-method-override") or "").strip().upper()
        if override in _OVERRIDABLE:
            return override
    return request.method


def _read(call: Call, dialect: Dialect) -> Intent:
    if call.method == "OPTIONS":
        return Discover()
    if call.method == "GET":
        if call.target is None:
            raise UploadNotFound
        if not isinstance(call.target, UploadPath) or not call.capabilities.downloads:
            raise MethodNotAllowed(", ".join(allowed_methods(call)))
        return Fetch(id=call.upload_id)
    return dialect.read(call)


def _capabilities(composer: Composer, config: Config) -> Capabilities:
    off = set()
    if not config.termination:
        off.add("termination")
    if not config.concatenation:
        off |= {"concatenation", "concatenation-unfinished"}
    if config.expires_after is None:
        off.add("expiration")
    extensions = tuple(name for name in composer.extensions if name not in off)
    return Capabilities(
        extensions=extensions,
        terminates="termination" in extensions,
        downloads=config.download and composer.reader is not None,
    )


def _with(response: Response, headers: Headers) -> Response:
    """Fields that every answer carries; a Vary of the app's is kept and added to."""
    vary = ", ".join(value for name, value in (*response.headers, *headers) if name.lower() == "vary")
    others = tuple(item for item in (*response.headers, *headers) if item[0].lower() != "vary")
    names = {name.lower() for name, _ in others}
    nosniff = () if "x-content-type-options" in names else (("X-Content-Type-Options", "nosniff"),)
    return replace(response, headers=(*others, *nosniff, *((("Vary", vary),) if vary else ())))


def _answer_of(error: TusError) -> Response | None:
    """The answer a hook gave with its refusal."""
    if isinstance(error, StopUpload):
        return error.response
    if not isinstance(error, RejectUpload):
        return None
    text = f"{error.code}: {error.detail}\n".encode() if error.answer_body is None else error.answer_body
    return Response(status=error.answer_status, headers=error.answer_headers, body=text)


async def _refuse_content(body: Body) -> None:
    """An upload that is full takes no byte more; with a chunked body only reading tells."""
    if await body.read() is not None:
        raise BodyTooLarge


def _both(first: After | None, second: After | None) -> After | None:
    if first is None or second is None:
        return first or second

    async def after() -> None:
        await first()
        await second()

    return after
