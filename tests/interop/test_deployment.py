"""Dockerfile, compose file and Traefik's configuration: read as their programs would, and started without them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Served
from tests.servers.running import ROOT
from tuspy_server.cli.command import command
from tuspy_server.cli.settings import Settings

INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "ENTRYPOINT", "HEALTHCHECK"}
SECURE_MOUNTS = 'mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@"'


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def loaded(name: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((ROOT / "docs" / name).read_text())


def image_environment() -> dict[str, str]:
    pairs = [pair for name, rest in dockerfile() if name == "ENV" for pair in rest.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_image_is_built_in_two_stages_and_runs_as_nobody_special() -> None:
    names = [name for name, _ in dockerfile()]
    assert set(names) <= INSTRUCTIONS
    assert names.count("FROM") == 2
    last = dockerfile()[len(names) - 1 - names[::-1].index("FROM") :]
    assert [rest for name, rest in last if name == "USER"] == ["tus"]
    assert not [rest for name, rest in last if name == "COPY" and not rest.startswith("--from=build")]
    for name, rest in last:
        if name in ("ENTRYPOINT", "HEALTHCHECK"):
            assert json.loads(rest[rest.index("[") :])


def test_the_image_has_what_it_copies_and_extras_that_exist() -> None:
    for name, rest in dockerfile():
        if name == "COPY" and not rest.startswith("--"):
            assert all((ROOT / source).exists() for source in rest.split()[:-1])
    extras = re.search(r"'\.\[([a-z0-9,]+)\]'", (ROOT / "Dockerfile").read_text())
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_the_entry_point_serves_on_a_root_that_is_read_only(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    probe = ["unshare", "--mount", "sh", "-c", SECURE_MOUNTS, str(tmp_path)]
    if subprocess.run([*probe, "true"], capture_output=True).returncode:
        pytest.skip("no mounts of our own here")
    environment = {**image_environment(), "TUSPY_SERVER_UPLOAD_DIR": str(tmp_path)}
    del environment["PATH"]
    script = tmp_path / "python"  # `Served` starts it as it starts Python
    script.write_text(f'#!/bin/sh\nexec {" ".join(map(_quoted, probe))} {sys.executable} "$@"\n')
    script.chmod(0o755)
    with Served(tmp_path, environment=environment, python=str(script)) as served:
        with pytest.raises(OSError, match="Read-only"):
            (Path(f"/proc/{served.process.pid}/root") / "etc" / "tuspy-server-test").touch()
        assert served.request("GET", served.upload(b"hello"))[2] == b"hello"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def test_the_compose_file_sets_flags_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    services = loaded("compose.yml")["services"]
    tus = services["tus"]
    assert tus["read_only"] is True
    known = {f"TUSPY_SERVER_{str(option.name).upper()}" for option in command().params}
    given = {name: value for name, value in tus["environment"].items() if name.startswith("TUSPY_SERVER_")}
    assert set(given) <= known
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.of(command().make_context("tuspy-server", []).params)
    assert settings.s3.s3_bucket == "uploads"
    assert settings.locks.locker.startswith("redis://redis:")
    assert settings.location.behind_proxy
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
    assert services["s3"]["environment"]["MINIO_ROOT_PASSWORD"] == tus["environment"]["AWS_SECRET_ACCESS_KEY"]


def test_traefik_s_router_leads_to_its_service() -> None:
    http = loaded("proxies/traefik.yml")["http"]
    (router,) = http["routers"].values()
    (server,) = http["services"][router["service"]]["loadBalancer"]["servers"]
    assert "PathPrefix(`/files/`)" in router["rule"]
    assert server["url"] == "http://127.0.0.1:8080"
    assert not {"buffering"} & set(http.get("middlewares", {}))
