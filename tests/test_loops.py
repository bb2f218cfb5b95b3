"""The loop that threads without one use: whoever drops it, it ends, and no thread waits for itself."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
import weakref
from collections.abc import AsyncIterator

import anyio

from tuspy_server.callers import InlineCaller, Lane, run_sync
from tuspy_server.loops import LoopThread


async def thread_of_the_loop() -> threading.Thread:
    return threading.current_thread()


def test_a_caller_that_its_own_loop_collects_ends_its_thread() -> None:
    async def collected() -> threading.Thread:
        holder.clear()
        gc.collect()
        return threading.current_thread()

    holder = [LoopThread("test")]
    gone = weakref.ref(holder[0])
    thread = holder[0].wait_for(thread_of_the_loop())
    ended_in = asyncio.run_coroutine_threadsafe(collected(), holder[0]._loop).result()
    thread.join(10)
    assert (gone(), ended_in, thread.is_alive()) == (None, thread, False)


def test_a_caller_that_is_dropped_leaves_no_thread() -> None:
    caller = InlineCaller()
    thread = run_sync(caller.call(Lane.CONTROL, thread_of_the_loop))
    assert thread is run_sync(caller.call(Lane.BODY, thread_of_the_loop))
    del caller
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_threads_that_begin_at_once_share_one_loop() -> None:
    caller, start, found = InlineCaller(), threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        found.append(run_sync(caller.call(Lane.CONTROL, thread_of_the_loop)))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_stop_ends_what_was_half_read() -> None:
    ended = threading.Event()

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    async def first() -> int:
        return await anext(half_read)

    loop, half_read = LoopThread("test"), numbers()
    assert loop.wait_for(first()) == 1
    loop.stop()
    assert ended.is_set()


def test_a_process_forked_after_the_first_call_gets_a_loop_of_its_own() -> None:
    async def pid() -> int:
        await anyio.lowlevel.checkpoint()
        return os.getpid()

    caller = InlineCaller()
    assert run_sync(caller.call(Lane.CONTROL, pid)) == os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: what preloading servers do
        child = os.fork()
    if child == 0:
        os._exit(0 if run_sync(caller.call(Lane.CONTROL, pid)) == os.getpid() else 1)
    assert os.waitpid(child, 0) == (child, 0)
