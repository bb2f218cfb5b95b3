"""Flask: a blueprint that serves uploads behind the app's own login."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from tuspy_server.integrations.cross_origin import refusal_headers
from tuspy_server.integrations.views import METHODS, drain, run_view
from tuspy_server.wsgi import WSGIApp


def tus_blueprint(url_prefix: str, app: WSGIApp, *, decorators: Sequence[Callable[[Any], Any]] = ()) -> Blueprint:
    """Serves `app`, whose Config has no `base_path`, at `url_prefix` and below.

    `decorators` (a `login_required`, say) and the app's `before_request` functions run before a byte is read,
    stored, or a lock asked for. They refuse with a status: a client does not follow a redirect to a page.
    OPTIONS is answered without the decorators, since a browser's preflight carries no credentials.
    """
    blueprint = Blueprint(f"tus{url_prefix.replace('/', '_')}", __name__, url_prefix=url_prefix)

    def serve(upload_id: str = "", **_: object) -> Response:
        answered = run_view(app, request.environ, upload_id)
        return _Answer(answered.body, answered.status, answered.headers, direct_passthrough=True)

    guarded: Any = serve
    for decorate in reversed(decorators):
        guarded = decorate(guarded)
    for rule in ("", "/", "/<upload_id>"):
        blueprint.add_url_rule(rule, "preflight", serve, methods=["OPTIONS"], provide_automatic_options=False)
        blueprint.add_url_rule(rule, "upload", guarded, methods=METHODS, provide_automatic_options=False)

    @blueprint.after_request
    def allow_reading(response: Response) -> Response:
        for name, value in refusal_headers(request.method, request.headers.get("Origin"), app.config.cors):
            response.headers.setdefault(name, value)
        if not isinstance(response, _Answer):
            response.call_on_close(partial(drain, app, request.environ))
        return response

    return blueprint


class _Answer(Response):
    default_mimetype = None
