"""The servers under test: how each is started, what it can do, and why it may be missing here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
_UVICORN = ["-m", "uvicorn", "--host", "127.0.0.1", "--no-access-log", "--log-level", "warning"]

WITH_UPLOAD = "creation-with-upload"
HEAD_COMPLETE = "HEAD of a complete upload"
DOWNLOAD = "download"
CHECKSUM = "checksum"
DURABILITY = "durability"
PLAIN_FILES = "the data file is named by the upload's id"
MANY_CLIENTS = "a slow client holds no thread"
TUS = frozenset({WITH_UPLOAD, HEAD_COMPLETE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one server runs: an unused port, a fresh directory, and the durability asked of our file store."""

    port: int
    directory: Path
    durability: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A way to start a server. `missing` says why it cannot be started here, None if it can."""

    name: str
    command: Callable[[Place], list[str]]
    missing: Callable[[], str | None]
    features: frozenset[str] = TUS
    environment: Mapping[str, str] = field(default_factory=dict)
    path: str = "/files/"
    puts: bool = False

    def variables(self, place: Place) -> dict[str, str]:
        """The environment to start it with."""
        return {
            **os.environ,
            "BENCH_DIRECTORY": str(place.directory),
            "BENCH_DURABILITY": place.durability,
            "BENCH_PORT": str(place.port),
            **self.environment,
        }


@cache
def _importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _needs(*modules: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        absent = [module for module in modules if not _importable(module)]
        return f"not installed: {', '.join(absent)}" if absent else None

    return missing


@cache
def _package_works() -> str | None:
    probe = "from tuspy_server import ASGIApp, WSGIApp, Composer, Config, FileStore, FileLocker"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=_HERE.parent.parent)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def _ours(*modules: str) -> Callable[[], str | None]:
    return lambda: _needs(*modules)() or _package_works()


def _uvicorn(app: str, *more: str) -> Callable[[Place], list[str]]:
    return lambda place: [sys.executable, *_UVICORN, "--port", str(place.port), *more, app]


def _gunicorn(app: str, *more: str) -> Callable[[Place], list[str]]:
    options = ["--workers", "1", "--keep-alive", "30", "--log-level", "warning"]
    return lambda place: [
        *(sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{place.port}"),
        *(*options, *more, app),
    ]


def _gthread(app: str) -> Callable[[Place], list[str]]:
    return _gunicorn(app, "--worker-class", "gthread", "--threads", "16")


def _granian(app: str, *more: str) -> Callable[[Place], list[str]]:
    options = ["--host", "127.0.0.1", "--workers", "1", "--log-level", "warning", "--no-access-log", "--factory"]
    return lambda place: [sys.executable, "-m", "granian", *options, "--port", str(place.port), *more, app]


def _hypercorn(app: str) -> Callable[[Place], list[str]]:
    return lambda place: [sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{place.port}", app]


def _command(place: Place) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(place.port), "--upload-dir", str(place.directory)]
    return [sys.executable, "-m", "tuspy_server", *options, "--durability", place.durability]


def _command_with(*more: str) -> Callable[[Place], list[str]]:
    return lambda place: [*_command(place), *more]


def tusd_binary() -> str | None:
    """TUSD_BINARY, the PATH, GOBIN, GOPATH/bin, ~/go/bin, in this order."""
    if named := os.environ.get("TUSD_BINARY"):
        return named
    go_paths = [Path(path, "bin") for path in os.environ.get("GOPATH", "").split(os.pathsep) if path]
    folders = [os.environ.get("GOBIN", ""), *map(str, go_paths), str(Path.home() / "go" / "bin")]
    return shutil.which("tusd") or shutil.which("tusd", path=os.pathsep.join(filter(None, folders)))


def _tusd(place: Place) -> list[str]:
    options = ["-host", "127.0.0.1", "-port", str(place.port), "-upload-dir", str(place.directory)]
    return [tusd_binary() or "tusd", *options]


def _no_tusd() -> str | None:
    return None if tusd_binary() else "no tusd: go install github.com/tus/tusd/v2/cmd/tusd@latest, or TUSD_BINARY"


_NGINX = """
daemon off; master_process off; worker_processes 1; error_log /dev/null; pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; client_body_temp_path {directory}/body; keepalive_requests 100000000;
  fastcgi_temp_path {directory}/a; proxy_temp_path {directory}/b;
  scgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d;
  server {{ listen 127.0.0.1:{port}; root {directory}; location / {{ dav_methods PUT; create_full_put_path on; }} }}
}}
"""


def _nginx(place: Place) -> list[str]:
    settings = place.directory / "nginx.conf"
    settings.write_text(_NGINX.format(directory=place.directory, port=place.port))
    return [_nginx_binary() or "nginx", "-c", str(settings)]


def _nginx_binary() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _no_nginx() -> str | None:
    binary = _nginx_binary()
    if binary is None:
        return "no nginx"
    built = subprocess.run([binary, "-V"], capture_output=True, text=True).stderr
    return None if "http_dav_module" in built else "nginx without its dav module"


def _node(place: Place) -> list[str]:
    script = str(_HERE / "node_server.mjs")
    return ["node", script, os.environ.get("BENCH_NODE_MODULES", ""), str(place.port), str(place.directory)]


def _no_node() -> str | None:
    modules = os.environ.get("BENCH_NODE_MODULES", "")
    if shutil.which("node") is None or not Path(modules, "@tus", "server").exists():
        return "BENCH_NODE_MODULES names no node_modules with @tus/server and @tus/file-store"
    return None


def _peers_python() -> str:
    return os.environ.get("BENCH_PEERS_PYTHON", sys.executable)


def _peer(name: str, features: frozenset[str], path: str = "/files/") -> Server:
    def command(place: Place) -> list[str]:
        return [_peers_python(), *_UVICORN, "--port", str(place.port), "--factory", f"tests.benchmarks.peers:{name}"]

    @cache
    def missing() -> str | None:
        probe = subprocess.run([_peers_python(), "-c", f"import {name}, uvicorn"], capture_output=True)
        return f"{name} is not importable by BENCH_PEERS_PYTHON" if probe.returncode else None

    return Server(name=name.replace("_", "-"), command=command, missing=missing, features=features, path=path)


_OURS = TUS | {DOWNLOAD, CHECKSUM, DURABILITY, PLAIN_FILES}
_OURS_ASYNC = _OURS | {MANY_CLIENTS}
_BARE = TUS | {PLAIN_FILES}
_ASGI = "tests.benchmarks.apps:asgi"
_WSGI = "tests.benchmarks.apps:wsgi"
_NO_MOVES = {"BENCH_KERNEL_MOVES": "0"}

SERVERS: tuple[Server, ...] = (
    Server(name="tusd", command=_tusd, missing=_no_tusd, features=TUS | {DOWNLOAD, PLAIN_FILES, MANY_CLIENTS}),
    Server(
        name="bare-uvicorn",
        command=_uvicorn("tests.benchmarks.bare:asgi"),
        missing=_needs("uvicorn"),
        features=_BARE | {MANY_CLIENTS},
    ),
    Server(
        name="bare-gunicorn", command=_gthread("tests.benchmarks.bare:wsgi"), missing=_needs("gunicorn"), features=_BARE
    ),
    Server(name="ours-command", command=_command, missing=_ours("uvicorn"), features=_OURS_ASYNC),
    Server(name="ours-uvicorn", command=_uvicorn(_ASGI, "--factory"), missing=_ours("uvicorn"), features=_OURS_ASYNC),
    Server(
        name="ours-uvicorn-plain",
        command=_uvicorn(_ASGI, "--factory"),
        missing=_ours("uvicorn"),
        features=_OURS_ASYNC,
        environment=_NO_MOVES,
    ),
    Server(name="ours-gunicorn", command=_gthread(f"{_WSGI}()"), missing=_ours("gunicorn"), features=_OURS),
    Server(
        name="ours-gunicorn-plain",
        command=_gthread(f"{_WSGI}()"),
        missing=_ours("gunicorn"),
        features=_OURS,
        environment=_NO_MOVES,
    ),
    Server(
        name="ours-gunicorn-asgi",
        command=_gunicorn(f"{_ASGI}()", "--worker-class", "asgi"),
        missing=_ours("gunicorn"),
        features=_OURS_ASYNC,
    ),
    Server(
        name="ours-granian",
        command=_granian(_ASGI, "--interface", "asgi"),
        missing=_ours("granian"),
        features=_OURS_ASYNC,
    ),
    Server(name="ours-hypercorn", command=_hypercorn(f"{_ASGI}()"), missing=_ours("hypercorn"), features=_OURS_ASYNC),
)

OPTIONAL: tuple[Server, ...] = (
    Server(
        name="ours-command-metrics",
        command=_command_with("--metrics"),
        missing=_ours("uvicorn", "prometheus_client"),
        features=_OURS_ASYNC,
    ),
    _peer("tuspyserver", TUS | {MANY_CLIENTS}),
    _peer("fastapi_tusd", frozenset({HEAD_COMPLETE, MANY_CLIENTS}), path="/files"),
    _peer("tussi", frozenset({MANY_CLIENTS})),
    _peer("resumable_upload", TUS | {MANY_CLIENTS}),
    Server(name="node", command=_node, missing=_no_node, features=TUS | {MANY_CLIENTS}),
    Server(
        name="nginx",
        command=_nginx,
        missing=_no_nginx,
        features=frozenset({WITH_UPLOAD, MANY_CLIENTS}),
        path="/",
        puts=True,
    ),
)


def find(names: list[str]) -> list[Server]:
    """The named servers; a name may end in `*`. Raises ValueError for a name nobody has."""
    everything = SERVERS + OPTIONAL
    found: list[Server] = []
    for name in names:
        if name.endswith("*"):
            matches = [server for server in everything if server.name.startswith(name[:-1])]
        else:
            matches = [server for server in everything if server.name == name]
        if not matches:
            raise ValueError(f"no server is called {name!r}; known: {', '.join(server.name for server in everything)}")
        found += [server for server in matches if server not in found]
    return found
