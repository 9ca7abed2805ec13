"""The machine's environment as a whole: what it does once a start is over."""

import threading

import pytest

from fastlog.env import system


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setattr(system, "collect_seldom", lambda: None)  # of the whole process, and this one is pytest's
    made = system.SystemEnvironment()
    yield made
    made.close()


def test_memory_of_the_start_is_given_back_once_off_the_loop(environment, monkeypatch):
    given_back = []
    monkeypatch.setattr(system, "give_back_memory", lambda: given_back.append(threading.current_thread()))
    monkeypatch.setattr(system, "GIVE_BACK_AFTER_MS", 1)
    environment.started()
    while not given_back:
        environment.reactor.run_turn()
    [thread] = given_back
    assert thread is not threading.current_thread()
    assert environment.reactor._timers == []
