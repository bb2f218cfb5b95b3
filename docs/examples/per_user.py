"""A directory and a quota for each user, known by an API key.

uvicorn per_user:app
"""

from __future__ import annotations

from tuspy_server import ASGIApp, Config, FileStore, HookEvent, HookResult, Hooks, RejectUpload, Request
from tuspy_server.hooks.quota import UserQuota

USERS = {"key-of-alice": "alice", "key-of-bob": "bob"}
store = FileStore("uploads")
quota = UserQuota("quota.sqlite3", limit=100 << 20)


def user_of(request: Request) -> str | None:
    return USERS.get(request.header("x-api-key") or "")


def into_own_directory(event: HookEvent) -> HookResult:
    user = event.request.principal
    if user is None:
        raise RejectUpload("unknown API key", status=401)
    return HookResult(storage={"path": f"{user}/{event.upload.id}"})


hooks = Hooks(pre_create=into_own_directory) | Hooks(**quota.hooks())
app = ASGIApp(store, Config(base_path="/files", principal=user_of, max_size=quota.remaining), hooks=hooks)
