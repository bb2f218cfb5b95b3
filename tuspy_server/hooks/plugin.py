"""Hooks from an importable Python object, named `module:object`."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import reduce
from typing import Any, cast

from tuspy_server.hooks.events import HOOK_TYPES, Hook, Hooks
from tuspy_server.hooks.payload import parse_events
from tuspy_server.hooks.transport import HookSet

_PREFIXES = ("pre_", "post_")


class PluginHooks:
    """The hooks an object offers: a Hooks object, or any object, class or module with callables of our hook names.

    A class is called without arguments. `setup()`, if there is one, is called at once; `close()` by our `close`.
    The callables take a HookEvent and may be `def` or `async def`. `events` leaves out those not named; None
    takes all. Raises ValueError for a name that leads nowhere, for an object without hooks, and for a callable
    whose name looks like a hook's but is none.
    """

    def __init__(self, name: str, *, events: Iterable[str] | None = None) -> None:
        self._plugin = _load(name)
        self.events = frozenset(HOOK_TYPES) if events is None else parse_events(events)
        self._found = _hooks_of(self._plugin, name)
        setup = getattr(self._plugin, "setup", None)
        if callable(setup):
            setup()

    def hooks(self) -> HookSet[tuple[Hook, ...]]:
        """The callables for each enabled event, by our hook name."""
        enabled = {name: hooks for name, hooks in self._found.items() if name in self.events}
        return cast("HookSet[tuple[Hook, ...]]", enabled)

    def close(self) -> None:
        close = getattr(self._plugin, "close", None)
        if callable(close):
            close()


def _load(name: str) -> Any:
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise ValueError(f"{name!r} does not name a plugin: write module:object")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise  # the module is there, one that it imports is not
        raise ValueError(f"the plugin {name!r} is not there: {exc}") from exc
    try:
        found: Any = reduce(getattr, path.split("."), module)
    except AttributeError as exc:
        raise ValueError(f"the plugin {name!r} is not there: {exc}") from exc
    return found() if isinstance(found, type) else found


def _hooks_of(plugin: Any, name: str) -> dict[str, tuple[Hook, ...]]:
    if isinstance(plugin, Hooks):
        return {hook_type: plugin.of(hook_type) for hook_type in HOOK_TYPES if plugin.of(hook_type)}
    named = [each for each in dir(plugin) if each.startswith(_PREFIXES) and callable(getattr(plugin, each))]
    strangers = sorted(set(named).difference(HOOK_TYPES))
    if strangers:
        raise ValueError(f"{strangers[0]} of the plugin {name!r} is no hook: there are {', '.join(HOOK_TYPES)}")
    if not named:
        raise ValueError(f"the plugin {name!r} has none of the hooks {', '.join(HOOK_TYPES)}")
    return {hook_type: (getattr(plugin, hook_type),) for hook_type in HOOK_TYPES if hook_type in named}
