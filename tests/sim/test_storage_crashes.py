"""The log room on a simulated disk: what simulations of it once found, each as the shortest way there."""

import pytest

from fastlog import _core, errors
from fastlog.sim import ondisk
from fastlog.sim.disk import DiskAccess, DiskFaults, SimulatedDisk
from fastlog.sim.drive import Drive
from fastlog.sim.entropy import Entropy
from fastlog.sim.flusher import SimulatedFlusher
from fastlog.storage.environment import StorageEnvironment
from fastlog.storage.log_config import LogConfig
from fastlog.storage.log_manager import LogManager, StorageConfig

DATA = "/data"


def batch(value=b"v" * 100):
    builder = _core.BatchBuilder()
    builder.append(1_700_000_000_000, b"k", value)
    return _core.Slice(bytearray(builder.build()))


class LogWorld:
    """A machine whose processes each have a log manager over the same drive."""

    def __init__(self, world, **options):
        self.world = world
        self.drive = Drive("machine")
        self.faults = DiskFaults()
        self.locks = {}
        self.config = LogConfig(retention_ms=-1, **options)
        self.start()

    def start(self):
        self.process = self.world.process("broker")
        access = DiskAccess(self.drive, self.process, self.faults, self.world.entropy.fork("disk"), self.world.trace)
        self.disk = SimulatedDisk(access, self.locks)
        flusher = SimulatedFlusher(self.process, self.world.entropy.fork("flusher"))
        environment = StorageEnvironment(
            self.process.clock, self.disk, flusher, self.world.entropy.fork("random"), self.process.reactor.call_later
        )
        self.manager = LogManager(environment, StorageConfig(log_dirs=(DATA,)), lambda topic: self.config)
        self.manager.lock()
        loaded = []
        self.manager.load(lambda _, error: loaded.append(error))
        self.world.run_until(lambda: loaded)
        assert loaded == [None]

    def log(self):
        return self.manager.get("t", 0) or self.manager.create("t", 0)

    def append(self, records=None):
        staged = self.log().stage(records or batch(), 0)
        self.manager.commit_staged()
        return staged

    def settle(self):
        self.world.run_until(lambda: self.log().acknowledged_end_offset == self.log().log_end_offset)

    def offsets_on_disk(self):
        return [found.base_offset for found in ondisk.read_log(self.drive, f"{DATA}/t-0")]


@pytest.fixture
def log_world(small_world):
    return lambda **options: LogWorld(small_world(3), **options)


def test_names_that_a_killed_process_left_are_synced_before_an_acknowledgement(log_world):
    world = log_world(segment_bytes=400, flush_messages=1)
    world.append()
    world.settle()
    while world.log().segment_count < 2:
        world.append()
    world.process.kill()
    world.start()
    world.append()
    world.settle()
    kept = world.log().log_end_offset
    world.process.kill()
    for seed in range(10):
        assert all(world.drive.is_durable(path) for path, _ in world.drive.files() if path.endswith(".log"))
        world.drive.lose_power(Entropy(seed))
    world.start()
    assert world.log().log_end_offset == kept


def test_a_segment_that_lost_its_size_at_the_end_of_a_batch_ends_the_log(log_world):
    world = log_world(segment_bytes=400)
    while world.log().segment_count < 2:
        world.append()
    world.append()
    assert world.offsets_on_disk() == [0, 1, 2, 3]
    world.process.kill()
    node = world.drive.find_file(f"{DATA}/t-0/{0:020}.log")
    node.truncate(len(node.cache) // 2 if len(node.cache) % 2 == 0 else len(node.cache))
    assert world.offsets_on_disk() == [0, 2, 3]
    world.start()
    assert world.log().log_end_offset == 1
    assert world.append().base_offset == 1
    assert world.offsets_on_disk() == [0, 1]


def test_a_roll_that_a_full_disk_ends_leaves_a_segment_that_goes_on(log_world):
    world = log_world(segment_bytes=400, index_interval_bytes=1)
    world.append()
    world.append()
    rooms = []
    for free in range(0, 400, 4):
        world.drive.capacity_bytes = world.drive.used_bytes() + free
        before = world.log().log_end_offset
        staged = world.append()
        rooms.append(staged.error)
        world.drive.capacity_bytes = None
        if staged.error == 0:
            break
        assert world.log().log_end_offset == before
    assert len(rooms) > 3, "the disk was full in the middle of the roll"
    assert rooms[-1] == 0
    assert world.append().error == 0
    assert world.offsets_on_disk() == list(range(world.log().log_end_offset))


def test_what_a_killed_process_did_not_sync_is_not_acknowledged_to_a_repetition(log_world):
    world = log_world(flush_messages=1)
    world.append()
    world.settle()
    world.append()
    world.process.kill()
    world.start()
    certain = [found for found in ondisk.read_log(world.drive, f"{DATA}/t-0") if found.certain]
    assert world.log().acknowledged_end_offset <= len(certain)
    world.settle()
    assert [found.certain for found in ondisk.read_log(world.drive, f"{DATA}/t-0")] == [True, True]


def test_a_disk_that_cannot_be_read_is_a_storage_error_to_who_appends(log_world):
    world = log_world()
    world.append()
    world.process.kill()
    world.start()
    world.faults.read_error_percent = 100
    assert world.append().error == errors.KafkaStorageError.code
    assert world.manager.failures
