"""Threads that searches share: kept between calls, gone after a fork.

A hand-over costs about 20 us; by the futures of an executor it took 70 with the processor's cache full of vectors.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

from vicinal.ending import stop_at_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["in_threads", "share"]

Job = TypeVar("Job")
Result = TypeVar("Result")


class _Team:
    """Threads that take jobs from one queue; there are as many as a caller ever asked for at once."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        stop_at_exit(self)

    def do(self, job: Callable[[], None], times: int) -> None:
        """Have a job, which raises nothing, done so many times, side by side where threads are free."""
        if len(self._threads) < times:
            self._grow(times)
        for _ in range(times):
            self._jobs.put(job)

    def stop(self) -> None:
        """End the threads; waits for the jobs under way."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _grow(self, threads: int) -> None:
        with self._lock:
            while len(self._threads) < threads:
                thread = threading.Thread(target=self._run, name="vicinal-scan", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # and what it holds


_teams: Final = [_Team()]


def _begin_anew() -> None:
    _teams[0] = _Team()


os.register_at_fork(after_in_child=_begin_anew)


def _emptied(numbers: deque[int]) -> int:
    """Take all numbers out, while others may do so, too; return how many this was."""
    taken = 0
    with suppress(IndexError):
        while True:
            numbers.pop()
            taken += 1
    return taken


def share(work: Iterable[Callable[[int], None]], threads: int) -> None:
    """Run all of `work`, taken piece by piece by the calling thread and up to `threads - 1` others.

    Each call is told the number of its thread, from 0, the calling one. No call may use this function
    itself. An exception of any is raised once all threads have stopped.
    """
    left, lock = iter(work), threading.Lock()
    waiting, ends = deque(range(1, threads)), SimpleQueue[BaseException | None]()

    def run(number: int) -> None:
        while True:
            with lock:
                call = next(left, None)
            if call is None:
                return
            call(number)

    def help_out() -> None:
        try:
            number = waiting.pop()
        except IndexError:  # all is done: nobody waits for this thread
            return
        try:
            run(number)
        except BaseException as error:  # noqa: BLE001 - raised by the calling thread
            ends.put(error)
        else:
            ends.put(None)

    try:
        _teams[0].do(help_out, threads - 1)
        run(0)
    finally:
        errors = [ends.get() for _ in range(threads - 1 - _emptied(waiting))]  # the rest is not needed any more
    for error in errors:
        if error is not None:
            raise error


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
