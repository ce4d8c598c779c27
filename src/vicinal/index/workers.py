"""Threads that searches share: kept between calls, gone after a fork."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["in_threads", "share"]

Job = TypeVar("Job")
Result = TypeVar("Result")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "vicinal-scan")


os.register_at_fork(after_in_child=_pool.cache_clear)


def share(work: Iterable[Callable[[int], None]], threads: int) -> None:
    """Run all of `work`, taken piece by piece by the calling thread and up to `threads - 1` others.

    Each call is told the number of its thread, from 0, the calling one. No call may use this function
    itself. An exception of any is raised once all threads have stopped.
    """
    left, lock = iter(work), threading.Lock()

    def run(number: int) -> None:
        while True:
            with lock:
                call = next(left, None)
            if call is None:
                return
            call(number)

    others = [_pool(threads - 1).submit(run, number) for number in range(1, threads)]
    try:
        run(0)
    finally:
        started = [other for other in others if not other.cancel()]  # the rest waits behind other searches
        wait(started)
    for other in started:
        other.result()


def in_threads(work: Callable[[Job], Result], jobs: Sequence[Job], threads: int) -> list[Result]:
    """Return the results of `work` for each job, in order; the calling thread does its share."""
    if len(jobs) == 1 or threads <= 1:
        return [work(job) for job in jobs]
    results: dict[int, Result] = {}

    def one(at: int, job: Job) -> Callable[[int], None]:
        def call(_number: int) -> None:
            results[at] = work(job)

        return call

    share((one(at, job) for at, job in enumerate(jobs)), min(threads, len(jobs)))
    return [results[at] for at in range(len(jobs))]
