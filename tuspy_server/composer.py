"""Joins a store, a locker and capabilities, and knows which tus extensions result."""

from __future__ import annotations

import inspect
import os
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, cast

from tuspy_server.errors import StoreFailed
from tuspy_server.interfaces import (
    Concater,
    DataStore,
    Expirer,
    LengthDeferrer,
    Locker,
    Reader,
    Redirecter,
    Stager,
    Terminater,
)

if TYPE_CHECKING:
    from tuspy_server.reading import AsyncOpenUpload, OpenUpload


class _Auto(Enum):
    AUTO = "auto"


AUTO: Final = _Auto.AUTO
Auto: TypeAlias = Literal[_Auto.AUTO]

C = TypeVar("C")

_STORE_METHODS = ("create", "get", "update", "open", "finish")
_LOCKER_METHODS = ("try_lock", "request_release")


class Composer:
    """What an app serves uploads from.

    Capabilities are found on the store itself (AUTO); None switches one off; another object may supply it.
    The AUTO locker is the one the store names as its default. Raises TypeError with a sentence for a store or
    locker that lacks a method, or a locker without `retry_interval`; StoreFailed for locks that a holder may lose
    over a store that could not stop it.
    """

    def __init__(
        self,
        store: DataStore,
        locker: Locker | Auto = AUTO,
        *,
        stager: Stager | Auto | None = AUTO,
        terminater: Terminater | Auto | None = AUTO,
        concater: Concater | Auto | None = AUTO,
        length_deferrer: LengthDeferrer | Auto | None = AUTO,
        expirer: Expirer | Auto | None = AUTO,
        reader: Reader | Auto | None = AUTO,
        redirecter: Redirecter | Auto | None = AUTO,
    ) -> None:
        _require(store, _STORE_METHODS, "a store")
        self.store = store
        self.locker: Locker = default_locker(store) if locker is AUTO else locker
        _require(self.locker, _LOCKER_METHODS, "a locker")
        if not getattr(self.locker, "retry_interval", 0) > 0:
            raise TypeError(f"{type(self.locker).__name__} is not a locker: it lacks a positive retry_interval")
        _check_fencing(store, self.locker)
        self.stager: Stager | None = _capability(store, stager, "stage")
        self.terminater: Terminater | None = _capability(store, terminater, "terminate")
        self.concater: Concater | None = _capability(store, concater, "concat")
        self.length_deferrer: LengthDeferrer | None = _capability(store, length_deferrer, "declare_length")
        self.expirer: Expirer | None = _capability(store, expirer, "expired")
        self.reader: Reader | None = _capability(store, reader, "read")
        self.redirecter: Redirecter | None = _capability(store, redirecter, "redirect")
        self._claimed_by: int | None = None
        self._marker: object = None

    def claim(self) -> None:
        """Refuse a second process on the same store where the locker sees only its own; the apps call it.

        Raises StoreFailed with a sentence. Costs nothing after the first time in a process.
        """
        if self._claimed_by == os.getpid():
            return
        marker = getattr(self.store, "exclusive_marker", None)
        if getattr(self.locker, "single_process", False) and callable(marker):
            self._marker = marker()
        self._claimed_by = os.getpid()

    @classmethod
    def of(cls, store: DataStore | Composer) -> Composer:
        """A composer as it is, a store composed with all its defaults."""
        return store if isinstance(store, Composer) else cls(store)

    @property
    def extensions(self) -> tuple[str, ...]:
        """The tus extensions the composed parts can do, in the order OPTIONS announces them."""
        found = ["creation", "creation-with-upload"]
        if self.length_deferrer is not None:
            found.append("creation-defer-length")
        if self.terminater is not None:
            found.append("termination")
        if self.concater is not None:
            found += ["concatenation", "concatenation-unfinished"]
        if self.stager is not None:
            found.append("checksum")
        if self.expirer is not None and self.terminater is not None:
            found.append("expiration")
        return tuple(found)

    @property
    def finishes(self) -> bool:
        """Whether the store's `finish` does anything."""
        return bool(getattr(self.store, "finishes", True))

    @property
    def slides(self) -> bool:
        """Whether the store moves a sliding expiry by itself."""
        return bool(getattr(self.store, "slides", False))

    def open_upload(self, upload_id: str) -> AbstractAsyncContextManager[AsyncOpenUpload]:
        """`async with composer.open_upload(id) as upload`: its `info`, and its bytes by `async for`.

        Also while `pre_finish` runs. Raises UploadNotFinished, UploadNotFound, UploadGone, StoreError.
        """
        found: AbstractAsyncContextManager[AsyncOpenUpload] = _reading().opened_async(self, upload_id)
        return found

    def open_upload_sync(self, upload_id: str) -> AbstractContextManager[OpenUpload]:
        """`with composer.open_upload_sync(id) as upload`: the same for `for`, anywhere but on an event loop."""
        found: AbstractContextManager[OpenUpload] = _reading().opened(self, upload_id)
        return found

    @property
    def is_local(self) -> bool:
        """Whether store and locker say that they reach no further than this machine."""
        return bool(getattr(self.store, "is_local", False)) and bool(getattr(self.locker, "is_local", False))

    @property
    def is_blocking(self) -> bool:
        """Whether every member is written with `def`, so that a request can run in one thread to its end."""
        members: list[tuple[object, tuple[str, ...]]] = [
            (self.store, _STORE_METHODS),
            (self.locker, _LOCKER_METHODS),
            (self.stager, ("stage",)),
            (self.terminater, ("terminate",)),
            (self.concater, ("concat",)),
            (self.length_deferrer, ("declare_length",)),
            (self.redirecter, ("redirect",)),
        ]
        return not any(
            inspect.iscoroutinefunction(getattr(member, name))
            for member, names in members
            if member is not None
            for name in names
        )


def _reading() -> Any:
    return import_module("tuspy_server.reading")  # on use: it stands above this module


def default_locker(store: DataStore, **settings: float) -> Locker:
    """The locker a store names in `default_locker` ("module:Class"), made by its `for_store` with these settings."""
    name: str | None = getattr(store, "default_locker", None)
    if name is None:
        raise TypeError(f"{type(store).__name__} names no default locker: pass Composer(store, locker=...)")
    module, _, attribute = name.partition(":")
    made: Any = getattr(import_module(module), attribute).for_store(store, **settings)
    return cast(Locker, made)


def _check_fencing(store: DataStore, locker: Locker) -> None:
    if getattr(locker, "lease", None) is not None and not getattr(store, "fences", True):
        raise StoreFailed(
            f"a process that stands still loses its lock of {type(locker).__name__}, and {type(store).__name__} could "
            "not stop it from writing when it goes on: choose another locker, or another store or file system"
        )


def _capability(store: object, chosen: C | Auto | None, method: str) -> C | None:
    if chosen is not AUTO:
        return chosen
    return cast(C, store) if callable(getattr(store, method, None)) else None


def _require(candidate: object, methods: tuple[str, ...], what: str) -> None:
    missing = [name for name in methods if not callable(getattr(candidate, name, None))]
    if missing:
        raise TypeError(f"{type(candidate).__name__} is not {what}: it lacks {', '.join(missing)}()")
