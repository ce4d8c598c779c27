"""Threads that share work: every piece is done once, errors come through, and nothing is left behind."""

from __future__ import annotations

import threading
import time

import pytest

from vicinal.index.workers import in_threads, share


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 500])
def test_every_piece_is_done_once(threads, count):
    done = []
    share(((lambda number, at=at: done.append((at, number))) for at in range(count)), threads)
    assert sorted(at for at, _ in done) == list(range(count))
    assert {number for _, number in done} <= set(range(threads))


def test_results_come_in_order():
    assert in_threads(lambda job: job * job, list(range(100)), 4) == [job * job for job in range(100)]


def test_threads_work_side_by_side():
    both = threading.Barrier(3, timeout=30)
    share([lambda _: both.wait()] * 3, 3)


@pytest.mark.parametrize("where", [0, 1])
def test_an_error_comes_through_once_all_have_stopped(where):
    running, meeting = [], threading.Barrier(2, timeout=30)

    def work(number):
        meeting.wait()
        if number == where:
            raise ZeroDivisionError
        time.sleep(0.05)
        running.append(number)

    with pytest.raises(ZeroDivisionError):
        share([work, work], 2)
    assert running == [1 - where]
    share([running.append] * 4, 2)
    assert len(running) == 5


def test_many_callers_share_helpers_and_do_not_wait_for_one_another():
    found, before = [], threading.active_count()

    def call():
        found.extend(sum(in_threads(lambda job: job, list(range(10)), 3)) for _ in range(200))

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive()
    assert found == [45] * 800
    assert threading.active_count() - before <= 2
