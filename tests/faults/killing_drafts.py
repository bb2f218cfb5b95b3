"""The campaign of `killing.py` for resumable uploads as the IETF drafts them, a version drawn for each request."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.faults.killing import LARGEST, Zygote
from tests.interop.rufh import BASE, DraftClient, DraftWire
from tests.protocol.drafts import VERSIONS
from tests.servers.wire import WireAnswer

TOLD_EVERY = 8  # lives, of which one waits for 104 answers that tell offsets
TOLD_AT_ONCE = 8  # uploads that wait for them together


@dataclass
class DraftUpload:
    """What the client knows of one upload.

    `ending` says that a last content was sent whole, `complete` that its answer arrived, and `verified` are the only
    offsets possible since content with a digest was begun. `cut` says that a request of its was broken off in this
    life: the server may come to it after a later one.
    """

    source: bytes
    target: str = ""
    told: int = 0
    ending: bool = False
    complete: bool = False
    verified: tuple[int, int] | None = None
    cut: bool = False


@dataclass
class _Sending:
    """A request whose content is on its way."""

    wire: DraftWire
    chunked: bool

    def piece(self, data: bytes) -> None:
        if self.chunked:
            self.wire.send_chunk(data)
        else:
            self.wire.send(data)

    def receive(self) -> WireAnswer:
        return self.wire.receive()

    def finish(self) -> None:
        self.wire.finish()


@dataclass
class DraftCampaign:
    """Runs lives of the server: each ends by a kill, each is followed by a check of everything it touched."""

    directory: Path
    zygote: Zygote
    seed: int
    rng: random.Random = field(init=False)
    uploads: list[DraftUpload] = field(default_factory=list)
    operations: Counter[str] = field(default_factory=Counter)
    lives: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def live(self) -> None:
        """One life: a few operations, a kill at some moment of the next ones, restart, check."""
        self.lives += 1
        touched: list[DraftUpload] = []
        for _ in range(self.rng.randrange(5)):
            self._work(touched)
        if self.lives % TOLD_EVERY == 0:
            self._kill_once_told(touched)
        else:
            self._kill_at_some_moment(touched)
        self.zygote.start()
        for upload in touched:
            upload.cut = False
            if upload.target:
                self.check(upload)
        self.uploads = [upload for upload in self.uploads if upload.target and not upload.complete][-40:]

    def _kill_at_some_moment(self, touched: list[DraftUpload]) -> None:
        timer = threading.Timer(self.rng.uniform(0, 0.04), self.zygote.kill)
        timer.start()
        try:
            with suppress(OSError):
                while True:
                    self._work(touched)
        finally:
            timer.join()

    def _kill_once_told(self, touched: list[DraftUpload]) -> None:
        """Kill while several bodies are under way, each of which was told an offset in a 104."""
        running = [self._begun(touched) for _ in range(TOLD_AT_ONCE)]
        time.sleep(1.1)  # PROGRESS_INTERVAL, which the next byte finds to be over
        for wire, upload, sent in running:
            more = self.rng.randrange(1, 50_000)
            wire.piece(upload.source[sent : sent + more])
        for wire, upload, _ in running:
            interim = wire.receive()
            while "location" in interim.headers:
                upload.target = urlsplit(interim["location"]).path
                interim = wire.receive()
            assert (interim.status, interim.offset > 0) == (104, True)
            upload.told = interim.offset
            self.operations["told"] += 1
        self.zygote.kill()
        for wire, _, _ in running:
            wire.finish()

    def _begun(self, touched: list[DraftUpload]) -> tuple[_Sending, DraftUpload, int]:
        """A creation or an append, its content framed by its length or chunked, of which only a part was sent."""
        client = DraftClient(self.zygote.port, self.rng.choice(VERSIONS[2:]))
        upload = DraftUpload(self.rng.randbytes(LARGEST))
        touched.append(upload)
        sent, chunked = self.rng.randrange(1, 200_000), self.rng.random() < 0.5
        size, body = None if chunked else LARGEST, upload.source[:sent]
        if self.rng.random() < 0.5:
            wire = client.begin("POST", BASE, client.last(True), size, body)
        else:
            upload.target = client.create()
            wire = client.begin("PATCH", upload.target, client.appending(0, True), size, body)
        return _Sending(wire, chunked), upload, sent

    def _work(self, touched: list[DraftUpload]) -> None:
        client = DraftClient(self.zygote.port, self.rng.choice(VERSIONS))
        waiting = [upload for upload in self.uploads if not upload.complete]
        if not waiting or self.rng.random() < 0.3:
            upload = DraftUpload(self.rng.randbytes(self.rng.choice([0, 1, 5000, 70_000, LARGEST, 3 * LARGEST])))
            self.uploads.append(upload)
            touched.append(upload)
            self._create(client, upload)
            return
        upload = self.rng.choice(waiting)
        touched.append(upload)
        self._ask(client, upload)
        if not upload.complete:
            self._append(client, upload)

    def _create(self, client: DraftClient, upload: DraftUpload) -> None:
        body = upload.source[: self.rng.choice([0, 3000, LARGEST, 4 * LARGEST])]
        last = body == upload.source and self.rng.random() < 0.5
        upload.ending = last
        wire = client.begin("POST", BASE, client.last(last), len(body), body)
        answer = self._answer(wire, upload)
        assert answer.status == 201, answer
        self._heard(client, upload, answer, len(body), last)
        self.operations["created"] += 1

    def _append(self, client: DraftClient, upload: DraftUpload) -> None:
        start = upload.told
        rest = upload.source[start:]
        body = rest[: self.rng.choice([1, 4000, 100_000, LARGEST, 4 * LARGEST])]
        last = body == rest and self.rng.random() < 0.7
        fields = client.appending(start, last)
        if client.version in range(6, 9) and self.rng.random() < 0.5:
            digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
            fields["Content-Digest"] = f"sha-256=:{digest}:"
            upload.verified = (start, start + len(body))
        if last and len(body) > 1 and self.rng.random() < 0.4:
            self._cut(client, upload, fields, body)
            return
        upload.ending = upload.ending or last
        answer = self._answer(client.begin("PATCH", upload.target, fields, len(body), body), upload)
        upload.verified = None
        if upload.cut and answer.status in (409, 423):
            # The server got to a request that was cut only now: it stored what it had, or this one was interrupted.
            self.operations["overtaken"] += 1
            return
        assert answer.status in (200, 201, 204), answer
        self._heard(client, upload, answer, start + len(body), last)
        self.operations["verified" if "Content-Digest" in fields else "appended"] += 1

    def _cut(self, client: DraftClient, upload: DraftUpload, fields: dict[str, str], body: bytes) -> None:
        """Break off in the last content, of which any prefix may stay and none completes."""
        if upload.verified is not None:
            upload.verified = (upload.told, upload.told)
        upload.cut = True
        sent = body[: self.rng.randrange(1, len(body))]
        client.begin("PATCH", upload.target, fields, len(body), sent).finish()
        self._ask(client, upload)
        self.operations["cut"] += 1

    def _answer(self, wire: DraftWire, upload: DraftUpload) -> WireAnswer:
        """The final answer; what a 104 told before it is known from then on."""
        try:
            while (answer := wire.receive()).status < 200:
                upload.target = upload.target or urlsplit(answer["location"]).path
                upload.told = int(answer.headers.get("upload-offset", upload.told))
                self.operations["interim"] += 1
            return answer
        finally:
            wire.finish()

    def _heard(self, client: DraftClient, upload: DraftUpload, answer: WireAnswer, offset: int, last: bool) -> None:
        assert (answer.offset, client.says_complete(answer)) == (offset, last)
        upload.target = upload.target or urlsplit(answer["location"]).path
        upload.told = offset
        upload.complete = last

    def _ask(self, client: DraftClient, upload: DraftUpload) -> None:
        answer = client.head(upload.target)
        assert answer.status == 204, answer
        assert upload.told <= answer.offset <= len(upload.source), (self.seed, answer, upload.told)
        if upload.verified is not None:
            assert answer.offset in upload.verified, f"seed {self.seed}: a part of verified content at {answer.offset}"
            upload.verified = None
        upload.told = answer.offset
        if client.says_complete(answer):
            assert upload.ending, f"seed {self.seed}: completed by a body that was cut"
            assert upload.told == len(upload.source)
            upload.complete = True
        else:
            assert not upload.complete, f"seed {self.seed}: no longer complete"

    def check(self, upload: DraftUpload) -> None:
        """Nothing told was lost, what is there is what was sent, and the final answer can be had again."""
        client = DraftClient(self.zygote.port, self.rng.choice(VERSIONS))
        self._ask(client, upload)
        stored = (self.directory / upload.target.rpartition("/")[2]).read_bytes()
        assert stored[: upload.told] == upload.source[: upload.told], f"seed {self.seed}: wrong bytes"
        if upload.complete:
            again = client.append(upload.target, upload.told, last=True)
            assert (again.status, client.says_complete(again)) == (201, True)
            assert client.get(upload.target).body == upload.source
            self.operations["replayed"] += 1
