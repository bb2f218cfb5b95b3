"""Flask with uploads beside it.

gunicorn --worker-class gthread --threads 16 flask_beside:app
"""

from __future__ import annotations

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tuspy_server import FileStore, WSGIApp

app = Flask(__name__)
tus = WSGIApp(FileStore("uploads"))
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/files": tus})  # type: ignore[method-assign]  # as Flask documents it


@app.get("/")
def home() -> str:
    return "Upload to /files"
