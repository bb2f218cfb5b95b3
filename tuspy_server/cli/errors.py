"""What is wrong with the flags, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class SettingsError(ValueError):
    """Flags that contradict each other, or that need what is not installed."""


@contextmanager
def extra(flag: str, name: str) -> Iterator[None]:
    """Say which extra of the package a flag needs, if an import inside fails."""
    try:
        yield
    except ModuleNotFoundError as exc:
        raise SettingsError(f"{flag} needs {exc.name}: pip install 'tuspy-server[{name}]'") from exc
    except ValueError as exc:
        raise SettingsError(f"{flag}: {exc}") from exc
