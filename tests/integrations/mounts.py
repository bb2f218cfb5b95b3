"""Every way to mount an app: ours, the frameworks' own, bare, and below a prefix that a proxy cuts off."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings
from django.urls import include, path
from fastapi import APIRouter, FastAPI
from flask import Blueprint, Flask
from starlette.applications import Starlette
from starlette.routing import Mount
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tests.integrations.calls import Ask, Asked, ask_asgi, ask_wsgi
from tuspy_server import ASGIApp, Config, MemoryStore, WSGIApp
from tuspy_server.integrations.django import beside, tus_urls
from tuspy_server.integrations.fastapi import tus_router
from tuspy_server.integrations.flask import tus_blueprint
from tuspy_server.integrations.starlette import TusMount


def configure_django() -> None:
    """Once in a process; every further call changes nothing."""
    if not settings.configured:
        settings.configure(SECRET_KEY="of the tests", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True)
        django.setup()


configure_django()
urlpatterns: list[Any] = []


@dataclass(frozen=True, kw_only=True)
class Mounted:
    """An app within a host. Clients know it at `base`; the server sees that without `cut`, and its `root_path`."""

    make: Callable[[dict[str, Any]], Ask]
    base: str = "/files"
    cut: str = ""
    root_path: str = ""
    redirects: bool = False


def _asgi(**settings: Any) -> ASGIApp:
    return ASGIApp(MemoryStore(), Config(**settings))


def _wsgi(**settings: Any) -> WSGIApp:
    return WSGIApp(MemoryStore(), Config(**settings))


def _starlette(route: type[Mount], path: str = "/files", **options: Any) -> Callable[[dict[str, Any]], Ask]:
    return lambda settings: ask_asgi(Starlette(routes=[route(path, app=_asgi(**settings))], **options))


def _fastapi(options: dict[str, Any]) -> FastAPI:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FastAPI would like servers to have the root_path; apps that set it go on
        return FastAPI(**options)


def _fastapi_mount(settings: dict[str, Any], **options: Any) -> Ask:
    app = _fastapi(options)
    app.router.routes.append(TusMount("/files", _asgi(**settings)))
    return ask_asgi(app)


def _fastapi_plain(settings: dict[str, Any], **options: Any) -> Ask:
    app = _fastapi(options)
    app.mount("/files", _asgi(**settings))
    return ask_asgi(app)


def _fastapi_router(settings: dict[str, Any], prefix: str = "", **options: Any) -> Ask:
    app = _fastapi(options)
    app.include_router(tus_router("/files", _asgi(**settings)), prefix=prefix)
    return ask_asgi(app)


def _fastapi_nested(settings: dict[str, Any]) -> Ask:
    app, outer = FastAPI(), APIRouter(prefix="/users/{user}")
    outer.include_router(tus_router("/files", _asgi(**settings)))
    app.include_router(outer)
    return ask_asgi(app)


def _fastapi_below(settings: dict[str, Any]) -> Ask:
    inner, app = FastAPI(), FastAPI()
    inner.include_router(tus_router("/files", _asgi(**settings)))
    app.mount("/v1", inner)
    return ask_asgi(app)


def _flask(settings: dict[str, Any]) -> Ask:
    app = Flask("tests")
    app.register_blueprint(tus_blueprint("/files", _wsgi(**settings)))
    return ask_wsgi(app)


def _flask_nested(settings: dict[str, Any]) -> Ask:
    app, outer = Flask("tests"), Blueprint("outer", "tests", url_prefix="/v1/<user>")
    outer.register_blueprint(tus_blueprint("/files", _wsgi(**settings)))
    app.register_blueprint(outer)
    return ask_wsgi(lambda environ, start: app(environ, start))


def _flask_route(settings: dict[str, Any]) -> Ask:
    app, tus = Flask("tests"), _wsgi(base_path="/files", **settings)

    def serve(rest: str = "") -> Any:
        return tus

    methods = ["OPTIONS", "POST", "HEAD", "GET", "PATCH", "DELETE"]
    for rule in ("/files", "/files/", "/files/<path:rest>"):
        app.add_url_rule(rule, "serve", serve, methods=methods, provide_automatic_options=False)
    return ask_wsgi(app)


def _dispatched(host: Callable[[], Any]) -> Callable[[dict[str, Any]], Ask]:
    return lambda settings: ask_wsgi(DispatcherMiddleware(host(), {"/files": _wsgi(**settings)}))


def _django(patterns: Callable[[WSGIApp], list[Any]]) -> Callable[[dict[str, Any]], Ask]:
    def make(config: dict[str, Any]) -> Ask:
        module = type("urls", (), {"urlpatterns": patterns(_wsgi(**config))})
        ask = ask_wsgi(WSGIHandler())

        def routed(asked: Asked) -> Any:
            with override_settings(ROOT_URLCONF=module):
                return ask(asked)

        return routed

    return make


def _beside(settings: dict[str, Any]) -> Ask:
    return ask_asgi(beside("/files", _asgi(**settings), get_asgi_application()))


MOUNTS = {
    "asgi, bare": Mounted(make=lambda s: ask_asgi(_asgi(**s)), base=""),
    "asgi, base_path": Mounted(make=lambda s: ask_asgi(_asgi(base_path="/files", **s))),
    "asgi, server root path": Mounted(make=lambda s: ask_asgi(_asgi(**s)), base="/api", cut="/api", root_path="/api"),
    "asgi, server root path and base_path": Mounted(
        make=lambda s: ask_asgi(_asgi(base_path="files/", **s)), base="/api/files", cut="/api", root_path="/api"
    ),
    "TusMount": Mounted(make=_starlette(TusMount)),
    "TusMount with a parameter": Mounted(make=_starlette(TusMount, "/users/{user}/files"), base="/users/j%C3%B6/files"),
    "TusMount below a root path": Mounted(make=_starlette(TusMount), base="/api/files", cut="/api", root_path="/api"),
    "TusMount in a Mount": Mounted(
        make=lambda s: ask_asgi(Starlette(routes=[Mount("/v1", routes=[TusMount("/files", _asgi(**s))])])),
        base="/v1/files",
    ),
    "Mount": Mounted(make=_starlette(Mount), redirects=True),
    "FastAPI, TusMount": Mounted(make=_fastapi_mount),
    "FastAPI, TusMount, root_path cut off": Mounted(
        make=lambda s: _fastapi_mount(s, root_path="/api"), base="/api/files", cut="/api"
    ),
    "FastAPI, TusMount, root_path kept": Mounted(make=lambda s: _fastapi_mount(s, root_path="/api"), base="/api/files"),
    "FastAPI, mount": Mounted(make=_fastapi_plain, redirects=True),
    "FastAPI, mount, root_path cut off": Mounted(
        make=lambda s: _fastapi_plain(s, root_path="/api"), base="/api/files", cut="/api", redirects=True
    ),
    "FastAPI, router": Mounted(make=_fastapi_router),
    "FastAPI, router with a prefix": Mounted(make=lambda s: _fastapi_router(s, "/v1"), base="/v1/files"),
    "FastAPI, router, root_path cut off": Mounted(
        make=lambda s: _fastapi_router(s, root_path="/api"), base="/api/files", cut="/api"
    ),
    "FastAPI, router, root_path kept": Mounted(make=lambda s: _fastapi_router(s, root_path="/api"), base="/api/files"),
    "FastAPI, router in a router": Mounted(make=_fastapi_nested, base="/users/7/files"),
    "FastAPI, router in a mounted app": Mounted(make=_fastapi_below, base="/v1/files"),
    "Django beside": Mounted(make=_beside),
    "Django beside, below a root path": Mounted(make=_beside, base="/api/files", cut="/api", root_path="/api"),
    "wsgi, bare": Mounted(make=lambda s: ask_wsgi(_wsgi(**s)), base=""),
    "wsgi, base_path": Mounted(make=lambda s: ask_wsgi(_wsgi(base_path="/files", **s))),
    "wsgi, script name": Mounted(make=lambda s: ask_wsgi(_wsgi(**s)), base="/api", cut="/api", root_path="/api"),
    "Flask, DispatcherMiddleware": Mounted(make=_dispatched(lambda: Flask("tests"))),
    "Flask, DispatcherMiddleware, script name": Mounted(
        make=_dispatched(lambda: Flask("tests")), base="/api/files", cut="/api", root_path="/api"
    ),
    "Flask, blueprint": Mounted(make=_flask),
    "Flask, blueprint, script name": Mounted(make=_flask, base="/api/files", cut="/api", root_path="/api"),
    "Flask, blueprint in a blueprint": Mounted(make=_flask_nested, base="/v1/j%C3%B6/files"),
    "Flask, route and base_path": Mounted(make=_flask_route),
    "Django, DispatcherMiddleware": Mounted(make=_dispatched(WSGIHandler)),
    "Django, view": Mounted(make=_django(lambda tus: tus_urls("files", tus))),
    "Django, view, script name": Mounted(
        make=_django(lambda tus: tus_urls("/files/", tus)), base="/api/files", cut="/api", root_path="/api"
    ),
    "Django, view in an include": Mounted(
        make=_django(lambda tus: [path("v1/<str:user>/", include(tus_urls("files", tus)))]),
        base="/v1/j%C3%B6/files",
    ),
}
