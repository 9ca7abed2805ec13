import pytest


class ManualClock:
    """Time that moves only when a poll waits or a test says so."""

    def __init__(self):
        self.now_ns = 1_000_000_000

    def wall_ms(self):
        return self.now_ns // 1_000_000

    def monotonic_ns(self):
        return self.now_ns


class ManualNetwork:
    """A poll that jumps to its deadline, and reports what a test put into `ready`."""

    def __init__(self, clock):
        self.clock = clock
        self.ready = []
        self.timeouts_ns = []
        self.wakes = 0

    def poll(self, timeout_ns):
        self.timeouts_ns.append(timeout_ns)
        ready, self.ready = self.ready, []
        if not ready and timeout_ns:
            self.clock.now_ns += timeout_ns
        return ready

    def wake(self):
        self.wakes += 1


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def network(clock):
    return ManualNetwork(clock)
