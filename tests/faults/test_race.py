"""Two worker processes, clients racing on one offset: never a wrong byte behind a 2xx."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.running import RunningServer, running
from tests.servers.wire import WireAnswer, WireClient

ROUNDS = int(os.environ.get("TUSPY_RACE_ROUNDS", "100"))
CLIENTS = 8
SIZE = 200_000


@pytest.fixture(params=["uvicorn", "gunicorn-gthread"], scope="module")
def workers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    directory: Path = tmp_path_factory.mktemp("raced") / "uploads"
    with ExitStack() as stack:
        yield [stack.enter_context(running(request.param, directory)) for _ in range(2)]


def race(clients: list[WireClient], upload: str, offset: int, bodies: list[bytes]) -> list[WireAnswer | None]:
    answers: list[WireAnswer | None] = [None] * len(bodies)
    start = threading.Barrier(len(bodies))

    def send(index: int) -> None:
        start.wait()
        try:
            answers[index] = clients[index % len(clients)].append(upload, offset, bodies[index])
        except OSError:  # interrupted by another: the connection was closed
            return

    threads = [threading.Thread(target=send, args=(index,)) for index in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_racing_appends_leave_one_contiguous_history(workers: list[RunningServer]) -> None:
    clients = [worker.client for worker in workers]
    rng = random.Random(7)
    for _ in range(ROUNDS):
        upload = clients[0].create(SIZE)
        bodies = [bytes([index]) * rng.choice([10, 5000, 150_000]) for index in range(CLIENTS)]
        answers = race(clients, upload, 0, bodies)
        offset = clients[1].offset(upload)
        stored = (workers[0].directory / upload.rpartition("/")[2]).read_bytes()
        assert len(stored) == offset
        winners = [i for i, answer in enumerate(answers) if answer is not None and answer.status == 204]
        assert all(answer is None or answer.status in (204, 409, 423, 500) for answer in answers)
        assert len(winners) <= 1
        assert len(set(stored)) <= 1
        if winners:
            assert stored == bodies[winners[0]]
        rest = os.urandom(SIZE - offset)
        assert clients[0].append(upload, offset, rest).status == 204
        assert clients[1].get(upload).body == stored + rest
