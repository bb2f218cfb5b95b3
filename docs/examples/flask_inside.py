"""Flask with uploads behind the app's login.

gunicorn --worker-class gthread --threads 16 flask_inside:app
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, abort, g, request

from tuspy_server import Config, FileStore, WSGIApp
from tuspy_server.integrations.flask import tus_blueprint

PASSWORDS = {"alice": "wonderland"}


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def guarded(*arguments: Any, **options: Any) -> Any:
        login = request.authorization
        if login is None or PASSWORDS.get(login.username or "") != login.password:
            abort(401)
        g.user = login.username
        return view(*arguments, **options)

    return guarded


app = Flask(__name__)
tus = WSGIApp(FileStore("uploads"), Config(principal=lambda request: g.get("user")))
app.register_blueprint(tus_blueprint("/files", tus, decorators=[login_required]))
