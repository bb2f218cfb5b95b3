"""The permissions that docs/stores/s3.md names, on a server that enforces IAM policies: enough, and each needed.

moto asks for s3:DeleteObject on the bucket where a request deletes several objects, AWS on each of them: the policies
here allow both.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import boto3  # type: ignore[import-untyped, unused-ignore]
import pytest

from tests.servers import s3 as servers
from tests.servers.ports import free_port
from tests.servers.processes import ServerProcess
from tests.servers.s3 import close_clients as close_clients
from tests.stores.permissions import PIECE, Trial, page
from tuspy_server.backends.s3 import Bucket
from tuspy_server.stores.s3 import S3Store
from tuspy_server.stores.s3_parts import PartLimits

NEEDED = page("s3.md")
#: The bucket, and the three calls that make each user: before these, nobody may do anything.
FREE_CALLS = 1 + 3 * (len(NEEDED) + 1)

Keys = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def users() -> Iterator[tuple[str, Keys]]:
    """The server's URL, and by the permission that it lacks each user's key."""
    pytest.importorskip("moto", reason="moto is not installed")
    port = free_port()
    environ = {"INITIAL_NO_AUTH_ACTION_COUNT": str(FREE_CALLS), "S3_UPLOAD_PART_MIN_SIZE": str(servers.SMALL_PART)}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = ServerProcess(command, port, environ=environ)
    try:
        process.wait_until_accepting()
        url = f"http://127.0.0.1:{port}"
        servers.S3Server("iam", url, servers.SMALL_PART).client().create_bucket(Bucket=servers.BUCKET)
        session = boto3.session.Session(servers.KEY_ID, servers.SECRET, region_name="us-east-1")
        iam = session.client("iam", endpoint_url=url)
        keys = {lacking: _new_user(iam, number, lacking) for number, lacking in enumerate(["", *NEEDED])}
        iam.close()
        yield url, keys
    finally:
        process.stop()


def _new_user(iam: Any, number: int, lacking: str) -> tuple[str, str]:
    resources = [f"arn:aws:s3:::{servers.BUCKET}", f"arn:aws:s3:::{servers.BUCKET}/*"]
    allowed = [action for action in NEEDED if action != lacking]
    statement = {"Effect": "Allow", "Action": allowed, "Resource": resources}
    name = f"user-{number}"
    iam.create_user(UserName=name)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="store", PolicyDocument=policy)
    made = iam.create_access_key(UserName=name)["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


@contextmanager
def store_of(users: tuple[str, Keys], lacking: str) -> Iterator[S3Store]:
    url, keys = users
    session = boto3.session.Session(*keys[lacking], region_name="us-east-1")
    limits = PartLimits(part_size=PIECE, min_part_size=servers.SMALL_PART)
    with closing(session.client("s3", endpoint_url=url)) as client:
        yield S3Store(Bucket(servers.BUCKET, client=client), prefix="all", limits=limits)


def failing(users: tuple[str, Keys], lacking: str) -> set[str]:
    """What fails without a permission."""
    with store_of(users, "") as entitled, store_of(users, lacking) as poor:
        return Trial(entitled, poor).failing()


def test_permissions_the_page_names_are_enough(users: tuple[str, Keys]) -> None:
    assert failing(users, "") == set()


@pytest.mark.parametrize("lacking", NEEDED)
def test_without_a_permission_fails_what_the_page_says(users: tuple[str, Keys], lacking: str) -> None:
    assert failing(users, lacking) == NEEDED[lacking] != set()
