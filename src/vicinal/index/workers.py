"""Threads that searches share: kept between calls, gone after a fork."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["in_threads"]

Job = TypeVar("Job")
Result = TypeVar("Result")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "vicinal-scan")


os.register_at_fork(after_in_child=_pool.cache_clear)


def in_threads(work: Callable[[Job], Result], jobs: Sequence[Job], threads: int) -> list[Result]:
    """Return the results of `work` for each job, in order; the calling thread does its share.

    `work` must not call this itself. An exception of any job is raised once all have ended.
    """
    workers = min(threads, len(jobs))
    if workers <= 1:
        return [work(job) for job in jobs]
    shares = [range(number, len(jobs), workers) for number in range(workers)]

    def share(numbers: range) -> list[Result]:
        return [work(jobs[number]) for number in numbers]

    pool = _pool(workers - 1)
    others = [pool.submit(share, numbers) for numbers in shares[1:]]
    try:
        parts = [share(shares[0])]
    finally:
        wait(others)
    parts += [other.result() for other in others]
    return [parts[number % workers][number // workers] for number in range(len(jobs))]
