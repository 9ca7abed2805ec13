"""A machine in memory: a disk that knows what was synced, a flusher that the test may hold, a clock."""

import errno

from fastlog.env.reactor import Reactor


class MemoryFile:
    """Contents of one file: `data` as the page cache has it, `synced` as a lost machine would leave it at worst."""

    def __init__(self):
        self.data = bytearray()
        self.synced = b""


class OpenFile:
    def __init__(self, disk, path, file):
        self.path, self._disk, self._file, self._closed = path, disk, file, False

    def _check(self):
        assert not self._closed, f"{self.path} is used after it was closed"

    def pwritev(self, buffers, position):
        self._check()
        data = b"".join(bytes(buffer) for buffer in buffers)
        self._disk.happen("write", self.path)
        self._disk.find_room("write", self.path)
        if self._disk.free_bytes is not None:
            data = data[: max(0, self._disk.free_bytes - position)]
            if not data:
                raise OSError(errno.ENOSPC, "no space", self.path)
        if position > len(self._file.data):
            self._file.data.extend(bytes(position - len(self._file.data)))
        self._file.data[position : position + len(data)] = data
        return len(data)

    def pread(self, size, position):
        self._check()
        return bytes(self._file.data[position : position + size])

    def size_bytes(self):
        self._check()
        return len(self._file.data)

    def ftruncate(self, size):
        self._check()
        self._disk.happen("truncate", self.path)
        del self._file.data[size:]
        self._file.data.extend(bytes(size - len(self._file.data)))

    def fdatasync(self):
        self._check()
        self._disk.happen("sync", self.path)
        self._file.synced = bytes(self._file.data)

    def drop_cache(self):
        self._check()

    def close(self):
        self._closed = True


class MemoryDisk:
    """`env.Disk` as far as the coordinator's journal uses it."""

    def __init__(self, files=None):
        self.files = {}
        for path, data in (files or {}).items():
            self.files[path] = file = MemoryFile()
            file.data[:] = file.synced = data
        self.free_bytes = None
        self.fail = {}
        self.no_room_for = None  # (end of a path, "create" or "write")
        self.happened = []

    def find_room(self, what, path):
        if self.no_room_for and path.endswith(self.no_room_for[0]) and what == self.no_room_for[1]:
            raise OSError(errno.ENOSPC, "no space", path)

    def happen(self, what, path):
        self.happened.append((what, path))
        if what in self.fail:
            raise OSError(self.fail[what], what, path)

    def contents(self):
        return {path: bytes(file.data) for path, file in self.files.items()}

    def synced_contents(self):
        return {path: file.synced for path, file in self.files.items()}

    def open(self, path, *, create=False, exclusive=False, read_only=False):
        if path not in self.files:
            if not create:
                raise FileNotFoundError(errno.ENOENT, "not there", path)
            self.happen("create", path)
            self.find_room("create", path)
            self.files[path] = MemoryFile()
        return OpenFile(self, path, self.files[path])

    def size_bytes(self, path):
        return len(self.files[path].data)

    def list_directory(self, path):
        return sorted(name.removeprefix(f"{path}/") for name in self.files if name.startswith(f"{path}/"))

    def make_directories(self, path):
        pass

    def rename(self, source, target):
        self.happen("rename", target)
        self.files[target] = self.files.pop(source)

    def unlink(self, path):
        self.happen("unlink", path)
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "not there", path)
        del self.files[path]

    def sync_directory(self, path):
        self.happen("sync_directory", path)


class HeldFlusher:
    """Runs jobs one after another, each at least a turn later; `held` keeps them until it is False again."""

    def __init__(self, reactor):
        self._reactor = reactor
        self.jobs = []
        self.held = False

    def submit(self, job, done):
        self.jobs.append((job, done))
        self._reactor.call_soon(self.run)

    def run(self):
        while self.jobs and not self.held:
            job, done = self.jobs.pop(0)
            try:
                result, error = job(), None
            except Exception as failure:
                result, error = None, failure
            self._reactor.call_soon(done, result, error)

    def release(self):
        self.held = False
        self.run()


class StepClock:
    def __init__(self):
        self.now_ns = 5_000_000_000

    def wall_ms(self):
        return 1_700_000_000_000 + self.now_ns // 1_000_000

    def monotonic_ns(self):
        return self.now_ns


class NoNetwork:
    """No sockets; waiting lets the clock run."""

    def __init__(self, clock):
        self._clock = clock

    def poll(self, timeout_ns):
        self._clock.now_ns += timeout_ns or 0
        return []

    def wake(self):
        pass


class CountingRandom:
    def __init__(self):
        self._next = 0

    def random_bytes(self, count):
        self._next += 1
        return self._next.to_bytes(8, "big").rjust(count, b"\x5a")[:count]

    def below(self, bound):
        self._next += 1
        return self._next % bound


class Machine:
    """A process on a disk: its reactor, flusher and clock."""

    def __init__(self, files=None):
        self.disk = MemoryDisk(files)
        self.clock = StepClock()
        self.reactor = Reactor(self.clock, NoNetwork(self.clock))
        self.flusher = HeldFlusher(self.reactor)
        self.random = CountingRandom()

    def turn(self, times=1):
        for _ in range(times):
            self.reactor.run_turn()

    def settle(self):
        """Run turns until there is nothing to do at once."""
        for _ in range(10_000):
            deadline_ns = self.reactor.next_deadline_ns()
            if deadline_ns is None or deadline_ns > self.clock.now_ns:
                return
            self.reactor.run_turn()
        raise AssertionError("the reactor never comes to rest")

    def wait(self, pending):
        """Run turns until `pending` is settled, and return its value or raise its error."""
        for _ in range(10_000):
            if pending.done:
                return pending.result()
            assert self.reactor.next_deadline_ns() is not None, "nothing will ever settle this"
            self.reactor.run_turn()
        raise AssertionError("the result never came")
