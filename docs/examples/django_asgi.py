"""Django with uploads beside it, under ASGI; the users are those of Django's sessions.

uvicorn django_asgi:application
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import authenticate, login
from django.core.asgi import get_asgi_application
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tuspy_server import ASGIApp, Config, FileStore, HookEvent, Hooks, RejectUpload, Request
from tuspy_server.integrations.django import beside, session_user

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="change me, but keep it: sessions are signed with it",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "users.sqlite3"}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
)


@csrf_exempt
def log_in(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is None:
        return HttpResponse(status=401)
    login(request, user)
    return HttpResponse(status=204)


def user_of(request: Request) -> str | None:
    return session_user(request).get_username() or None


def require_user(event: HookEvent) -> None:
    if event.request.principal is None:
        raise RejectUpload("log in first", status=401)


django = get_asgi_application()
call_command("migrate", verbosity=0)
urlpatterns = [path("login", log_in)]
tus = ASGIApp(FileStore("uploads"), Config(principal=user_of), hooks=Hooks(pre_create=require_user))
application = beside("/files", tus, django)
