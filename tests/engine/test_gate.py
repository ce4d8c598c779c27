from __future__ import annotations

import signal
import threading

import pytest

from vicinal.engine.gate import Gate


def test_no_more_threads_are_inside_than_there_are_places():
    gate, inside, most, lock = Gate(4, width=2), 0, [0], threading.Lock()
    both = threading.Barrier(2, timeout=30)

    def work(number):
        nonlocal inside
        for turn in range(50):
            with gate.entered():
                with lock:
                    inside += 1
                    most[0] = max(most[0], inside)
                if turn == 0 and number < 2:
                    both.wait()  # two do come in together
                with lock:
                    inside -= 1

    first = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in first:
        thread.start()
    both_in = [threading.Thread(target=work, args=(number,)) for number in range(2, 6)]
    for thread in both_in:
        thread.start()
    for thread in (*first, *both_in):
        thread.join(30)
        assert not thread.is_alive()
    assert most[0] == 2


def test_processors_are_shared_among_those_inside():
    gate = Gate(8, width=4)
    with gate.entered() as alone:
        assert alone == 4
        with gate.entered() as two:
            assert two == 2
            with gate.entered() as three, gate.entered() as four:
                assert (three, four) == (1, 1)
    assert Gate(2, width=16).entered().__enter__() == 2


def test_a_place_comes_back_after_an_error_and_a_free_entry_takes_none():
    gate = Gate(1, width=1)
    with pytest.raises(ZeroDivisionError), gate.entered():
        1 / 0  # noqa: B018
    with gate.entered(), gate.entered(free=True) as threads:
        assert threads == 1
    with gate.entered():
        pass


def test_nobody_waits_for_ever_behind_threads_that_come_again_and_again():
    gate, stop, turns = Gate(1, width=2), threading.Event(), [0] * 6

    def work(number):
        while not stop.is_set():
            with gate.entered():
                sum(range(2000))
            turns[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    stop.wait(1.5)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert min(turns) >= 5, turns


def test_no_place_is_lost_by_interrupts():
    gate, stop, interrupted = Gate(1, width=2), threading.Event(), 0

    def work():
        while not stop.is_set():
            with gate.entered():
                sum(range(300))

    def interrupt(*_):
        raise KeyboardInterrupt

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for turn in range(600):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + 4e-6 * (turn % 250))
                try:
                    while True:
                        with gate.entered():
                            pass
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        signal.signal(signal.SIGALRM, before)
        stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert interrupted > 500
    assert gate._places.qsize() == 2
    assert not gate._waiting
