"""tus-js-client, which speaks two versions of the drafts, against the running command."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.command import Served
from tests.interop.clients.npm import installed, node
from tests.interop.rufh import DraftClient

DRIVER = Path(__file__).with_name("clients") / "drafts.mjs"


@pytest.mark.parametrize(("protocol", "version"), [("ietf-draft-03", 5), ("ietf-draft-05", 6)])
def test_tus_js_client_uploads_pauses_resumes_and_terminates(
    protocol: str, version: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packages = installed(tmp_path_factory.getbasetemp() / "npm")
    with Served(tmp_path / "uploads") as served:
        ran = node(DRIVER, packages, "tus-js-client-5", served.url, protocol)
        assert ran.returncode == 0
        found = json.loads(ran.stdout)
        client = DraftClient(served.address[1], version)
        for name in ("upload", "resume", "resume elsewhere"):
            answer = client.get(found[name]["url"])
            assert (answer.status, hashlib.sha256(answer.body).hexdigest()) == (200, found[name]["sha256"])
            assert client.says_complete(client.head(found[name]["url"])) is True
        assert client.head(found["terminate"]["url"]).status == 404
    assert "HEAD" not in found["upload"]["requests"]
    assert "HEAD" in found["resume"]["requests"]
    assert "HEAD" in found["resume elsewhere"]["requests"]
    assert found["terminate"]["requests"][-1] == "DELETE"
