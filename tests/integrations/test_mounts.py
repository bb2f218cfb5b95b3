"""Wherever the app is mounted: both forms of its URL work, Location leads back, and ids may be named as the mount."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integrations.calls import Answer, Asked
from tests.integrations.mounts import MOUNTS, Mounted

SETTINGS: dict[str, Any] = {"new_id": lambda request: request.header("x-id"), "trusted_proxies": ["10.0.0.1"]}
PREFLIGHT = [
    ("origin", "https://app.example"),
    ("access-control-request-method", "POST"),
    ("access-control-request-headers", "tus-resumable, upload-length"),
]
IDS = ["f", "file", "files", "a-1_B.~c"]


class Host:
    """Asks as a client does, by the URLs that a client knows."""

    def __init__(self, mounted: Mounted) -> None:
        self._mounted = mounted
        self._ask = mounted.make(SETTINGS)

    def __call__(self, method: str, path: str, *headers: tuple[str, str], peer: str = "10.0.0.9") -> Answer:
        assert path.startswith(self._mounted.cut)
        target = path.removeprefix(self._mounted.cut) or "/"
        return self._ask(
            Asked(method=method, target=target, headers=headers, peer=peer, root_path=self._mounted.root_path)
        )

    def create(self, path: str, upload_id: str, *headers: tuple[str, str], peer: str = "10.0.0.9") -> Answer:
        return self("POST", path, ("upload-length", "5"), ("x-id", upload_id), *headers, peer=peer)


@pytest.fixture(params=list(MOUNTS.values()), ids=list(MOUNTS), scope="module")
def mounted(request: pytest.FixtureRequest) -> Mounted:
    found: Mounted = request.param
    return found


@pytest.fixture(scope="module")
def host(mounted: Mounted) -> Host:
    return Host(mounted)


@pytest.mark.parametrize("slash", ["", "/"], ids=["bare", "slash"])
def test_the_collection_answers_with_and_without_a_slash(mounted: Mounted, host: Host, slash: str) -> None:
    created = host.create(mounted.base + slash, "c" + "s" * len(slash))
    preflight = host("OPTIONS", mounted.base + slash, *PREFLIGHT)
    if mounted.redirects and not slash:
        assert (created.status, preflight.status) == (307, 307)
        return
    assert created.status == 201
    assert created["location"].startswith(f"http://example.org{mounted.base}/c")
    assert preflight.status == 200
    assert "PATCH" in preflight["access-control-allow-methods"]
    assert preflight["access-control-allow-origin"] == "*"
    assert "creation" in preflight["tus-extension"]


@pytest.mark.parametrize("upload_id", IDS)
def test_location_leads_to_the_upload(mounted: Mounted, host: Host, upload_id: str) -> None:
    location = host.create(mounted.base + "/", upload_id)["location"]
    assert location == f"http://example.org{mounted.base}/{upload_id}"
    path = location.removeprefix("http://example.org")
    found = host("HEAD", path)
    assert (found.status, found["upload-offset"], found["upload-length"]) == (200, "0", "5")
    assert host("OPTIONS", path, *PREFLIGHT).status == 200
    assert host("DELETE", path).status == 204
    assert host("HEAD", path).status == 410


@pytest.mark.parametrize("name", ["unknown", "a/b", "files/f", "..", "f%2Ff", "j%C3%B6", "%FF", "f.info"])
def test_what_is_no_id_is_not_found(mounted: Mounted, host: Host, name: str) -> None:
    for method in ("HEAD", "POST", "DELETE"):
        headers = [("upload-length", "5"), ("x-id", "never")] if method == "POST" else []
        expected = {404, 405} if method == "POST" else {404}
        assert host(method, f"{mounted.base}/{name}", *headers).status in expected
    assert host("HEAD", f"{mounted.base}/never").status == 404


def test_a_query_changes_nothing(mounted: Mounted, host: Host) -> None:
    location = host.create(f"{mounted.base}/?path=a%2Fb", "queried")["location"]
    assert location == f"http://example.org{mounted.base}/queried"
    assert host("HEAD", f"{mounted.base}/queried?x=%2F").status == 200


FORWARDED = [("x-forwarded-proto", "https"), ("x-forwarded-host", "files.example:443")]


def test_a_trusted_proxy_names_the_origin(mounted: Mounted, host: Host) -> None:
    created = host.create(mounted.base + "/", "proxied", *FORWARDED, peer="10.0.0.1")
    assert created["location"] == f"https://files.example{mounted.base}/proxied"


def test_anybody_else_does_not(mounted: Mounted, host: Host) -> None:
    created = host.create(mounted.base + "/", "direct", *FORWARDED)
    assert created["location"] == f"http://example.org{mounted.base}/direct"
