"""Everything that is checked: `pip install nox && nox` runs the default sessions, `nox -l` lists all.

Pythons, servers, browsers and other programs that are missing here are skipped and named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import nox

HERE = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def _works(program: str) -> bool:
    """Whether a Python answers; pyenv leaves names on the PATH that start nothing."""
    try:
        return subprocess.run([program, "-c", ""], capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def _installed(version: str) -> Iterator[str]:
    """Where this version may be: on the PATH, or among pyenv's."""
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, pyenv.glob(f"versions/{version}.*/bin/python{version}"))


def _find(version: str) -> bool:
    """Make `python{version}` the first on the PATH that works."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return True
    for program in _installed(version):
        if _works(program):
            os.environ["PATH"] = os.pathsep.join([str(Path(program).parent), os.environ["PATH"]])
            return True
    print(f"without Python {version}: not installed", file=sys.stderr)
    return False


def _paths(session: str) -> list[str]:
    """The files that a session with servers runs."""
    found = {str(path.relative_to(HERE)) for pattern in SERVERS[session] for path in HERE.glob(pattern)}
    return sorted(found - {*SERVERLESS, *SIMULATED})


FOUND = [version for version in PYTHONS if _find(version)]

TIMED = ["tests/adapters", "tests/benchmarks", "tests/cli"]
README = ["tests/test_readme.py", "tests/docs"]
COVERING = ["tests/protocol", "tests/engine", "tests/observability", "tests/adapters/test_queues.py"]
SERVERS = {
    "object_stores": [
        *("tests/stores/test_s3*.py", "tests/stores/test_gcs*.py", "tests/stores/test_azure*.py"),
        *("tests/stores/test_ledger_redirects.py", "tests/cli/test_azure.py", "tests/cli/test_store_size.py"),
    ],
    "lockers": ["tests/lockers/test_*.py"],
    "interop": [
        *("tests/interop/test_*.py", "tests/hooks/test_tusd.py", "tests/hooks/test_queue.py"),
        "tests/cli/test_services.py",
    ],
    "faults": ["tests/faults/test_*.py"],
}
# Locks on simulators of cloud services: their leases are long and their answers slow, so that the suite takes minutes.
# The short form is what no locker may lack: no two holders, hand-over, the lock of a dead and of a paused process; the
# last two once for each locker, not on each server.
_PROMISES = "exclude_each_other or hands_over or tokens or killed_holder or paused_holder or conditions or keep_nobody"
SHORT = f"({_PROMISES}) and not (SeaweedFS and (killed_holder or paused_holder))"
SIMULATED = [f"tests/lockers/test_{name}.py" for name in ("azure", "dynamodb", "object_store", "object_store_gcs")]
SERVERLESS = [f"tests/lockers/test_{name}.py" for name in ("file", "json_http", "lease", "memory", "polled", "worker")]

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "coverage", "wheel", "docs"]


def _group(*names: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, *names))


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, for faults and for form."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy over everything, pyright over what is shipped."""
    session.install("-e", ".[server,hooks,gcs,azure]", *_group("types"))
    session.run("mypy")
    # by the path of its Python: pyright asks the first on the PATH otherwise, which may be a shim
    session.run("pyright", "--pythonpath", str(Path(session.bin, "python")))


@nox.session(python=FOUND)
def tests(session: nox.Session) -> None:
    """The tests that need no server of others; on the oldest Python also those that measure time, one by one."""
    session.install("-e", ".[server,hooks]", *_group("test"))
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    elsewhere = [f"--ignore={path}" for path in (*README, *SIMULATED, *chain(*map(_paths, SERVERS)))]
    session.run("pytest", "--quiet", "--numprocesses=2", *elsewhere, *(f"--ignore={path}" for path in TIMED))
    if session.python == FOUND[0]:
        session.run("pytest", "--quiet", *TIMED, *elsewhere)


def _with_servers(session: nox.Session, *options: str) -> None:
    paths = _paths(session.name)
    if not paths:
        session.skip("no tests yet")
    session.install("-e", ".[server,hooks]", *_group("test", "back-ends", "interop"))
    session.run("pytest", "--quiet", *options, *(session.posargs or paths))


@nox.session(name="object_stores")
def object_stores(session: nox.Session) -> None:
    """The stores of S3, GCS and Azure against servers and emulators."""
    _with_servers(session)


