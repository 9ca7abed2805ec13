"""Reads of what the page cache does not hold: how they share the flusher."""

from fastlog.api.cold_reads import MAX_UNDER_WAY, ColdReads


class Region:
    def __init__(self, name, read):
        self.load = lambda: read.append(name)


def test_who_reads_little_does_not_wait_for_those_who_read_much(machine):
    read, done = [], []
    reads = ColdReads(machine.flusher)
    machine.flusher.held = True
    for number in range(MAX_UNDER_WAY + 1):
        name = f"much {number}"
        reads.load([Region(name, read) for _ in range(20)], lambda name=name: done.append(name))
    reads.load([Region("little", read)], lambda: done.append("little"))
    machine.settle()
    assert len(machine.flusher.jobs) == MAX_UNDER_WAY and not read
    machine.flusher.release()
    machine.settle()
    assert read.index("little") == MAX_UNDER_WAY + 1
    assert done[0] == "little" and len(done) == MAX_UNDER_WAY + 2
    assert all(read.count(f"much {number}") == 20 for number in range(MAX_UNDER_WAY + 1))


def test_what_is_given_up_between_two_regions_is_read_no_further(machine):
    read, done = [], []
    reads = ColdReads(machine.flusher)
    machine.flusher.held = True
    give_up = reads.load([Region(number, read) for number in range(5)], lambda: done.append("given up"))
    reads.load([Region("other", read)], lambda: done.append("other"))
    give_up()
    machine.flusher.release()
    machine.settle()
    assert (read, done) == ([0, "other"], ["other"])
