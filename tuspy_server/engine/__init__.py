"""The orchestrator: what a request wants, carried out in order, once for WSGI and ASGI.

`begin` is pure and checks everything that needs no record and no body. `carry_out` awaits nothing but the body
and the runtime. In which order? Read `creating.create` and `appending.append`; why refused? Read
`protocol/rules.py`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from tuspy_server.composer import Composer
from tuspy_server.config import Config
from tuspy_server.engine.appending import append
from tuspy_server.engine.body import EMPTY_BODY, Body, Buffered
from tuspy_server.engine.concatenating import create_final
from tuspy_server.engine.creating import create
from tuspy_server.engine.describing import describe, discover, fetch, terminate
from tuspy_server.engine.downloading import Download
from tuspy_server.engine.exchange import Exchange, Interim, Reply
from tuspy_server.engine.locking import WouldWait
from tuspy_server.engine.steps import Steps
from tuspy_server.errors import MethodNotAllowed, RejectUpload, StopUpload, TusError, UploadFailed, UploadNotFound
from tuspy_server.hooks.events import Hooks
from tuspy_server.models import Headers, Kind, Request, Response
from tuspy_server.protocol import fields, rules
from tuspy_server.protocol.cors import cors_headers
from tuspy_server.protocol.dialect import Call, Capabilities, Dialect, Refusal, allowed_methods
from tuspy_server.protocol.dialects import choose
from tuspy_server.protocol.intents import (
    UNKNOWN_CONTENT,
    Append,
    Content,
    Create,
    Describe,
    Discover,
    Fetch,
    Intent,
    Terminate,
)
from tuspy_server.protocol.merge import merge
from tuspy_server.protocol.resolve import UploadPath, resolve

if TYPE_CHECKING:
    from tuspy_server.runtime import Runtime

__all__ = ["EMPTY_BODY", "Begun", "Body", "Buffered", "Download", "Engine", "Reply", "WouldWait"]

log = logging.getLogger("tuspy_server")

_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_OVERRIDABLE = frozenset(["PATCH", "DELETE", "HEAD"])  # SEC10: from POST only, and nothing that a form could not do


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A request after everything that can be checked without a record: an intent, or the error it ends with."""

    call: Call
    dialect: Dialect
    headers: Headers = ()
    intent: Intent | None = None
    error: TusError | None = None


