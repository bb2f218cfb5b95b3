"""Uploads behind an app's own login: who is refused stores no byte, asks for no lock, and has no byte read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any

import flask
import pytest
from django.core.exceptions import PermissionDenied
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from flask import Flask

from tests.integrations import mounts
from tests.integrations.calls import Answer, Asked, ask_asgi, ask_wsgi
from tuspy_server import ASGIApp, Composer, Config, HookEvent, Hooks, MemoryLocker, MemoryStore, WSGIApp
from tuspy_server.integrations.django import tus_urls
from tuspy_server.integrations.fastapi import tus_router
from tuspy_server.integrations.flask import tus_blueprint

ORIGIN = ("origin", "https://app.example")
ALICE = ("x-user", "alice")


class Watched:
    """Notes which members of a store or locker were used."""

    def __init__(self, watched: object, used: list[str]) -> None:
        self._watched = watched
        self._used = used

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._watched, name)
        if not callable(found):
            return found

        @wraps(found)
        def call(*arguments: Any, **options: Any) -> Any:
            self._used.append(name)
            return found(*arguments, **options)

        return call


@dataclass
class Guarded:
    """An app that lets in whoever names a user, how to ask it, and what it did."""

    ask: Callable[[Asked], Answer] = field(init=False)
    used: list[str] = field(default_factory=list)
    events: list[HookEvent] = field(default_factory=list)

    def composer(self) -> Composer:
        store, locker = MemoryStore(), MemoryLocker()
        return Composer(Watched(store, self.used), Watched(locker, self.used))

    def hooks(self) -> Hooks:
        return Hooks(post_create=self.events.append)


def _fastapi(guarded: Guarded) -> None:
    def require_user(request: Request, x_user: Annotated[str | None, Header()] = None) -> None:
        if x_user is None:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
        request.state.user = x_user

    def name_of(asked: Any) -> str | None:
        user: str | None = asked.native["state"].get("user")  # none in a preflight
        return user

    config = Config(principal=name_of)
    tus = ASGIApp(guarded.composer(), config, hooks=guarded.hooks())
    app = FastAPI()
    app.include_router(tus_router("/files", tus, dependencies=[Depends(require_user)]))
    guarded.ask = ask_asgi(app)


def _flask(guarded: Guarded) -> None:
    def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def guard(*arguments: Any, **options: Any) -> Any:
            user = flask.request.headers.get("X-User")
            if user is None:
                flask.abort(401)
            flask.g.user = user
            return view(*arguments, **options)

        return guard

    config = Config(principal=lambda request: flask.g.get("user"))
    tus = WSGIApp(guarded.composer(), config, hooks=guarded.hooks())
    app = Flask("tests")
    app.register_blueprint(tus_blueprint("/files", tus, decorators=[login_required]))
    guarded.ask = ask_wsgi(app)


def _flask_whole_app(guarded: Guarded) -> None:
    def require_user() -> None:
        if flask.request.method != "OPTIONS" and "X-User" not in flask.request.headers:
            flask.abort(401)

    config = Config(principal=lambda request: request.header("x-user"))
    tus = WSGIApp(guarded.composer(), config, hooks=guarded.hooks())
    app = Flask("tests")
    app.before_request(require_user)
    app.register_blueprint(tus_blueprint("/files", tus))
    guarded.ask = ask_wsgi(app)


def _django(guarded: Guarded) -> None:
    def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
        def guard(request: HttpRequest, **options: Any) -> Any:
            if "X-User" not in request.headers:
                return HttpResponse(status=401)
            if request.headers["X-User"] == "nobody":
                raise PermissionDenied
            return view(request, **options)

        return guard

    def name_of(request: Any) -> str | None:
        user: str | None = request.native["django.request"].headers.get("X-User")
        return user

    tus = WSGIApp(guarded.composer(), Config(principal=name_of), hooks=guarded.hooks())
    module = type("urls", (), {"urlpatterns": tus_urls("files", tus, decorators=[login_required])})
    mounts.configure_django()
    ask = ask_wsgi(WSGIHandler())

    def routed(asked: Asked) -> Answer:
        with override_settings(ROOT_URLCONF=module):
            return ask(asked)

    guarded.ask = routed


GUARDS = {"fastapi": _fastapi, "flask": _flask, "flask, whole app": _flask_whole_app, "django": _django}


@pytest.fixture(params=list(GUARDS.values()), ids=list(GUARDS))
def guarded(request: pytest.FixtureRequest) -> Guarded:
    made = Guarded()
    request.param(made)
    return made


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/files"),
        ("POST", "/files/"),
        ("POST", "/files/x"),
        ("PATCH", "/files/x"),
        ("HEAD", "/files/x"),
        ("DELETE", "/files/x"),
        ("GET", "/files/x"),
    ],
)
def test_a_refusal_stores_nothing_locks_nothing_and_reads_nothing(guarded: Guarded, method: str, target: str) -> None:
    guarded.used.clear()
    answer = guarded.ask(_upload(method, target, ORIGIN, body=b"hello"))
    assert answer.status == 401
    assert answer["access-control-allow-origin"] == "*"
    assert guarded.used == []
    assert answer.unread == 5


def test_a_preflight_is_answered_without_a_login(guarded: Guarded) -> None:
    answer = guarded.ask(Asked(method="OPTIONS", target="/files", headers=[ORIGIN]))
    assert answer.status == 200
    assert "PATCH" in answer["access-control-allow-methods"]


def test_who_is_let_in_uploads(guarded: Guarded) -> None:
    created = guarded.ask(_upload("POST", "/files", ORIGIN, ALICE, body=b"hello"))
    assert (created.status, created["upload-offset"]) == (201, "5")
    assert created["access-control-allow-origin"] == "*"
    assert created.unread == 0
    assert "content-type" not in created.headers
    (event,) = guarded.events
    assert event.upload.principal == "alice"
    target = created["location"].removeprefix("http://example.org")
    assert guarded.ask(Asked(method="HEAD", target=target, headers=[ALICE])).status == 200
    assert guarded.ask(Asked(method="HEAD", target=target, headers=[("x-user", "bob")])).status == 404


def _upload(method: str, target: str, *headers: tuple[str, str], body: bytes) -> Asked:
    fields = [("upload-length", "5"), ("upload-offset", "0"), ("content-type", "application/offset+octet-stream")]
    return Asked(method=method, target=target, headers=[*fields, *headers], body=body)
