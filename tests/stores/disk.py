"""A disk that forgets: records what a store asks of the system, and shows what is left after a power loss."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path
from typing import Literal

from tuspy_server.stores.system import System

Event = tuple[str | int | bytes, ...]
DIRECTORY = -1


class RecordingSystem(System):
    """Does everything but wait for the real disk, and writes down what changes something. `node` stands for an inode.

    `fail` may raise instead of a call: it is asked with the call's name before each.
    """

    def __init__(self, root: Path, fail: Callable[[str], None] | None = None, boot: str = "first") -> None:
        self.root = str(root)
        self.events: list[Event] = []
        self.fail = fail or (lambda call: None)
        self._boot_name = boot
        self._nodes: dict[str, int] = {}
        self._open: dict[int, int] = {}
        self._directories: dict[int, str] = {}
        self._fresh = count()

    def boot(self) -> str:
        return self._boot_name

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        self.fail("open")
        fd = super().open(path, flags, mode)
        if path not in self._nodes:
            self._nodes[path] = next(self._fresh)
            self.events.append(("link", path, self._nodes[path]))
        self._open[fd] = self._nodes[path]
        return fd

    def close(self, fd: int) -> None:
        super().close(fd)
        self._open.pop(fd, None)
        self._directories.pop(fd, None)

    def write(self, fd: int, chunks: Sequence[bytes], offset: int) -> int:
        self.fail("write")
        taken = super().write(fd, chunks, offset)
        self.events.append(("write", self._open[fd], offset, b"".join(chunks)[:taken]))
        return taken

    def truncate(self, fd: int, size: int) -> None:
        self.fail("truncate")
        super().truncate(fd, size)
        self.events.append(("truncate", self._open[fd], size))

    def copy(self, source: int, target: int, offset: int, size: int) -> int:
        self.fail("copy")
        copied = super().copy(source, target, offset, size)
        self.events.append(("write", self._open[target], offset, os.pread(source, copied, 0)))
        return copied

    def unlink(self, path: str) -> None:
        self.fail("unlink")
        super().unlink(path)
        if self._nodes.pop(path, None) is not None:
            self.events.append(("unlink", path))

    def replace(self, source: str, target: str) -> None:
        self.fail("replace")
        super().replace(source, target)
        self._nodes[target] = self._nodes.pop(source)
        self.events.append(("rename", source, target))

    def make_directory(self, path: str, mode: int) -> None:
        self.fail("make_directory")
        super().make_directory(path, mode)
        self.events.append(("link", path, DIRECTORY))

    def sync(self, fd: int) -> None:
        self.fail("sync")
        self.events.append(("sync", self._open[fd]))

    def open_directory(self, path: str) -> int | None:
        fd = super().open_directory(path)
        assert fd is not None
        self._directories[fd] = path
        return fd

    def sync_names(self, fd: int) -> None:
        self.fail("sync_names")
        self.events.append(("sync_names", self._directories[fd]))

    def start_writeback(self, fd: int, offset: int, size: int) -> None:
        self.fail("start_writeback")


Fate = Literal["kept", "dropped", "zeroed"]


@dataclass(frozen=True)
class Loss:
    """What a power loss does to what was not synced: names, bytes of records, bytes of everything else."""

    names_kept: bool
    records: Fate
    data: Fate


FATES: tuple[Fate, ...] = ("kept", "dropped", "zeroed")
LOSSES = [Loss(names, records, data) for names, records, data in product((True, False), FATES, FATES)]


@dataclass
class Disk:
    """Names and bytes, as they are seen now and as they are safe."""

    names: dict[str, int] = field(default_factory=dict)
    safe_names: dict[str, int] = field(default_factory=dict)
    content: dict[int, bytes] = field(default_factory=dict)
    safe_content: dict[int, bytes] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        match event:
            case ("link", str(path), int(node)):
                self.names[path] = node
                self.content.setdefault(node, b"")
            case ("unlink", str(path)):
                del self.names[path]
            case ("rename", str(source), str(target)):
                self.names[target] = self.names.pop(source)
            case ("write", int(node), int(offset), bytes(data)):
                old = self.content[node].ljust(offset, b"\0")
                self.content[node] = old[:offset] + data + old[offset + len(data) :]
            case ("truncate", int(node), int(size)):
                self.content[node] = self.content[node][:size].ljust(size, b"\0")
            case ("sync", int(node)):
                self.safe_content[node] = self.content[node]
            case ("sync_names", str(directory)):
                self._sync_names(directory)
            case _:
                raise AssertionError(event)

    def _sync_names(self, directory: str) -> None:
        for names in (self.names, self.safe_names):
            for path in [path for path in names if os.path.dirname(path) == directory]:
                if path in self.names:
                    self.safe_names[path] = self.names[path]
                else:
                    del self.safe_names[path]

    def after(self, loss: Loss) -> dict[str, bytes | None]:
        """Every file that is left, by path; None for a directory."""
        names = self.names if loss.names_kept else self.safe_names
        left: dict[str, bytes | None] = {}
        for path, node in sorted(names.items()):
            above = os.path.dirname(path)
            if above not in names and any(above == other for other, kind in self.names.items() if kind == DIRECTORY):
                continue
            fate = loss.records if path.endswith(".info") else loss.data
            left[path] = None if node == DIRECTORY else self._bytes(node, fate)
        return left

    def _bytes(self, node: int, fate: Fate) -> bytes:
        now, safe = self.content[node], self.safe_content.get(node, b"")
        if fate == "kept":
            return now
        if fate == "dropped":
            return safe
        common = next((at for at, (new, old) in enumerate(zip(now, safe, strict=False)) if new != old), len(safe))
        return now[:common].ljust(len(now), b"\0")


def restore(files: dict[str, bytes | None], old_root: Path, new_root: Path) -> None:
    """Put what is left below another directory."""
    new_root.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        target = new_root / os.path.relpath(path, old_root)
        if data is None:
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(data)


class OneFailure:
    """Lets the n-th call of a kind fail, and none before or after it."""

    def __init__(self, call: str, turn: int, code: int = errno.EIO) -> None:
        self._call = call
        self._left = turn
        self._code = code
        self.happened = False

    def __call__(self, call: str) -> None:
        if call == self._call:
            if self._left == 0:
                self.happened = True
                self._left = -1
                raise OSError(self._code, os.strerror(self._code))
            self._left -= 1
