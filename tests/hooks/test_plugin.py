from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hooks.samples import event
from tuspy_server.errors import RejectUpload
from tuspy_server.hooks.events import Hooks
from tuspy_server.hooks.plugin import PluginHooks
from tuspy_server.models import HookResult

Write = Callable[[str], str]

PLUGIN = """
from tuspy_server import HookResult, Hooks, RejectUpload

log = []

class Plugin:
    def setup(self):
        log.append("setup")

    def close(self):
        log.append("close")

    def pre_create(self, event):
        raise RejectUpload("no", status=403)

    async def post_finish(self, event):
        log.append(event.upload.id)
        return HookResult(id="async")

ready = Plugin()

class Holder:
    nested = ready

def pre_access(event):
    return None

hooks = Hooks(post_create=[pre_access, pre_access])

class Misspelt:
    def pre_creat(self, event): ...

class Empty:
    pre_create = None
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module and return its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> str:
        name = f"plugin_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


@pytest.mark.parametrize("path", ["Plugin", "ready", "Holder.nested"])
def test_a_class_an_object_and_a_path_to_one_are_plugins(write: Write, path: str) -> None:
    plugin = PluginHooks(f"{write(PLUGIN)}:{path}")
    hooks = Hooks(**plugin.hooks())
    (pre_create,) = hooks.of("pre_create")
    with pytest.raises(RejectUpload, match="no"):
        pre_create(event("pre_create"))
    (post_finish,) = hooks.of("post_finish")
    told = post_finish(event())
    assert inspect.iscoroutine(told)
    assert asyncio.run(told) == HookResult(id="async")
    assert not hooks.of("pre_access")


def test_setup_runs_once_at_the_start_and_close_at_the_end(write: Write) -> None:
    name = write(PLUGIN)
    plugin = PluginHooks(f"{name}:Plugin")
    plugin.close()
    log = __import__(name).log
    assert log == ["setup", "close"]


def test_a_module_s_hooks_object_is_a_plugin(write: Write) -> None:
    plugin = PluginHooks(f"{write(PLUGIN)}:hooks")
    hooks = Hooks(**plugin.hooks())
    assert (len(hooks.of("post_create")), len(hooks.of("pre_create"))) == (2, 0)
    plugin.close()


def test_only_enabled_events_have_hooks(write: Write) -> None:
    plugin = PluginHooks(f"{write(PLUGIN)}:Plugin", events=["post-finish", "post-create"])
    assert list(plugin.hooks()) == ["post_finish"]


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [
        ("", "write module:object"),
        (":", "write module:object"),
        (":Nowhere", "is not there: module .* has no attribute 'Nowhere'"),
        (":Misspelt", "pre_creat of the plugin .* is no hook: there are pre_access, pre_create"),
        (":Empty", "has none of the hooks"),
        ("_other:x", "is not there: No module named"),
    ],
)
def test_a_name_that_leads_nowhere_is_explained(write: Write, suffix: str, reason: str) -> None:
    name = write(PLUGIN)
    with pytest.raises(ValueError, match=reason):
        PluginHooks(f"{name}{suffix}")


def test_an_import_that_fails_inside_the_plugin_is_not_hidden(write: Write) -> None:
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        PluginHooks(f"{write('import nothing_of_this_name')}:x")