class Engine(Steps):
    """From a request to its reply."""

    def __init__(self, composer: Composer, config: Config, hooks: Hooks) -> None:
        super().__init__(composer, config, hooks)
        self._capabilities = _capabilities(composer, config)
        asks = config.principal is not None or callable(config.max_size)
        self.is_blocking = not hooks and not asks and composer.is_blocking
        """Whether a small request can run in one thread to its end: no code of the app's, no async member."""
        self._store_finishes = composer.finishes

    def begin(self, request: Request, *, raw_path: str | None = None) -> Begun:
        """Route the request and read its intent. Pure; never raises."""
        content, framing_error = _announced(request)
        method = _effective_method(request)
        target = resolve(request.path, self.config, raw_path=raw_path)
        call = Call(
            request=request,
            method=method,
            target=target,
            config=self.config,
            capabilities=self._capabilities,
            content=content,
        )
        dialect = choose(request, method, target, self.config)
        headers: Headers = ()
        try:
            headers = cors_headers(request, self.config.cors)
            if framing_error is not None:
                raise framing_error
            intent = _read(call, dialect)
        except TusError as exc:
            return Begun(call=call, dialect=dialect, headers=headers, error=exc)
        return Begun(call=call, dialect=dialect, headers=headers, intent=intent)

    def effort(self, begun: Begun) -> rules.Effort:
        """How long the work on it may take, if its body is small."""
        return rules.effort(begun.intent, finishes=self._store_finishes)

    async def carry_out(self, begun: Begun, body: Body, runtime: Runtime, interim: Interim | None = None) -> Reply:
        """Do what was asked and say so. Raises WouldWait where the runtime may not wait, and nothing else."""
        exchange = Exchange(call=begun.call, dialect=begun.dialect, body=body, runtime=runtime, hooks=self.hooks)
        exchange.interim = interim
        try:
            if begun.error is not None:
                await self._look_up(exchange, begun.error)
                raise begun.error
            assert begun.intent is not None
            await self._identify(exchange)
            if self.caps is None:
                reply = await self._dispatch(exchange, begun.intent)
            else:
                with self.caps.running(exchange.request):
                    reply = await self._dispatch(exchange, begun.intent)
        except WouldWait:
            raise
        except Exception as exc:
            reply = await self._refuse(exchange, exc)
        reply.response = _with(reply.response, begun.headers)
        return reply

    async def _look_up(self, exchange: Exchange, error: TusError) -> None:
        """Where the upload stands, for the refusal of a draft's append that was decided before its record was read."""
        call = exchange.call
        is_append = call.method == "PATCH" and isinstance(call.target, UploadPath)
        if not is_append or exchange.dialect.draft_version is None or error.status not in (400, 415):
            return
        try:
            await self._identify(exchange)
            await self.admit(exchange, call.upload_id)
            await self.load(exchange, call.upload_id)
        except Exception:  # a stranger, or nothing there: the refusal stands and tells no offset
            exchange.upload = None

    async def _identify(self, exchange: Exchange) -> None:
        if self.config.principal is not None:
            principal = await exchange.runtime.ask(self.config.principal, exchange.request)
            exchange.call = replace(exchange.call, request=replace(exchange.request, principal=principal))

    async def _dispatch(self, exchange: Exchange, intent: Intent) -> Reply:
        match intent:
            case Create(kind=Kind.FINAL):
                return await create_final(self, exchange, intent)
            case Create():
                return await create(self, exchange, intent)
            case Append():
                return await append(self, exchange, intent)
            case Describe():
                return await describe(self, exchange, intent)
            case Terminate():
                return await terminate(self, exchange, intent)
            case Fetch():
                return await fetch(self, exchange, intent)
            case Discover():
                return await discover(self, exchange)
            case _:
                assert_never(intent)

    def own_exchange(self, runtime: Runtime) -> Exchange:
        """An exchange that no request caused, for the sweep."""
        begun = self.begin(Request(method="OPTIONS", url="", path=self.config.base_path))
        return Exchange(call=begun.call, dialect=begun.dialect, body=EMPTY_BODY, runtime=runtime, hooks=self.hooks)

    async def _refuse(self, exchange: Exchange, exc: Exception) -> Reply:
        error = exc if isinstance(exc, TusError) else TusError()
        if error.fault == "server" or error is not exc:
            log.error("%s %s failed: %s", exchange.call.method, error.code, exc, exc_info=exc)
        refusal = Refusal(error=error, upload=exchange.upload)
        response = exchange.dialect.refused(exchange.call, refusal, exchange.runtime.now())
        given = await self._ask_app(exchange, exc)
        return Reply(response=merge(response, given or _answer_of(error)), failed=True, error=error)

    async def _ask_app(self, exchange: Exchange, exc: Exception) -> Response | None:
        """The first answer of an `on_error` hook."""
        for hook in self.hooks.on_error:
            answer: Response | None = await exchange.runtime.ask(hook, exc, exchange.request)
            if answer is not None:
                return answer
        return None


def _announced(request: Request) -> tuple[Content, TusError | None]:
    try:
        return fields.content(request), None
    except TusError as exc:
        return UNKNOWN_CONTENT, exc


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
    names = {name.lower() for name, _ in response.headers}
    if "x-content-type-options" not in names:
        headers = (*headers, _NOSNIFF)
    joined = (*response.headers, *headers)
    if "vary" in names:
        vary = ", ".join(value for name, value in joined if name.lower() == "vary")
        joined = (*(field for field in joined if field[0].lower() != "vary"), ("Vary", vary))
    return Response(status=response.status, headers=joined, body=response.body)


def _answer_of(error: TusError) -> Response | None:
    """The answer a hook gave with its refusal."""
    if isinstance(error, StopUpload):
        return error.response
    if isinstance(error, UploadFailed) and error.response is not None:
        return Response(status=error.response.status, headers=error.response.headers, body=error.response.body)
    if not isinstance(error, RejectUpload):
        return None
    text = f"{error.code}: {error.detail}\n".encode() if error.answer_body is None else error.answer_body
    return Response(status=error.answer_status, headers=error.answer_headers, body=text)