@nox.session
def lockers(session: nox.Session) -> None:
    """The lockers that need a server; those on simulators of cloud services in their short form."""
    _with_servers(session)
    if not session.posargs:
        session.run("pytest", "--quiet", "-k", SHORT, *SIMULATED)


@nox.session
def interop(session: nox.Session) -> None:
    """Clients, proxies and other tus servers; two files at a time, since they mostly wait."""
    _with_servers(session, "--numprocesses=2", "--dist=loadfile")


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, races and faults, in their short form."""
    _with_servers(session)


def _campaign(session: nox.Session, path: str, *options: str, **environment: str) -> None:
    session.install("-e", ".[server,hooks]", *_group("test", "back-ends", "interop"))
    session.run("pytest", "--quiet", "-s", path, *options, *session.posargs, env=environment)


@nox.session(name="campaign_kill")
def campaign_kill(session: nox.Session) -> None:
    """5000 kills of the command; TUSPY_KILL_SEED chooses another schedule."""
    _campaign(session, "tests/faults/test_kill.py", TUSPY_KILLS="5000")


@nox.session(name="campaign_kill_drafts")
def campaign_kill_drafts(session: nox.Session) -> None:
    """5000 kills under resumable uploads of every version, with eight 104 answers heard before each eighth kill."""
    _campaign(session, "tests/faults/test_kill.py", "-k", "draft", TUSPY_DRAFT_LIVES="5000")


@nox.session(name="campaign_lockers")
def campaign_lockers(session: nox.Session) -> None:
    """Every locker, those on simulators too: 16 processes churn for a minute on each, and outages of all."""
    session.install("-e", ".[server,hooks]", *_group("test", "back-ends", "interop"))
    paths = ["tests/lockers/test_file.py", *_paths("lockers"), *SIMULATED]
    session.run("pytest", "--quiet", *(session.posargs or paths), env={"TUSPY_SERVER_CAMPAIGN": "1"})


@nox.session(name="campaign_object_stores")
def campaign_object_stores(session: nox.Session) -> None:
    """Every call to S3, GCS and Azure fails in turn in every way; kills between every two calls."""
    session.install("-e", ".[server,hooks]", *_group("test", "back-ends", "interop"))
    environment = {"TUSPY_SERVER_CAMPAIGN": "1"}
    session.run("pytest", "--quiet", *(session.posargs or _paths("object_stores")), env=environment)


@nox.session(name="campaign_paused_holders")
def campaign_paused_holders(session: nox.Session) -> None:
    """Processes stopped while they hold a lock: every pair of store and locker that is recommended, five times."""
    _campaign(session, "tests/faults/test_paused_holders.py", TUSPY_SERVER_CAMPAIGN="1")


@nox.session(name="campaign_race")
def campaign_race(session: nox.Session) -> None:
    """2000 rounds of eight clients racing for one offset of two processes."""
    _campaign(session, "tests/faults/test_race.py", TUSPY_RACE_ROUNDS="2000")


@nox.session(name="campaign_two_nodes")
def campaign_two_nodes(session: nox.Session) -> None:
    """200 uploads through two commands and a proxy that cuts connections; TUSPY_TWO_NODES_SEED chooses others."""
    _campaign(session, "tests/interop/test_two_nodes.py", TUSPY_TWO_NODES="200")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it where nothing else is, and use it."""
    session.install("build")
    built = Path(session.create_tmp()) / "dist"
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(built), silent=True)
    (found,) = built.glob("*.whl")
    session.run("python", "tests/wheel.py", str(found), external=False)


@nox.session(python=FOUND[-1])
def docs(session: nox.Session) -> None:
    """The programs of the README and of docs/examples, run."""
    session.install("-e", ".[server,hooks]", *_group("test", "interop"))
    session.run("pytest", "--quiet", *README, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks; arguments as `python -m tests.benchmarks --help` tells."""
    session.install("-e", ".[server]", *_group("test", "interop"), "py-spy")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session(name="bench_s3")
def bench_s3(session: nox.Session) -> None:
    """An upload through the command into S3 beside boto3's own: speed, memory, and what stalled neighbours cost."""
    session.install("-e", ".[server,s3]", *_group("test", "back-ends", "interop"))
    session.run("python", "-m", "tests.benchmarks.s3", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the protocol and the engine: all of it."""
    session.install("-e", ".[server,hooks]", *_group("test"))
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "--quiet", *COVERING)
    session.run("coverage", "combine")
    session.run("coverage", "report", "--show-missing", "--skip-covered", "--fail-under=100")
