"""Django: a view behind Django's login under WSGI, and uploads beside Django under ASGI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import ImproperlyConfigured
from django.db import close_old_connections
from django.http import HttpRequest, StreamingHttpResponse, parse_cookie
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt

from tuspy_server.asgi import ASGIApp, Receive, Scope, Send
from tuspy_server.integrations import asgi
from tuspy_server.integrations.asgi import Application
from tuspy_server.integrations.cross_origin import refusal_headers
from tuspy_server.integrations.views import drain, run_view
from tuspy_server.models import Request
from tuspy_server.wsgi import Environ, WSGIApp

if TYPE_CHECKING:  # models may be imported only once Django's apps are loaded
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser


def tus_urls(prefix: str, app: WSGIApp, *, decorators: Sequence[Callable[[Any], Any]] = ()) -> list[URLPattern]:
    """URL patterns that serve `app`, whose Config has no `base_path`, at `prefix` and below. For WSGI.

    `decorators` and Django's middleware run before a byte is read, stored, or a lock asked for; they refuse with
    a status, since a client does not follow a redirect to a page. Hooks and `Config.principal` find Django's
    request in `request.native["django.request"]`. OPTIONS is answered without the decorators, since a browser's
    preflight carries no credentials; CSRF tokens are not asked for.
    """

    def serve(request: HttpRequest, upload_id: str = "", **_: object) -> HttpResponseBase:
        if not hasattr(request, "environ"):
            raise ImproperlyConfigured("under ASGI Django reads a whole body before it calls a view: use beside()")
        answered = run_view(app, _environ(request), upload_id)
        status, reason = answered.status.split(" ", 1)
        return _Answer(answered.body, status=int(status), reason=reason, headers=dict(answered.headers))

    guarded: Any = serve
    for decorate in reversed(decorators):
        guarded = decorate(guarded)

    @csrf_exempt
    def view(request: HttpRequest, **arguments: Any) -> HttpResponseBase:
        response: HttpResponseBase = (serve if request.method == "OPTIONS" else guarded)(request, **arguments)
        for name, value in refusal_headers(request.method or "", request.headers.get("Origin"), app.config.cors):
            response.headers.setdefault(name, value)
        if not isinstance(response, _Answer):
            _drain_on_close(response, partial(drain, app, _environ(request)))
        return response

    prefix = prefix.strip("/")
    return [path(route, view) for route in (prefix, f"{prefix}/", f"{prefix}/<str:upload_id>")]


def _environ(request: Any) -> Environ:
    """As the server made it: Django decodes its paths in place."""
    paths = {name: request.environ[name].encode().decode("latin-1") for name in ("SCRIPT_NAME", "PATH_INFO")}
    return {**request.environ, **paths, "django.request": request}


def _drain_on_close(response: HttpResponseBase, drain: Callable[[], None]) -> None:
    close = response.close

    def drain_and_close() -> None:
        drain()
        close()

    response.close = drain_and_close  # type: ignore[method-assign]  # as the server calls it


class _Answer(StreamingHttpResponse):
    """An answer without a type that Django made up."""

    def __init__(self, *args: Any, headers: dict[str, str], **options: Any) -> None:
        super().__init__(*args, headers=headers, **options)
        if not any(name.lower() == "content-type" for name in headers):
            del self.headers["Content-Type"]


def beside(prefix: str, app: ASGIApp, django: Callable[..., Any]) -> Application:
    """An ASGI app that serves `app` at `prefix` and below, and Django everywhere else.

    Django knows no lifespan; the server's goes to `app`.
    """
    application = asgi.beside(prefix, app, django)

    async def live(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "lifespan" else application)(scope, receive, send)

    return live


def session_user(request: Request) -> AbstractBaseUser | AnonymousUser:
    """The user whose Django session a request's cookie names; blocking. For hooks and principals beside Django."""
    http = HttpRequest()
    http.COOKIES = parse_cookie(request.header("cookie") or "")
    sessions: Any = import_module(settings.SESSION_ENGINE)
    http.session = sessions.SessionStore(http.COOKIES.get(settings.SESSION_COOKIE_NAME))
    close_old_connections()
    try:
        return get_user(http)
    finally:
        close_old_connections()
