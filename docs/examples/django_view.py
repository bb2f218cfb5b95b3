"""Django with uploads behind its own login, under WSGI.

gunicorn --worker-class gthread --threads 16 django_view:application
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate, login
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tuspy_server import Config, FileStore, Request, WSGIApp
from tuspy_server.integrations.django import tus_urls

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="change me, but keep it: sessions are signed with it",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "users.sqlite3"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
)


@csrf_exempt
def log_in(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is None:
        return HttpResponse(status=401)
    login(request, user)
    return HttpResponse(status=204)


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(request: HttpRequest, **arguments: Any) -> Any:
        return view(request, **arguments) if request.user.is_authenticated else HttpResponse(status=401)

    return guarded


def user_of(request: Request) -> str | None:
    user = request.native["django.request"].user  # type: ignore[index]  # the WSGI environ
    return user.get_username() or None


application = get_wsgi_application()
call_command("migrate", verbosity=0)
tus = WSGIApp(FileStore("uploads"), Config(principal=user_of))
urlpatterns = [path("login", log_in), *tus_urls("files", tus, decorators=[login_required])]
