"""The import rules: who may know whom. Read from the syntax trees; imports for type checking alone do not count."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tuspy_server"
CORE = {"errors", "models", "config"}
WATCHED = {"observability.watched", "observability.observer"}
PURE_WERKZEUG = {"werkzeug.http", "werkzeug.datastructures"}

# What the modules of a layer may import: parts of this package, and modules of others. None: anything but `forbidden`.
ALLOWED: dict[str, tuple[set[str], set[str] | None]] = {
    "errors": ({"models"}, set()),
    "models": (set(), set()),
    "config": ({"models"}, set()),
    "gauge": (set(), set()),
    "protocol": (CORE | {"protocol"}, PURE_WERKZEUG | {"http_sf", "google_crc32c"}),
    "interfaces": ({"models", "errors"}, set()),
    "caps": (CORE, set()),
    "observability.observer": ({"models", "errors"}, set()),
    "composer": ({"interfaces", "models", "errors"}, set()),
    "hooks.events": ({"interfaces", "models", "errors"}, set()),
    "loops": (set(), set()),
    "callers": ({"loops"}, {"anyio", "sniffio", "trio"}),
    "runtime": (CORE | {"callers", "interfaces", "composer", "hooks.events", "observability.observer"}, set()),
    "engine": (CORE | {"caps", "engine", "protocol", "interfaces", "composer", "hooks.events"}, set()),
    "observability.wrapping": ({"callers", "engine", "models", "observability.observer", "runtime"}, set()),
    "observability.queues": ({"callers", "models", "observability.observer"}, {"anyio"}),
    "observability.watched": (
        {"composer", "config", "engine", "hooks.events", "observability", "runtime"},
        set(),
    ),
    "observability": (
        CORE | {"observability.measuring", "observability.observer"},
        {"prometheus_client", "opentelemetry"},
    ),
    "wsgi": (
        CORE
        | WATCHED
        | {"callers", "engine", "runtime", "composer", "interfaces", "protocol", "hooks.events", "servers"},
        {"werkzeug.wsgi"},
    ),
    "asgi": (
        CORE
        | WATCHED
        | {
            "asgi",
            "callers",
            "engine",
            "runtime",
            "composer",
            "interfaces",
            "protocol",
            "hooks.events",
            "servers",
            "gauge",
        },
        {"anyio"},
    ),
    "backends": ({"backends", "errors"}, None),
    "stores": ({"stores", "interfaces", "models", "errors", "backends"}, None),
    "lockers": ({"lockers", "interfaces", "models", "errors", "backends"}, None),
}
UNCLOCKED = {"io", "os", "time", "socket", "threading", "asyncio", "selectors", "subprocess", "random", "secrets"}
FORBIDDEN_STDLIB = {"protocol": UNCLOCKED, "engine": {"asyncio", "threading", "concurrent"}}
BACK_ENDS = {
    "stores": {"file", "memory", "s3", "gcs", "azure"},
    "lockers": {"memory", "file", "redis", "etcd", "consul", "dynamodb", "postgres", "object_store"},
}


def modules() -> list[str]:
    """Dotted names below the package, without its own."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [".".join(file.relative_to(PACKAGE).with_suffix("").parts) for file in files]


def imports(name: str) -> Iterator[str]:
    """Everything a module imports, at its top or in a function, by absolute name."""
    tree = ast.parse((PACKAGE / Path(*name.split("."))).with_suffix(".py").read_text())
    yield from _walk(tree)


def _walk(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield from _walk(other)
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from _targets(node)
        else:
            yield from _walk(node)


def _targets(node: ast.ImportFrom) -> Iterator[str]:
    module = node.module or ""
    for each in node.names:
        inner = f"{module}.{each.name}"
        is_module = module.partition(".")[0] == "tuspy_server" and _exists(inner)
        yield inner if is_module else module


def _exists(dotted: str) -> bool:
    path = PACKAGE.joinpath(*dotted.split(".")[1:])
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def layer(name: str) -> str:
    return name if name in ALLOWED else name.partition(".")[0]


def is_within(name: str, parts: set[str]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


@pytest.mark.parametrize("name", [name for name in modules() if layer(name) in ALLOWED])
def test_a_module_imports_only_what_its_layer_may(name: str) -> None:
    ours, others = ALLOWED[layer(name)]
    banned = FORBIDDEN_STDLIB.get(layer(name), set())
    for imported in imports(name):
        top, _, rest = imported.partition(".")
        if top == "tuspy_server":
            assert rest == "" or is_within(rest, ours), f"{name} imports {imported}"
        elif top in sys.stdlib_module_names:
            assert not is_within(imported, banned), f"{name} imports {imported}"
        elif others is not None:
            assert is_within(imported, others), f"{name} imports {imported}"


@pytest.mark.parametrize("name", [name for name in modules() if layer(name) in ("stores", "lockers")])
def test_a_back_end_imports_no_loop_and_no_framework(name: str) -> None:
    for imported in imports(name):
        assert not is_within(imported, {"anyio", "trio", "uvicorn", "gunicorn", "starlette", "flask"}), imported


@pytest.mark.parametrize(("kind", "names"), BACK_ENDS.items())
def test_back_ends_do_not_know_each_other(kind: str, names: set[str]) -> None:
    for name in modules():
        if layer(name) == kind:
            others = {f"tuspy_server.{kind}.{other}" for other in names} - {f"tuspy_server.{name}"}
            assert not others & set(imports(name)), name


def test_only_main_imports_the_command_and_nobody_the_conformance_suites() -> None:
    for name in modules():
        for imported in imports(name):
            if is_within(imported, {"tuspy_server.cli"}):
                assert name == "__main__" or layer(name) == "cli"
            if is_within(imported, {"tuspy_server.testing"}):
                assert layer(name) == "testing"


def test_importing_the_package_imports_no_server_no_sdk_and_no_loop() -> None:
    probe = "import sys, tuspy_server; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {
        *("uvicorn", "gunicorn", "httptools", "uvloop", "trio", "anyio", "asyncio", "click"),
        *("boto3", "botocore", "google", "azure", "redis", "etcd3", "grpc", "httpx", "psycopg", "consul"),
        *("flask", "starlette", "fastapi", "django", "prometheus_client", "opentelemetry"),
    }
