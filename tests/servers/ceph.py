"""Ceph's object gateway on one monitor and one object store in memory, all on loopback."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.ports import free_ports
from tests.servers.processes import ServerProcess

_PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin")
_CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
keyring = {folder}/keyring
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
[client.rgw.a]
rgw frontends = beast endpoint=127.0.0.1:{rgw}
rgw data = {folder}/rgw
rgw dns name = localhost
"""
_KEYS = {
    "mon.": ["--cap", "mon", "allow *"],
    "client.admin": ["--cap", "mon", "allow *", "--cap", "osd", "allow *"],
    "osd.0": ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"],
    "client.rgw.a": ["--cap", "mon", "allow rw", "--cap", "osd", "allow rwx"],
}


class Cluster:
    """A cluster of its own with one user of the gateway; `url` is the gateway's. Skips where Ceph is not installed."""

    def __init__(self, key_id: str, secret: str) -> None:
        # Debian keeps the daemons where a user's PATH does not look
        self._path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
        for name in _PROGRAMS:
            if shutil.which(name, path=self._path) is None:
                pytest.skip(f"Ceph's {name} is not installed (apt install radosgw ceph-osd ceph-mon ceph-common)")
        self._folder = Path(tempfile.mkdtemp(prefix="ceph-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._mon, rgw = free_ports(2, shift=0)
        self.url = f"http://127.0.0.1:{rgw}"
        self._configure(rgw)
        self._start_mon()
        self._start_osd()
        self._start("radosgw", "-f", "-n", "client.rgw.a", port=rgw).wait_until_accepting()
        user = ["--uid=t", "--display-name=t", f"--access-key={key_id}", f"--secret={secret}"]
        self._run("radosgw-admin", "user", "create", *user)

    def _configure(self, rgw: int) -> None:
        for name in ("mon", "osd", "rgw"):
            (self._folder / name).mkdir()
        self._fsid = str(uuid.uuid4())
        text = _CONFIG.format(fsid=self._fsid, folder=self._folder, mon=self._mon, rgw=rgw)
        (self._folder / "ceph.conf").write_text(text)
        keyring = str(self._folder / "keyring")
        self._plain("ceph-authtool", "--create-keyring", keyring)
        for name, caps in _KEYS.items():
            self._plain("ceph-authtool", keyring, "--gen-key", "-n", name, *caps)

    def _start_mon(self) -> None:
        monmap, keyring = str(self._folder / "monmap"), str(self._folder / "keyring")
        where = f"[v2:127.0.0.1:{self._mon}]"
        self._plain("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", where, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._start("ceph-mon", "-f", "-i", "a", port=self._mon).wait_until_accepting()
        self._run("ceph", "auth", "import", "-i", keyring)

    def _start_osd(self) -> None:
        name = str(uuid.uuid4())
        self._run("ceph", "osd", "new", name, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", name)
        self._start("ceph-osd", "-f", "-i", "0", port=0)
        deadline = time.monotonic() + 60
        while "1 up" not in self._run("ceph", "osd", "stat"):
            assert time.monotonic() < deadline, "the object store does not come up"
            time.sleep(0.5)

    def _start(self, *words: str, port: int) -> ServerProcess:
        return ServerProcess([*words, "-c", str(self._folder / "ceph.conf")], port, environ={"PATH": self._path})

    def _run(self, *words: str) -> str:
        return self._plain(*words, "-c", str(self._folder / "ceph.conf"))

    def _plain(self, *words: str) -> str:
        done = self._called(words)
        assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
        return done.stdout

    def _called(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PATH": self._path}
        return subprocess.run(words, env=environ, cwd=self._folder, capture_output=True, text=True, timeout=120)
