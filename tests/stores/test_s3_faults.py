"""Every single call to S3 fails once, in every way: nothing acknowledged is lost, everything can be resumed.

TUSPY_SERVER_CAMPAIGN=1 strikes every call in every way on SeaweedFS, every call in at least one way before it acts
and one after on moto, and some on Ceph; otherwise it is a sample on moto.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from tests.servers import s3 as servers
from tests.servers.s3 import close_clients as close_clients
from tests.servers.s3_faults import FAULTS, Fault, Faults
from tests.stores.s3_client import Upload
from tuspy_server.backends.s3 import Bucket
from tuspy_server.models import Kind
from tuspy_server.stores.s3 import S3Store
from tuspy_server.stores.s3_parts import PartLimits

CAMPAIGN = bool(os.environ.get("TUSPY_SERVER_CAMPAIGN"))
Start = Callable[[], servers.S3Server]

#: Which of the calls are struck: every, every third, ...
STRIDES: dict[Start, int] = (
    {servers.seaweedfs: 1, servers.moto: 3, servers.radosgw: 21} if CAMPAIGN else {servers.moto: 60}
)
LAST = 1000 if CAMPAIGN else 60

Scenario = Callable[[S3Store, int], None]

_prefixes = (f"faults-{n}/" for n in itertools.count())


@pytest.fixture(autouse=True)
def disk_is_given_back() -> Iterator[None]:
    """Each row of the campaign writes gigabytes."""
    yield
    if CAMPAIGN:
        servers.end_seaweedfs()


def some_bytes(size: int) -> bytes:
    return bytes(n * 31 % 251 for n in range(min(size, 251 * 256))) * (size // (251 * 256) + 1)


def resumed_upload(store: S3Store, unit: int) -> None:
    """Tails, parts of the minimum, one byte less, several parts at once, a last part that is small."""
    data = some_bytes(unit * 17 // 2)[: unit * 17 // 2]
    upload = Upload(store, data)
    for stop in (unit // 3, unit - 1, unit, 2 * unit - 1, 6 * unit + 7, len(data)):
        upload.append_to(stop)
    ended(upload)


def fenced_upload_of_unknown_length(store: S3Store, unit: int) -> None:
    data = some_bytes(5 * unit)[: 5 * unit - 3]
    upload = Upload(store, data, fenced=True, deferred=True)
    for stop in (unit + 1, 3 * unit, len(data)):
        upload.append_to(stop)
    upload.declare()
    ended(upload)


def checksummed_upload(store: S3Store, unit: int) -> None:
    data = some_bytes(6 * unit)[: 6 * unit]
    upload = Upload(store, data)
    for stop in (10, 5 * unit, len(data)):
        upload.append_to(stop, staged=True)
    ended(upload)


def concatenation(store: S3Store, unit: int) -> None:
    contents = [some_bytes(size)[:size] for size in (3 * unit, unit // 2, 0, 2 * unit)]
    parts = [Upload(store, content, kind=Kind.PARTIAL) for content in contents]
    for part in parts:
        part.append_to(len(part.data))
        part.finish()
    final = Upload(store, b"".join(contents), kind=Kind.FINAL, parts=[part.id for part in parts])
    final.concat(parts)
    ended(final)
    for part in parts:
        assert part.content() == part.data


def ended(upload: Upload) -> None:
    upload.finish()
    assert upload.content() == upload.data
    upload.terminate()


def store_on(server: servers.S3Server, fault: Fault | None, at: int, attempts: int) -> tuple[S3Store, Faults]:
    client = server.client(retries={"total_max_attempts": attempts, "mode": "standard"})
    faults = Faults(client, fault, at)
    unit = server.min_part_size
    limits = PartLimits(part_size=2 * unit, min_part_size=unit)
    bucket = Bucket(servers.BUCKET, client=client)
    kept = server.conditional_writes
    store = S3Store(bucket, prefix=next(_prefixes), limits=limits, concurrency=3, conditional_writes=kept)
    return store, faults


def strike_in_turn(server: servers.S3Server, scenario: Scenario, fault: Fault, turns: range, attempts: int) -> None:
    """A life for each of the calls, until there are no more calls."""
    for at in turns:
        store, faults = store_on(server, fault, at, attempts)
        try:
            scenario(store, server.min_part_size)
        except Exception as exc:
            raise AssertionError(f"{fault.value} at call {at}, {faults.struck}") from exc
        if faults.struck is None:
            return


@pytest.mark.parametrize("start", STRIDES, ids=lambda start: start.__name__)
@pytest.mark.parametrize(
    "scenario", [resumed_upload, fenced_upload_of_unknown_length, checksummed_upload, concatenation]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_may_fail_once(start: Start, scenario: Scenario, fault: Fault) -> None:
    stride, number = STRIDES[start], FAULTS.index(fault)
    first = (number * max(1, stride // len(FAULTS)) + 3) % stride
    strike_in_turn(start(), scenario, fault, range(first, LAST, stride), attempts=1)


@pytest.mark.parametrize("scenario", [resumed_upload, concatenation])
@pytest.mark.parametrize(("first", "fault"), [(0, Fault.TIMEOUT), (1, Fault.INTERNAL_ERROR_AFTER)])
def test_what_the_sdk_repeats_is_never_taken_for_somebody_else(scenario: Scenario, first: int, fault: Fault) -> None:
    turns = range(first, LAST, 2 if CAMPAIGN else 60)
    strike_in_turn(servers.moto(), scenario, fault, turns, attempts=3)
