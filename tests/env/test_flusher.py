"""The threads for slow disk work, on a real reactor."""

import functools
import threading
import time

import pytest

from fastlog.env.clock import SystemClock
from fastlog.env.disk import SystemDisk
from fastlog.env.flusher import ThreadedFlusher
from fastlog.env.network import SocketNetwork
from fastlog.env.reactor import Reactor


@pytest.fixture
def reactor():
    network = SocketNetwork()
    yield Reactor(SystemClock(), network)
    network.close()


@pytest.fixture
def flusher(reactor):
    flusher = ThreadedFlusher(reactor.call_from_thread)
    yield flusher
    flusher.close()


def turns_until(reactor, condition):
    while not condition():
        reactor.run_turn()


def test_a_completion_comes_on_the_reactors_thread_on_a_later_turn(reactor, flusher):
    seen = []

    def job():
        return threading.current_thread()

    flusher.submit(job, lambda result, error: seen.append((result, error, threading.current_thread())))
    assert seen == []
    turns_until(reactor, lambda: seen)
    ((worker, error, called_on),) = seen
    assert error is None
    assert called_on is threading.current_thread()
    assert worker is not called_on


def test_what_a_job_raises_is_handed_over(reactor, flusher):
    seen = []
    flusher.submit(lambda: 1 // 0, lambda result, error: seen.append((result, type(error))))
    turns_until(reactor, lambda: seen)
    assert seen == [(None, ZeroDivisionError)]


def test_a_job_holds_its_file_open(reactor, tmp_path):
    started, go_on = threading.Event(), threading.Event()
    flusher = ThreadedFlusher(reactor.call_from_thread, threads=1)
    seen = []

    def block():
        started.set()
        assert go_on.wait(60)

    def done(result, error):
        seen.append(error)

    file = SystemDisk().open(f"{tmp_path}/f", create=True)
    flusher.submit(block, done)
    assert started.wait(60)
    flusher.submit(file.fdatasync, done)
    flusher.submit(functools.partial(file.ftruncate, 5), done)
    file.close()
    assert file.descriptor() >= 0
    go_on.set()
    turns_until(reactor, lambda: len(seen) == 3)
    assert seen == [None, None, None]
    flusher.close()
    assert file.descriptor() == -1
    assert (tmp_path / "f").stat().st_size == 5


def test_a_full_queue_holds_the_submitter_back(reactor):
    flusher = ThreadedFlusher(reactor.call_from_thread, threads=1, max_queued=1)
    release, submitted, seen = threading.Event(), threading.Event(), []

    def done(result, error):
        seen.append(result)

    def submit_third():
        flusher.submit(lambda: 3, done)
        submitted.set()

    running = threading.Event()
    flusher.submit(lambda: (running.set(), release.wait(60)) and 1, done)
    assert running.wait(60)
    flusher.submit(lambda: 2, done)
    submitter = threading.Thread(target=submit_third)
    submitter.start()
    assert not submitted.is_set()
    release.set()
    submitter.join()
    turns_until(reactor, lambda: len(seen) == 3)
    assert seen == [1, 2, 3]
    flusher.close()


def flusher_threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("fastlog-flusher")}


def wait_for_idleness(flusher):
    while flusher._idle != 1:
        time.sleep(0.001)


def test_a_job_that_would_wait_for_a_thread_gets_one_of_its_own(reactor):
    before = flusher_threads()
    flusher = ThreadedFlusher(reactor.call_from_thread, threads=2)
    seen, together = [], threading.Barrier(2)

    def done(result, error):
        seen.append((result, error))

    for number in range(3):  # one after the other
        flusher.submit(functools.partial(int, number), done)
        turns_until(reactor, lambda number=number: len(seen) > number)
        wait_for_idleness(flusher)
    assert len(flusher_threads() - before) == 1
    for _ in range(6):  # each waits for another one to run beside it
        flusher.submit(lambda: together.wait(60), done)
    turns_until(reactor, lambda: len(seen) == 9)
    assert len(flusher_threads() - before) == 2
    assert [error for _, error in seen] == [None] * 9
    flusher.close()
    assert flusher_threads() == before


def test_where_there_are_no_more_threads_those_that_are_there_do_it(reactor, monkeypatch):
    flusher = ThreadedFlusher(reactor.call_from_thread, threads=2)
    wait_for_idleness(flusher)
    go_on, seen, refused = threading.Event(), [], []

    def refuse(thread):
        refused.append(thread.name)
        raise RuntimeError("can't start new thread")

    flusher.submit(lambda: go_on.wait(60) and 1, lambda result, error: seen.append(result))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        flusher.submit(lambda: 2, lambda result, error: seen.append(result))
    go_on.set()
    turns_until(reactor, lambda: len(seen) == 2)
    assert (seen, refused) == ([1, 2], ["fastlog-flusher-1"])
    flusher.close()


def test_close_finishes_what_was_submitted_and_takes_no_more(reactor):
    flusher = ThreadedFlusher(reactor.call_from_thread)
    seen = []
    for number in range(50):
        flusher.submit(functools.partial(int, number), lambda result, error: seen.append(result))
    flusher.close()
    flusher.close()
    reactor.run_turn()
    assert sorted(seen) == list(range(50))
    with pytest.raises(RuntimeError, match="closed"):
        flusher.submit(int, lambda result, error: None)
