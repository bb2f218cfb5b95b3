"""The queue recipe of docs/examples, with a real broker."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hooks.samples import event
from tests.hooks.uploads import served, upload_and_remove
from tuspy_server import Hooks
from tuspy_server.hooks.payload import encode
from tuspy_server.hooks.plugin import PluginHooks

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A NATS server with JetStream; its URL, also in NATS_URL."""
    pytest.importorskip("nats", reason="nats-py is not installed")
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if program is None:
        pytest.skip("nats-server is not installed")
    command = [program, "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(tmp_path / "jetstream")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        printed = ""
        while "Server is ready" not in printed:
            printed += process.stderr.readline()
            assert process.poll() is None, printed
        (port,) = re.findall(r"Listening for client connections on 127\.0\.0\.1:(\d+)", printed)
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{port}")
        monkeypatch.syspath_prepend(EXAMPLES)
        try:
            yield f"nats://127.0.0.1:{port}"
        finally:
            sys.modules.pop("nats_plugin", None)
            process.terminate()
            process.wait()
            drain.join()


async def stored(url: str) -> list[Any]:
    """Every message of the stream."""
    import nats

    client = await nats.connect(url)
    try:
        stream = client.jetstream()
        info = await stream.stream_info("uploads")
        numbers = range(1, info.state.last_seq + 1)
        return [json.loads((await stream.get_msg("uploads", number)).data or b"") for number in numbers]
    finally:
        await client.close()


def test_a_finished_upload_is_in_the_stream(broker: str, tmp_path: Path) -> None:
    finished = threading.Event()

    def wait_for(name: str) -> None:
        if name == "post-finish":
            assert finished.wait(20)

    plugin = PluginHooks("nats_plugin:Publisher")
    hooks = Hooks(**plugin.hooks()) | Hooks(post_finish=lambda event: finished.set())
    with served(tmp_path / "uploads", lambda store: hooks) as url:
        location = upload_and_remove(url, wait_for)
    plugin.close()
    (message,) = asyncio.run(stored(broker))
    assert message["Type"] == "post-finish"
    assert message["Event"]["Upload"]["ID"] == location.rpartition("/")[2]


def test_a_repeated_delivery_is_in_the_stream_once(broker: str) -> None:
    plugin = PluginHooks("nats_plugin:Publisher")
    (post_finish,) = Hooks(**plugin.hooks()).of("post_finish")
    for _ in range(2):
        post_finish(event())
    plugin.close()
    assert asyncio.run(stored(broker)) == [encode(event())]
