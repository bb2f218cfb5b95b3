"""Every call of a store's SDK fails in turn, in every way: what must hold afterwards."""

from __future__ import annotations

import os
import secrets
import sys
from abc import abstractmethod
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.servers.proxy import Call, Fault, Proxy
from tests.stores.ledger_scenario import DATA, Heard, check_whole, live, new_upload, recover
from tests.stores.ledger_victim import Victim, Victims
from tuspy_server.errors import StoreError, UploadNotFound
from tuspy_server.stores.ledger_store import LedgerStore

#: All calls and all faults; otherwise a sample.
CAMPAIGN = bool(os.environ.get("TUSPY_SERVER_CAMPAIGN"))
#: Seconds after which a client gives up on an answer: one that is to, and one that is not.
IMPATIENT = 0.25
PATIENT = 60.0
LONG_AFTER = timedelta(days=1)
#: Whatever needs nobody to open a gate.
FAULTS: list[Fault] = [fault for fault in Fault if fault is not Fault.HELD]


def sample(number: int, fault: Fault) -> bool:
    """Whether a case belongs to the short form: each fault with some calls, no two faults with the same."""
    return CAMPAIGN or (number + 3 * FAULTS.index(fault)) % 21 == 0


class FaultSuite:
    """A subclass gives the store, its proxy, and the names of all that is stored."""

    @abstractmethod
    def new_place(self) -> str:
        """A new bucket or container."""

    @abstractmethod
    def store(self, place: str, timeout: float = PATIENT, repeats: bool = False) -> LedgerStore:
        """A store of tiny pieces, whose SDK `repeats` what failed or not."""

    @abstractmethod
    def proxy(self) -> Proxy: ...

    @abstractmethod
    def stored(self, place: str) -> list[str]: ...

    @abstractmethod
    def victims(self) -> Victims: ...

    def calls_of_a_life(self) -> int:
        """How many calls a whole life takes without trouble."""
        heard = Heard()
        store = self.store(self.new_place())
        with self.proxy().failing(lambda number, call: None):
            info = live(store, store.create(new_upload("a")), heard.tell)
            store.terminate(info)
            return len(self.proxy().calls)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_any_call_may_fail_and_the_upload_ends_whole(self, fault: Fault) -> None:
        for number in range(self.calls_of_a_life()):
            if sample(number, fault):
                self.check_one(number, fault)

    def check_one(self, number: int, fault: Fault) -> None:
        place, upload_id, heard = self.new_place(), secrets.token_hex(4), Heard()
        gives_up = fault in (Fault.TIMEOUT, Fault.LATE)
        store = self.store(place, IMPATIENT if gives_up else PATIENT)
        with self.proxy().failing_once(number, fault):
            self.attempt(store, upload_id, heard)
            failed = str(self.proxy().calls[number]) if len(self.proxy().calls) > number else ""
        if gives_up and failed:  # each is waited for: one left over would end the next wait too early
            assert self.proxy().late.acquire(timeout=10)
        try:
            self.check_aftermath(place, upload_id, heard)
        except Exception as exc:
            raise AssertionError(f"after {fault} of call {number}, {failed}; heard {heard.sent}") from exc

    def attempt(self, store: LedgerStore, upload_id: str, heard: Heard) -> None:
        """A whole life, cut off by the first error."""
        with suppress(StoreError):
            info = store.create(new_upload(upload_id))
            heard.created = True
            info = live(store, info, heard.tell)
            store.terminate(info)
            heard.terminated = True

    def check_aftermath(self, place: str, upload_id: str, heard: Heard) -> None:
        """The client resumes, the upload is whole, and once it is terminated and the sweep came by nothing is left."""
        store = self.store(place)
        if not self.is_buried(store, upload_id, heard):
            info = live(store, recover(store, upload_id, heard), heard.tell)
            check_whole(store, info)
            store.terminate(info)
        for due in store.expired(new_upload("x").created + LONG_AFTER):
            store.terminate(replace(due, expires=None))
        assert self.stored(place) == []

    def is_buried(self, store: LedgerStore, upload_id: str, heard: Heard) -> bool:
        """Whether the termination that ends each life was carried out, be it half and unheard."""
        if not heard.complete:
            return False
        try:
            store.get(upload_id)
        except UploadNotFound:
            return True
        return heard.terminated

    def test_an_outage_in_the_middle_of_anything_is_survived(self) -> None:
        for number in range(self.calls_of_a_life()):
            if CAMPAIGN or number % 13 == 0:
                self.check_outage(number)

    def check_outage(self, first: int) -> None:
        """From one call on the service is gone, until the client has given up on what it was doing."""
        place, upload_id, heard = self.new_place(), secrets.token_hex(4), Heard()

        def plan(number: int, call: Call) -> Fault | None:
            return Fault.ERROR_503 if number >= first else None

        store = self.store(place)
        with self.proxy().failing(plan):
            self.attempt(store, upload_id, heard)
        try:
            self.check_aftermath(place, upload_id, heard)
        except Exception as exc:
            raise AssertionError(f"after an outage from call {first} on; heard {heard.sent}") from exc

    @pytest.mark.parametrize("fault", [Fault.LOST, Fault.ERROR_AFTER, Fault.ERROR_503])
    def test_what_the_sdk_repeats_nobody_notices(self, fault: Fault) -> None:
        """Also where the first try had been carried out, so that the repeat meets what it has done itself."""
        for number in range(self.calls_of_a_life()):
            if sample(number, fault):
                place, heard = self.new_place(), Heard()
                store = self.store(place, repeats=True)
                with self.proxy().failing_once(number, fault):
                    info = live(store, store.create(new_upload("a")), heard.tell)
                    check_whole(store, info)
                    store.terminate(info)
                assert self.stored(place) == []

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
    @pytest.mark.parametrize("fault", [Fault.RESET, Fault.LOST])
    def test_kill_at_any_call_loses_nothing_that_was_told(self, fault: Fault) -> None:
        """kill -9 as a call goes out; it is carried out (LOST) or not (RESET)."""
        with self.victims() as victims:
            for number in range(self.calls_of_a_life()):
                if sample(number, fault):
                    self.check_kill(victims, number, fault)

    def check_kill(self, victims: Victims, number: int, fault: Fault) -> None:
        place, upload_id = self.new_place(), secrets.token_hex(4)
        begun: Future[Victim] = Future()
        killed = False

        def plan(count: int, call: Call) -> Fault | None:
            nonlocal killed
            if count != number:
                return None
            begun.result().kill()
            killed = True
            return fault

        with self.proxy().failing(plan):
            begun.set_result(victims.start(place, upload_id))
            heard = begun.result().heard()
        assert heard.terminated is not killed
        try:
            self.check_aftermath(place, upload_id, heard)
        except Exception as exc:
            raise AssertionError(f"after a kill at call {number}, {fault}; heard {heard.sent}") from exc

    def test_a_life_without_trouble_stores_the_source(self) -> None:
        place, heard = self.new_place(), Heard()
        store = self.store(place)
        info = live(store, store.create(new_upload("a")), heard.tell)
        assert heard.sent == [*["offset"] * 5, "complete"]
        assert heard.offset == len(DATA)
        check_whole(store, info)
