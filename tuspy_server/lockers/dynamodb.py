"""Leased locks in a DynamoDB table."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import boto3  # type: ignore[import-untyped, unused-ignore]
from botocore.config import Config  # type: ignore[import-untyped, unused-ignore]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped, unused-ignore]

from tuspy_server.errors import LockerUnavailable
from tuspy_server.lockers.lease import Grant, LeasedLocker, lock_name, network_timeout
from tuspy_server.lockers.polled import Pool, Sightings

_KEPT_AFTER_RELEASE = 7 * 24 * 3600
_BATCH = 100
_REFUSALS = frozenset({"ConditionalCheckFailedException", "ResourceInUseException"})
_NAMES = {"#owner": "owner", "#token": "token", "#beat": "beat"}


class DynamoDBLocker(LeasedLocker):
    """Locks shared by all servers that use one table, whose partition key is the string `name`.

    `create_table` makes it. Items stay for a week after their release, for they count the tokens; then the
    table's TTL, on the attribute `expires`, removes them. A lock whose holder died is free once somebody who
    wants it has seen it unchanged for `lease` seconds; the clocks of the hosts do not matter. `client` is a
    boto3 client with timeouts well below the lease; without one it is made from boto3's usual configuration.

    Requests to the table: 2 writes per lock; 10800 / `lease` writes (1080 by default) and, for release requests,
    3600 / `poll_interval` eventually consistent reads (3600 by default) per hour and held lock; 1 write per
    attempt to take a held lock and per release request, each every `retry_interval` seconds while one waits.
    """

    def __init__(
        self,
        table: str = "tus-locks",
        *,
        client: Any = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        lease: float = 10.0,
        retry_interval: float = 0.5,
        poll_interval: float = 1.0,
    ) -> None:
        if not poll_interval > 0:
            raise ValueError("poll_interval is seconds and must be greater than 0")
        timeout = network_timeout(lease)
        config = Config(connect_timeout=timeout, read_timeout=timeout, retries={"total_max_attempts": 1})
        options = {"endpoint_url": endpoint_url, "region_name": region, "config": config}
        self._table = _Table(table, client, options)
        super().__init__(_DynamoDBService(self._table, poll_interval), lease=lease, retry_interval=retry_interval)

    def create_table(self) -> None:
        """Make the table, billed by request, with TTL. Blocks until it can be used; fine if it is there already."""
        self._table.create()


class _Refused(Exception):
    """The condition did not hold, or the table is there already."""


class _Table:
    """The table by its boto3 client, one client per process: connections must not be shared after a fork."""

    def __init__(self, name: str, client: Any, options: Mapping[str, Any]) -> None:
        self._name = name
        self._given = client
        self._options = options
        self._made: tuple[int, Any] | None = None
        self._making = threading.Lock()

    def update(self, name: str, **parameters: Any) -> dict[str, Any] | None:
        """The item as it is now; None if the condition did not hold."""
        try:
            answer = self._call("update_item", Key={"name": {"S": name}}, ReturnValues="ALL_NEW", **parameters)
        except _Refused:
            return None
        item: dict[str, Any] = answer["Attributes"]
        return item

    def find(self, name: str) -> dict[str, Any] | None:
        """The item as it is now, with all writes that were answered before."""
        item: dict[str, Any] | None = self._call("get_item", Key={"name": {"S": name}}, ConsistentRead=True).get("Item")
        return item

    def find_wanted(self, names: list[str]) -> list[dict[str, Any]]:
        """Items as they are or were a moment ago, of at most 100 names; one may be missing."""
        wanted = {
            "Keys": [{"name": {"S": name}} for name in names],
            "ProjectionExpression": "#owner, wanted",
            "ExpressionAttributeNames": {"#owner": "owner"},
        }
        answer = self._request("batch_get_item", RequestItems={self._name: wanted})
        items: list[dict[str, Any]] = answer["Responses"].get(self._name, [])
        return items

    def create(self) -> None:
        try:
            self._call(
                "create_table",
                KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "name", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except _Refused:
            return
        self.client.get_waiter("table_exists").wait(TableName=self._name, WaiterConfig={"Delay": 1})
        ttl = {"Enabled": True, "AttributeName": "expires"}
        self._call("update_time_to_live", TimeToLiveSpecification=ttl)

    @property
    def client(self) -> Any:
        if self._given is not None:
            return self._given
        with self._making:
            if self._made is None or self._made[0] != os.getpid():
                self._made = os.getpid(), boto3.Session().client("dynamodb", **self._options)
            return self._made[1]

    def forget(self) -> None:
        self._making = threading.Lock()

    def _call(self, operation: str, **parameters: Any) -> Any:
        return self._request(operation, TableName=self._name, **parameters)

    def _request(self, operation: str, **parameters: Any) -> Any:
        try:
            return getattr(self.client, operation)(**parameters)
        except (BotoCoreError, OSError) as exc:
            raise LockerUnavailable from exc
        except ClientError as exc:
            if exc.response.get("Error", {}).get("Code") in _REFUSALS:
                raise _Refused from exc
            raise LockerUnavailable from exc


class _DynamoDBService:
    def __init__(self, table: _Table, poll_interval: float) -> None:
        self._table = table
        self._poll_interval = poll_interval
        self.forget()

    def acquire(self, upload_id: str, owner: str, lease: float, /) -> Grant | None:
        name = lock_name(upload_id)
        item = self._take(name, owner, lease, "attribute_not_exists(#owner) OR #owner = :owner", {})
        if item is None:
            found = self._table.find(name)
            if found is None or "owner" not in found or not self._is_dead(name, found):
                return None
            same = {":holder": found["owner"], ":beat": found["beat"]}
            item = self._take(name, owner, lease, "#owner = :holder AND #beat = :beat", same)
        if item is None:
            return None
        self._sightings.forget(name)
        return Grant(int(item["token"]["N"]))

    def renew(self, held: Mapping[str, str], lease: float, /) -> Mapping[str, bool]:
        return self._pool.each(lambda owner: self._renew(held[owner], owner), held)

    def release(self, upload_id: str, owner: str, /) -> None:
        self._table.update(
            lock_name(upload_id),
            UpdateExpression="REMOVE #owner, wanted SET expires = :expires",
            ConditionExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": owner}, ":expires": _expires()},
        )

    def request(self, upload_id: str, /) -> None:
        self._table.update(
            lock_name(upload_id),
            UpdateExpression="SET wanted = #owner",
            ConditionExpression="attribute_exists(#owner)",
            ExpressionAttributeNames={"#owner": "owner"},
        )

    def wishes(self, process: str, held: Callable[[], Mapping[str, str]], /) -> Iterable[str]:
        time.sleep(self._poll_interval)
        names = [lock_name(upload_id) for upload_id in held().values()]
        batches = range(0, len(names), _BATCH)
        items = [item for first in batches for item in self._table.find_wanted(names[first : first + _BATCH])]
        return [item["owner"]["S"] for item in items if "owner" in item and item.get("wanted") == item["owner"]]

    def forget(self) -> None:
        self._table.forget()
        self._sightings = Sightings()
        self._pool = Pool()

    def _take(
        self, name: str, owner: str, lease: float, condition: str, values: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        # The clock is but the floor of a new counter: it makes up for one that the table's TTL removed.
        return self._table.update(
            name,
            UpdateExpression="SET #owner = :owner, #beat = :zero, lease = :lease, expires = :expires, "
            "#token = if_not_exists(#token, :floor) + :one REMOVE wanted",
            ConditionExpression=condition,
            ExpressionAttributeNames=_NAMES,
            ExpressionAttributeValues={
                ":owner": {"S": owner},
                ":lease": {"N": str(lease)},
                ":expires": _expires(),
                ":floor": {"N": str(int(time.time() * 1000))},
                ":zero": {"N": "0"},
                ":one": {"N": "1"},
                **values,
            },
        )

    def _renew(self, upload_id: str, owner: str) -> bool:
        item = self._table.update(
            lock_name(upload_id),
            UpdateExpression="SET #beat = #beat + :one, expires = :expires",
            ConditionExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner", "#beat": "beat"},
            ExpressionAttributeValues={":owner": {"S": owner}, ":one": {"N": "1"}, ":expires": _expires()},
        )
        return item is not None

    def _is_dead(self, name: str, item: Mapping[str, Any]) -> bool:
        version = item["owner"]["S"], item["beat"]["N"]
        return self._sightings.is_dead(name, version, float(item["lease"]["N"]))


def _expires() -> dict[str, str]:
    """When the table may remove an item that nobody has touched since, in seconds of the epoch."""
    return {"N": str(int(time.time()) + _KEPT_AFTER_RELEASE)}
