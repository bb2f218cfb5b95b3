"""A client that uploads through a server which is killed at drawn moments, and checks every byte after each restart.

Only the schedule is drawn, from a seed that replays it; what the kernel does in between is not under control.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.ports import free_port
from tests.servers.running import ROOT
from tests.servers.wire import APPEND, Wire, WireAnswer, WireClient

LARGEST = 1_500_000


class Zygote:
    """The process that starts the command quickly."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.port = free_port()
        self._log = (directory.parent / "server.log").open("wb")
        self._arguments = ["--port", str(self.port), "--host", "127.0.0.1", "--upload-dir", str(directory), *arguments]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            text=True,
        )
        self._pid = 0

    def start(self) -> None:
        """Start the command and wait until it listens."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(["start", *self._arguments]) + "\n")
        self._process.stdin.flush()
        self._pid = int(self._process.stdout.readline())
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                Wire(self.port, 5).finish()
                return
            except ConnectionRefusedError:
                time.sleep(0.005)
        raise RuntimeError("the command does not listen")

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{self._pid}"):
            time.sleep(0.001)

    def close(self) -> None:
        with suppress(ProcessLookupError):  # a campaign that failed may leave it killed
            self.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(10)
        self._log.close()


@dataclass
class Upload:
    """What the client knows of one upload."""

    target: str
    source: bytes
    is_part: bool
    acknowledged: int = 0

    @property
    def complete(self) -> bool:
        return self.acknowledged == len(self.source)


@dataclass
class Campaign:
    """Runs lives of the server: each ends by a kill, each is followed by a check of everything it touched."""

    directory: Path
    zygote: Zygote
    seed: int
    rng: random.Random = field(init=False)
    uploads: list[Upload] = field(default_factory=list)
    finals: dict[str, bytes] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.client = WireClient(self.zygote.port)

    def live(self) -> None:
        """One life: a few operations, a kill at some moment of the next ones, restart, check."""
        touched: list[Upload] = []
        for _ in range(self.rng.randrange(6)):
            self._work(touched)
        timer = threading.Timer(self.rng.uniform(0, 0.04), self.zygote.kill)
        timer.start()
        try:
            while True:
                self._work(touched)
        except OSError:
            timer.join()
        self.zygote.start()
        for upload in touched:
            self.check(upload)
        self.uploads = [upload for upload in self.uploads if not upload.complete or upload.is_part][-40:]

    def _work(self, touched: list[Upload]) -> None:
        open_uploads = [upload for upload in self.uploads if not upload.complete]
        parts = [upload for upload in self.uploads if upload.is_part and upload.complete]
        choice = self.rng.random()
        if len(parts) >= 2 and choice < 0.2:
            self._concatenate(self.rng.sample(parts, 2))
        elif open_uploads and choice < 0.8:
            upload = self.rng.choice(open_uploads)
            touched.append(upload)
            self._append(upload)
        else:
            touched.append(self._create())

    def _count(self, what: str) -> None:
        self.operations[what] = self.operations.get(what, 0) + 1

    def _create(self) -> Upload:
        source = self.rng.randbytes(self.rng.choice([0, 1, 5000, 70_000, LARGEST, 3 * LARGEST]))
        is_part = self.rng.random() < 0.4
        first = source[: self.rng.choice([0, 0, 3000, LARGEST])]
        headers = {"Upload-Length": str(len(source))} | (APPEND if first else {})
        if is_part:
            headers["Upload-Concat"] = "partial"
        answer = self.client.request("POST", "/files", headers, first)
        assert answer.status == 201, answer
        upload = Upload(urlsplit(answer["location"]).path, source, is_part, answer.offset)
        assert upload.acknowledged == len(first)
        self.uploads.append(upload)
        self._count("created")
        return upload

    def _append(self, upload: Upload) -> None:
        offset = self.offset(upload)
        body = upload.source[offset : offset + self.rng.choice([1, 4000, 100_000, LARGEST, 3 * LARGEST])]
        headers = {**APPEND, "Upload-Offset": str(offset)}
        if self.rng.random() < 0.4:
            digest = base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()
            headers["Upload-Checksum"] = f"sha1 {digest}"
        answer = self.client.request("PATCH", upload.target, headers, body)
        assert answer.status == 204, answer
        assert answer.offset == offset + len(body)
        upload.acknowledged = answer.offset
        self._count("checksummed" if "Upload-Checksum" in headers else "appended")

    def _concatenate(self, parts: list[Upload]) -> None:
        expected = b"".join(part.source for part in parts)
        concat = "final;" + " ".join(part.target for part in parts)
        answer: WireAnswer = self.client.request("POST", "/files", {"Upload-Concat": concat})
        assert answer.status == 201, answer
        assert answer.offset == len(expected)
        target = urlsplit(answer["location"]).path
        assert self.finals.setdefault(target, expected) == expected
        assert self.client.get(target).body == expected
        self._count("concatenated")

    def offset(self, upload: Upload) -> int:
        answer = self.client.head(upload.target)
        assert answer.status == 200, answer
        assert upload.acknowledged <= answer.offset <= len(upload.source), (answer, upload.acknowledged)
        upload.acknowledged = answer.offset
        return answer.offset

    def check(self, upload: Upload) -> None:
        """Nothing acknowledged was lost, and what is there is what was sent."""
        offset = self.offset(upload)
        stored = (self.directory / upload.target.rpartition("/")[2]).read_bytes()
        assert stored[:offset] == upload.source[:offset], f"seed {self.seed}: wrong bytes below {offset}"
        if upload.complete:
            assert self.client.get(upload.target).body == upload.source
