"""Django with uploads beside it, under WSGI.

gunicorn --worker-class gthread --threads 16 django_beside:application
"""

from __future__ import annotations

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tuspy_server import FileStore, WSGIApp

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="change me")


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Upload to /files")


urlpatterns = [path("", home)]
tus = WSGIApp(FileStore("uploads"))
application = DispatcherMiddleware(get_wsgi_application(), {"/files": tus})
