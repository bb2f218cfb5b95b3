"""A served app, and one upload's whole life against it or against tusd."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from tuspy_server import ASGIApp, Config, Hooks
from tuspy_server.stores.file import FileStore

VERSION = {"Tus-Resumable": "1.0.0"}
INTERVAL = 0.05
# above what a server may read before it looks at the upload
PIECES = (b"a" * 100_000, b"b" * 100_000)
SIZE = sum(map(len, PIECES))
APPEND = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": str(SIZE)}


@contextmanager
def served(directory: Path, hooks: Callable[[FileStore], Hooks]) -> Iterator[str]:
    """Serve uploads from `directory`; the URL of the collection."""
    store = FileStore(directory)
    app = ASGIApp(store, Config(base_path="/files", post_receive_interval=INTERVAL), hooks=hooks(store))
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    sock = config.bind_socket()
    sock.listen()  # so that a client need not wait for the thread
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/files/"
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


@contextmanager
def tusd(program: Path, directory: Path, *options: str, events: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Run tusd with its hook options, all events if none are named; the collection's URL, and what it printed."""
    command = [str(program), "-host", "127.0.0.1", "-port", "0", "-upload-dir", str(directory)]
    command += [*options, "-hooks-enabled-events", ",".join(events)]
    command += ["-progress-hooks-interval", f"{int(INTERVAL * 1000)}ms"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        printed = ""
        while (found := re.search(r"upload files to: (\S+)", printed)) is None:
            printed += process.stdout.readline()
            assert process.poll() is None, printed
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        try:
            yield found[1], printed
        finally:
            process.terminate()
            process.wait()
            drain.join()


def upload_and_remove(url: str, wait_for: Callable[[str], None], **headers: str) -> str:
    """Create, send in two pieces, remove. `wait_for` blocks until the receiver got an event; the Location."""

    def body() -> Iterator[bytes]:
        yield PIECES[0]
        wait_for("post-receive")
        yield PIECES[1]

    with httpx.Client(headers=VERSION) as client:
        created = client.post(url, headers={"Upload-Length": str(SIZE), **headers})
        assert created.status_code == 201, created.text
        location = created.headers["Location"]
        wait_for("post-create")
        assert client.patch(location, headers=APPEND, content=body()).headers["Upload-Offset"] == str(SIZE)
        wait_for("post-finish")
        assert client.delete(location).status_code == 204
        wait_for("post-terminate")
    return str(location)
