"""Other processes for the locker suite: each makes its own locker and does what it is told."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from types import TracebackType
from typing import TypeAlias, cast

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tuspy_server.errors import LockerUnavailable
from tuspy_server.interfaces import Lock, Locker
from tuspy_server.testing.settled import settle

MakeLocker: TypeAlias = Callable[[], Locker]

# A fork server starts a process in a few milliseconds, where spawning one imports everything anew.
_CONTEXT: SpawnContext | ForkServerContext = (
    get_context("spawn") if sys.platform == "win32" else get_context("forkserver")
)
if isinstance(_CONTEXT, ForkServerContext):
    _CONTEXT.set_forkserver_preload([__name__])
_ANSWER_TIMEOUT = 60.0


class HeldLock:
    """A lock of either colour as plain calls, with what its callbacks were told."""

    def __init__(self, portal: BlockingPortal) -> None:
        self.asked = threading.Event()
        self.lost = threading.Event()
        self._portal = portal
        self._lock: Lock | None = None

    def take(self, locker: Locker, upload_id: str) -> bool:
        self._lock = settle(self._portal, locker.try_lock(upload_id, self.asked.set, self.lost.set))
        return self._lock is not None

    @property
    def lock(self) -> Lock:
        assert self._lock is not None
        return self._lock

    @property
    def token(self) -> int | None:
        return self.lock.token

    @property
    def alive(self) -> bool:
        return self.lock.alive

    def release(self) -> None:
        settle(self._portal, self.lock.release())

    def release_when_asked(self) -> None:
        self.asked.wait()
        self.release()


class SettledLocker:
    """A locker of either colour as plain calls."""

    def __init__(self, locker: Locker, portal: BlockingPortal) -> None:
        self.locker = locker
        self._portal = portal

    def try_lock(self, upload_id: str) -> HeldLock | None:
        held = HeldLock(self._portal)
        return held if held.take(self.locker, upload_id) else None

    def request_release(self, upload_id: str) -> None:
        settle(self._portal, self.locker.request_release(upload_id))

    def wait_for(self, upload_id: str, timeout: float, *, ask: bool = True) -> HeldLock | None:
        """Take the lock as the engine does: try, ask, sleep `retry_interval`, until `timeout` seconds are over."""
        deadline = time.monotonic() + timeout
        while (held := self.try_lock(upload_id)) is None and time.monotonic() < deadline:
            if ask:
                self.request_release(upload_id)
            time.sleep(self.locker.retry_interval)
        return held


class Board:
    """A file that shows whether two processes were in one upload's critical section at the same time."""

    _ROW = struct.Struct("=QQ")

    def __init__(self, path: Path, rows: int) -> None:
        size = rows * self._ROW.size
        with path.open("a+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)

    def enter_and_leave(self, row: int, visitor: int) -> bool:
        """Count one visit; False if somebody else was there before the end of it."""
        at = row * self._ROW.size
        present, visits = self._ROW.unpack_from(self._map, at)
        self._ROW.pack_into(self._map, at, visitor, visits)
        time.sleep(0)
        inside, _ = self._ROW.unpack_from(self._map, at)
        self._ROW.pack_into(self._map, at, 0, visits + 1)
        return (present, inside) == (0, visitor)

    def visits(self, row: int) -> int:
        """What the visitors counted together; less than they counted one by one if two overlapped."""
        return cast("int", self._ROW.unpack_from(self._map, row * self._ROW.size)[1])


def churn(locker: SettledLocker, board: Board, ids: Sequence[str], seconds: float, visitor: int) -> tuple[int, int]:
    """Take and release at random for that long; visits made, and how many of them met somebody."""
    deadline = time.monotonic() + seconds
    visits = met = 0
    while time.monotonic() < deadline:
        row = random.randrange(len(ids))
        held = None
        with suppress(LockerUnavailable):  # an overloaded service may say so
            held = locker.try_lock(ids[row])
        if held is None:
            time.sleep(random.random() * 0.002)
            continue
        met += not board.enter_and_leave(row, visitor)
        visits += 1
        held.release()
    return visits, met


class _Commands:
    """What a process of the suite can be told; runs there."""

    def __init__(self, make_locker: MakeLocker, portal: BlockingPortal) -> None:
        self.locker = SettledLocker(make_locker(), portal)
        self._make_locker = make_locker
        self._held: dict[str, HeldLock] = {}

    def lock(self, upload_id: str) -> bool:
        held = self.locker.try_lock(upload_id)
        if held is not None:
            self._held[upload_id] = held
        return held is not None

    def lock_until_asked(self, upload_id: str) -> bool:
        if not self.lock(upload_id):
            return False
        held = self._held[upload_id]
        threading.Thread(target=held.release_when_asked, daemon=True).start()
        return True

    def release(self, upload_id: str) -> None:
        self._held[upload_id].release()

    def request_release(self, upload_id: str) -> None:
        self.locker.request_release(upload_id)

    def token(self, upload_id: str) -> int | None:
        return self._held[upload_id].token

    def alive(self, upload_id: str) -> bool:
        return self._held[upload_id].alive

    def asked(self, upload_id: str, timeout: float) -> bool:
        return self._held[upload_id].asked.wait(timeout)

    def lost(self, upload_id: str, timeout: float) -> bool:
        return self._held[upload_id].lost.wait(timeout)

    def churn(self, path: Path, ids: Sequence[str], seconds: float) -> tuple[int, int]:
        return churn(self.locker, Board(path, len(ids)), ids, seconds, os.getpid())

    def in_forked_child(self, upload_id: str, other_id: str) -> tuple[bool, bool, bool]:
        """Whether a forked child: sees the parent's lock as its own; gets it; gets another one. It then tries
        to release what it inherited, and ends."""
        receiver, sender = _CONTEXT.Pipe(duplex=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: what preloading servers do
            pid = os.fork()
        if pid == 0:
            try:
                with start_blocking_portal() as portal:
                    inherited = self._held[upload_id]
                    inherited._portal = portal
                    locker = SettledLocker(self.locker.locker, portal)
                    seen = inherited.alive
                    inherited.release()
                    got, other = locker.try_lock(upload_id), locker.try_lock(other_id)
                    sender.send((seen, got is not None, other is not None))
            finally:
                os._exit(0)
        sender.close()
        try:
            return cast("tuple[bool, bool, bool]", receiver.recv())
        finally:
            os.waitpid(pid, 0)
            receiver.close()


def _serve(make_locker: MakeLocker, connection: Connection) -> None:
    with start_blocking_portal() as portal:
        commands = _Commands(make_locker, portal)
        connection.send((True, None))
        while True:
            try:
                name, arguments = connection.recv()
            except EOFError:
                return
            try:
                connection.send((True, getattr(commands, name)(*arguments)))
            except BaseException as exc:
                connection.send((False, f"{type(exc).__name__}: {exc}"))


class LockerProcess:
    """Another process with a locker of its own. Each method runs there and returns what it returned."""

    def __init__(self, make_locker: MakeLocker) -> None:
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(make_locker, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._started = False

    def __enter__(self) -> LockerProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    def tell(self, name: str, *arguments: object) -> None:
        """Start a command without waiting for it.

        The first waits for the process instead of the constructor, so that several start side by side.
        """
        if not self._started:
            self._started = True
            self.answer()
        self._connection.send((name, arguments))

    def answer(self, lasting: float = 0.0) -> object:
        """The result of the oldest unanswered command, which by itself takes `lasting` seconds; RuntimeError with
        what it raised."""
        if not self._connection.poll(lasting + _ANSWER_TIMEOUT):
            raise TimeoutError("the process does not answer")
        fine, result = self._connection.recv()
        if not fine:
            raise RuntimeError(result)
        return cast("object", result)

    def ask(self, name: str, *arguments: object) -> object:
        self.tell(name, *arguments)
        return self.answer()

    def lock(self, upload_id: str) -> bool:
        return bool(self.ask("lock", upload_id))

    def lock_until_asked(self, upload_id: str) -> bool:
        return bool(self.ask("lock_until_asked", upload_id))

    def release(self, upload_id: str) -> None:
        self.ask("release", upload_id)

    def request_release(self, upload_id: str) -> None:
        self.ask("request_release", upload_id)

    def token(self, upload_id: str) -> int | None:
        return cast("int | None", self.ask("token", upload_id))

    def alive(self, upload_id: str) -> bool:
        return bool(self.ask("alive", upload_id))

    def asked(self, upload_id: str, timeout: float) -> bool:
        return bool(self.ask("asked", upload_id, timeout))

    def lost(self, upload_id: str, timeout: float) -> bool:
        return bool(self.ask("lost", upload_id, timeout))

    def in_forked_child(self, upload_id: str, other_id: str) -> tuple[bool, bool, bool]:
        return cast("tuple[bool, bool, bool]", self.ask("in_forked_child", upload_id, other_id))

    def signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it as a crash would; it gets no chance to clean up."""
        self._process.kill()
        self._process.join()
        self._connection.close()


class Processes:
    """Starts processes and kills them at the end of a test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def start(self, make_locker: MakeLocker) -> LockerProcess:
        return self._stack.enter_context(LockerProcess(make_locker))
