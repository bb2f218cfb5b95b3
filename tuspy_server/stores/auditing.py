"""What operators ask of a store beyond serving: list every upload, and say what is damaged.

Both protocols are optional; `tuspy-server uploads` and `tuspy-server verify` say so where a store lacks one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

from tuspy_server.models import UploadInfo


class Remedy(Enum):
    """What a repair does about a damage. None of them destroys bytes that a client was told of."""

    NONE = "left alone"
    REMOVE = "removed"
    SET_ASIDE = "set aside"
    CUT = "cut"
    FAIL = "marked failed"


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as the store leaves it.

    `problem` is a stable code, `name` the file or object, `detail` a sentence's rest for people. `upload_id` is the
    upload whose lock must be held while it is looked at again and repaired.
    """

    problem: str
    name: str
    upload_id: str
    detail: str
    remedy: Remedy = Remedy.NONE


@runtime_checkable
class Lister(Protocol):
    """A store that can list its uploads."""

    @abstractmethod
    def uploads(self) -> Iterator[UploadInfo]:
        """Every upload with its true offset, tombstones too; what cannot be read is passed over."""


class Audit(Protocol):
    """One look at a whole store, which may be in use meanwhile."""

    @abstractmethod
    def count(self) -> int:
        """How many names `damages` will look at, about."""

    @abstractmethod
    def damages(self) -> Iterator[Damage | None]:
        """For each name, None or what is wrong with it. What is in use may seem damaged: see `confirm`."""

    @abstractmethod
    def confirm(self, damage: Damage) -> bool:
        """Whether it is still there. Decides with the upload's lock held."""

    @abstractmethod
    def repair(self, damage: Damage) -> None:
        """Do what the remedy says, with the upload's lock held. Raises StoreError, TusError."""


@runtime_checkable
class Auditor(Protocol):
    """A store that can be verified."""

    @abstractmethod
    def audit(self) -> Audit:
        """A look at the store as it is now."""
