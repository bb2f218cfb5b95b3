"""The invariant of the whole design, for any sequence of requests, cuts, kills and restarts:

HEAD's offset never falls below an acknowledged value, never exceeds the bytes that are there, and at full length
the downloaded bytes are the source's.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.engine.client import APPEND, Answer, EngineClient
from tuspy_server import Composer, Config, FileLocker, FileStore, HookEvent, Hooks


class Killed(BaseException):
    """The process ended here."""


class Mortal:
    """A store whose process is killed before or after a drawn call of it; afterwards nobody may use it."""

    default_locker = "tuspy_server.lockers.file:FileLocker"

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.finishes, self.slides, self.is_local = store.finishes, store.slides, False
        self.calls_left: int | None = None

    def _living(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._tick()
            result = function(*args, **kwargs)
            self._tick()
            return _MortalWriter(result, self) if hasattr(result, "write") else result

        return call

    def _tick(self) -> None:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left <= 0:
                raise Killed

    def __getattr__(self, name: str) -> Any:
        return self._living(getattr(self._store, name))


class _MortalWriter:
    def __init__(self, writer: Any, store: Mortal) -> None:
        self._writer = writer
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return self._store._living(getattr(self._writer, name))


@dataclass
class Model:
    """What a client knows of one upload."""

    id: str
    source: bytes
    length: int | None
    acknowledged: int = 0
    gone: bool = False


SOURCES = st.binary(max_size=200)


class UploadMachine(RuleBasedStateMachine):
    uploads = Bundle("uploads")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.mkdtemp()
        self.models: dict[str, Model] = {}
        self.told: dict[str, set[str]] = {}
        self._start()

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    def _start(self) -> None:
        self.store = Mortal(FileStore(self.directory, durability="finish"))
        composer = Composer(self.store, FileLocker(self.directory))
        self.client = EngineClient(composer, Config(), Hooks(post_finish=self._note))

    def _note(self, event: HookEvent) -> None:
        self.told.setdefault(event.upload.id, set()).add(event.delivery_id)

    def _mortally(self, kill_after: int | None, request: Callable[[], Answer]) -> Answer | None:
        """The answer, or None if the process was killed on the way; then it has been started again."""
        self.store.calls_left = kill_after
        try:
            answer = request()
        except Killed:
            self.client.composer.locker = FileLocker(self.directory)
            self._start()
            return None
        self.store.calls_left = None
        return answer

    kills = st.one_of(st.none(), st.none(), st.integers(1, 12))

    @rule(target=uploads, source=SOURCES, defer=st.booleans(), first=st.integers(0, 200), kill_after=kills)
    def create(self, source: bytes, defer: bool, first: int, kill_after: int | None) -> Model:
        length = None if defer else len(source)
        body = source[:first]
        answer = self._mortally(kill_after, lambda: self.client.create(length, body))
        if answer is None:
            return Model("0" * 32, b"", 0, gone=True)
        assert answer.status == 201
        model = Model(answer.id, source, length, answer.offset)
        assert model.acknowledged == len(body)
        self.models[model.id] = model
        return model

    @rule(
        model=uploads,
        size=st.integers(0, 200),
        cut=st.one_of(st.none(), st.integers(0, 200)),
        chunked=st.booleans(),
        checksum=st.sampled_from([None, "good", "bad"]),
        declare=st.booleans(),
        kill_after=kills,
    )
    def append(
        self,
        model: Model,
        size: int,
        cut: int | None,
        chunked: bool,
        checksum: str | None,
        declare: bool,
        kill_after: int | None,
    ) -> None:
        if model.gone:
            return
        offset = self._offset(model)
        body = model.source[offset : offset + size]
        headers = {**APPEND, "Upload-Offset": str(offset)}
        if declare:
            headers["Upload-Length"] = str(len(model.source))
        if checksum is not None:
            told = zlib.crc32(body) + (checksum == "bad")
            headers["Upload-Checksum"] = "crc32 " + b64encode((told % 2**32).to_bytes(4, "big")).decode()
        sent = body if cut is None else body[:cut]
        announced = None if chunked and len(sent) == len(body) else len(body)
        answer = self._mortally(
            kill_after, lambda: self.client.request("PATCH", model.id, headers, sent, size=announced)
        )
        if answer is not None and answer.status == 204:
            assert answer.offset == offset + len(body)
            assert checksum != "bad"
            model.acknowledged = answer.offset

    @rule(model=uploads, offset=st.integers(0, 250))
    def append_elsewhere(self, model: Model, offset: int) -> None:
        if not model.gone and offset != self._offset(model):
            assert self.client.append(model.id, offset, b"wrong").status == 409

    @rule(model=uploads)
    def look(self, model: Model) -> None:
        if not model.gone:
            self._offset(model)

    @rule(model=consumes(uploads), kill_after=kills)
    def terminate(self, model: Model, kill_after: int | None) -> None:
        if model.gone:
            return
        answer = self._mortally(kill_after, lambda: self.client.delete(model.id))
        if answer is None and self.client.head(model.id).status == 200:
            assert self.client.delete(model.id).status == 204
        assert self.client.head(model.id).status in (404, 410)
        model.gone = True

    @rule()
    def restart(self) -> None:
        self._start()

    @invariant()
    def complete_uploads_are_their_source(self) -> None:
        for model in self.models.values():
            if not model.gone and self._offset(model) == model.length:
                assert self.client.get(model.id).body == model.source
                assert len(self.told[model.id]) == 1

    def _offset(self, model: Model) -> int:
        answer = self.client.head(model.id)
        if answer.status == 423:  # the end failed once and waits for its time
            self.client.clock.seconds += 120
            answer = self.client.head(model.id)
        assert answer.status == 200
        assert model.acknowledged <= answer.offset <= len(model.source)
        model.acknowledged = answer.offset
        if "upload-length" in answer.headers:
            model.length = int(answer["upload-length"])
            assert model.length == len(model.source)
        return answer.offset


UploadMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, database=None, phases=[Phase.generate]
)
TestUploads = UploadMachine.TestCase
