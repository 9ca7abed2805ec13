import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog.coordinator import journal as journal_module
from fastlog.coordinator.acl import Entry
from fastlog.coordinator.journal import CorruptJournal, Journal
from fastlog.coordinator.records import decode_transaction, encode_transaction
from fastlog.coordinator.tree import Check, CloseSession, Create, Delete, OpenSession, SetAcl, SetData, Transaction

DIRECTORY = "/c"
FIRST = "/c/journal.0000000000000001"
SESSION = 9


class Kept:
    """A journal and its tree on a machine, and what it has told to be durable."""

    def __init__(self, machine):
        self.machine = machine
        self.journal, self.tree = Journal.open(machine.reactor, machine.disk, machine.flusher, DIRECTORY)
        self.durable = []
        self.journal.on_durable = self.durable.append

    def do(self, *operations):
        request = operations[0] if isinstance(operations[0], OpenSession | CloseSession) else operations
        transaction = Transaction(self.tree.zxid + 1, 5, SESSION, request)
        self.tree.apply(transaction)
        self.journal.append(transaction)

    def state(self):
        return dict(self.tree.nodes), dict(self.tree.sessions), self.tree.zxid


@pytest.fixture
def keep(new_machine):
    return lambda files=None: Kept(new_machine(files))


@pytest.fixture
def three_groups(keep):
    """A journal of one session and three writes, each synced by itself; (contents, state after each transaction)."""
    kept = keep()
    states = [kept.state()]
    for operations in (
        [OpenSession(SESSION, 5)],
        [Create("/a", b"one")],
        [Create("/b", None), SetData("/a", b"2")],
        [Delete("/b")],
    ):
        kept.do(*operations)
        states.append(kept.state())
        kept.machine.settle()
    return kept.machine.disk.contents(), states


def ends_of_frames(data):
    """Return the end of each frame, and check that the file is nothing but frames."""
    ends, position = [], 0
    while position < len(data):
        frame = journal_module.read_frame(data, position)
        assert not isinstance(frame, str), frame
        position = frame.end
        ends.append(position)
    return ends


def test_finds_everything_again(keep, three_groups):
    files, states = three_groups
    assert keep(files).state() == states[-1]


def test_tells_of_nothing_before_it_is_synced(keep):
    kept = keep()
    kept.machine.flusher.held = True
    kept.do(OpenSession(SESSION, 5))
    kept.machine.turn(5)
    assert kept.durable == []
    assert keep(kept.machine.disk.synced_contents()).tree.zxid == 0
    kept.machine.flusher.release()
    kept.machine.settle()
    assert kept.durable == [1]
    assert keep(kept.machine.disk.synced_contents()).tree.zxid == 1


def test_writes_that_wait_share_one_sync(keep):
    kept = keep()
    kept.machine.flusher.held = True
    kept.do(OpenSession(SESSION, 5))
    kept.machine.turn(3)
    for number in range(20):
        kept.do(Create(f"/n{number}"))
        kept.machine.turn()
    kept.machine.disk.happened.clear()
    kept.machine.flusher.release()
    kept.machine.settle()
    assert kept.durable == [1, 21]
    assert [what for what, _ in kept.machine.disk.happened] == ["sync", "write", "sync"]


def test_cut_at_every_byte_the_whole_prefix_is_kept(keep, three_groups):
    files, states = three_groups
    data = files[FIRST]
    ends = ends_of_frames(data)
    for cut in range(len(data) + 1):
        kept = keep({FIRST: data[:cut]})
        whole = sum(end <= cut for end in ends)
        assert kept.state() == states[max(0, whole - 1)], f"cut at {cut}"
        if kept.tree.zxid:
            kept.do(Create("/later"))
        else:
            kept.do(OpenSession(SESSION, 5))
        kept.machine.settle()
        assert keep(kept.machine.disk.contents()).state() == kept.state()


def test_a_flipped_bit_stops_the_start_or_was_never_answered_for(keep, three_groups):
    files, states = three_groups
    data = files[FIRST]
    last_begins = ends_of_frames(data)[-2]
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        if position < last_begins:
            with pytest.raises(CorruptJournal, match=FIRST) as error:
                keep({FIRST: bytes(flipped)})
            assert error.value.position <= position
            assert str(error.value.position) in str(error.value)
        else:  # nothing on the disk says that the last group was ever synced
            assert keep({FIRST: bytes(flipped)}).state() == states[-2]


def test_after_a_clean_close_every_flipped_bit_before_the_last_record_stops_the_start(keep):
    kept = keep()
    kept.do(OpenSession(SESSION, 5))
    kept.do(Create("/a"))
    kept.machine.wait(kept.journal.close())
    data = kept.machine.disk.contents()[FIRST]
    for position in range(ends_of_frames(data)[-2]):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        with pytest.raises(CorruptJournal):
            keep({FIRST: bytes(flipped)})
    again = keep({FIRST: data})
    assert again.state() == kept.state()
    again.do(Create("/b"))
    again.machine.settle()
    assert keep(again.machine.disk.contents()).tree.children("/") == ["a", "b", "zookeeper"]


def test_a_hole_in_what_was_never_synced_is_a_torn_tail(keep):
    """Sectors persist in any order: the second record of a group may be there and the first not."""
    kept = keep()
    kept.do(OpenSession(SESSION, 5))
    kept.machine.settle()
    synced = kept.machine.disk.contents()[FIRST]
    kept.machine.flusher.held = True
    for number in range(3):
        kept.do(Create(f"/n{number}", bytes(600)))
    kept.machine.turn(3)
    torn = bytearray(kept.machine.disk.contents()[FIRST])
    assert len(torn) > len(synced) + 1800
    torn[len(synced) : len(synced) + 512] = bytes(512)
    again = keep({FIRST: bytes(torn)})
    assert again.tree.zxid == 1
    assert again.machine.disk.contents()[FIRST] == synced


def test_data_that_looks_like_a_record_vouches_for_nothing(keep):
    forged = journal_module._frame(journal_module.END, 1, 1 << 40, b"") + b"x" * 500
    kept = keep()
    kept.do(OpenSession(SESSION, 5))
    kept.machine.settle()
    synced = kept.machine.disk.contents()[FIRST]
    kept.do(Create("/a", forged))
    kept.machine.settle()
    files = kept.machine.disk.contents()
    files[FIRST] = files[FIRST][:-100]
    again = keep(files)
    assert again.tree.zxid == 1
    assert again.machine.disk.contents()[FIRST] == synced


@pytest.fixture
def rotated(keep):
    """A journal of several files with snapshots, and the state at its end."""
    kept = keep()
    kept.journal.file_bytes = 2000
    kept.journal.snapshot_when_due(lambda: kept.tree)
    kept.do(OpenSession(SESSION, 5))
    kept.do(Create("/n"))
    for number in range(60):
        kept.do(Create(f"/n/{number}", b"x" * 100))
        kept.machine.settle()
    return kept


def test_goes_on_in_new_files_and_drops_what_two_snapshots_cover(keep, rotated):
    files = rotated.machine.disk.contents()
    snapshots = sorted(path for path in files if "snapshot" in path)
    journals = sorted(path for path in files if "journal" in path)
    assert len(snapshots) == 2
    assert len(journals) < 5
    assert FIRST not in journals
    assert not any(path.endswith(".tmp") for path in files)
    assert keep(files).state() == rotated.state()
    oldest = int(snapshots[0].rpartition(".")[2], 16)
    assert int(journals[0].rpartition(".")[2], 16) <= oldest + 1


def snapshots_of(kept):
    return [path for what, path in kept.machine.disk.happened if what == "rename"]


def test_a_large_tree_is_written_down_when_a_part_of_its_size_was_journaled_and_not_more_often(keep):
    kept = keep()
    kept.do(OpenSession(SESSION, 5))
    for number in range(40):
        kept.do(Create(f"/{number}", b"x" * 1000))
    kept.journal.file_bytes = 2000
    kept.journal.snapshot_when_due(lambda: kept.tree)

    def write_twenty():
        for number in range(20):  # of some 150 bytes each, 3,000 in all
            kept.do(SetData("/0", bytes([number]) * 90))
            kept.machine.settle()

    write_twenty()
    (first,) = snapshots_of(kept)  # nothing was there, and 40,000 bytes of journal
    assert len(kept.machine.disk.contents()[first]) > 40_000
    for _ in range(2):
        write_twenty()
    assert len(snapshots_of(kept)) == 1, "10,000 bytes are the fourth part"
    files = kept.machine.disk.contents()
    kept = keep(files)
    kept.journal.file_bytes = 2000
    kept.journal.snapshot_when_due(lambda: kept.tree)
    for _ in range(2):
        write_twenty()
    assert len(snapshots_of(kept)) == 1, "what was journaled before the start counts too"
    assert keep(kept.machine.disk.contents()).state() == kept.state()


def test_a_snapshot_is_synced_as_it_is_written(keep, monkeypatch):
    monkeypatch.setattr(journal_module, "SNAPSHOT_ZNODES_PER_TURN", 5)
    monkeypatch.setattr(journal_module, "SNAPSHOT_SYNC_BYTES", 1500)
    kept = keep()
    kept.journal.file_bytes = 2000
    kept.do(OpenSession(SESSION, 5))
    for number in range(50):
        kept.do(Create(f"/{number}", b"x" * 100))
    kept.machine.settle()
    kept.journal.snapshot_when_due(lambda: kept.tree)
    kept.do(SetData("/0", b""))
    kept.machine.settle()
    (snapshot,) = snapshots_of(kept)
    steps = [what for what, path in kept.machine.disk.happened if path == f"{snapshot}.tmp"]
    written = "".join("w" if what == "write" else "s" for what in steps if what != "truncate").split("s")
    assert len(written) > 5 and max(map(len, written)) <= 4, "each part has some 900 bytes"
    assert keep(kept.machine.disk.contents()).state() == kept.state()


def test_a_corrupt_newest_snapshot_costs_nothing(keep, rotated):
    files = rotated.machine.disk.contents()
    newest = max(path for path in files if "snapshot" in path)
    files[newest] = files[newest][:-9] + b"!" + files[newest][-8:]
    assert keep(files).state() == rotated.state()


def test_two_corrupt_snapshots_stop_the_start(keep, rotated):
    files = rotated.machine.disk.contents()
    for path in list(files):
        if "snapshot" in path:
            files[path] = files[path][:50]
    with pytest.raises(CorruptJournal, match=r"/c/snapshot\."):
        keep(files)


def test_a_missing_file_stops_the_start(keep, rotated):
    files = rotated.machine.disk.contents()
    for path in [path for path in files if "snapshot" in path]:
        del files[path]
    with pytest.raises(CorruptJournal, match="nothing holds 0x1"):
        keep(files)


def test_a_torn_file_that_is_not_the_last_stops_the_start(keep, rotated):
    files = rotated.machine.disk.contents()
    first = min(path for path in files if "journal" in path)
    files[first] = files[first][:-1]
    with pytest.raises(CorruptJournal, match=first):
        files = {path: data for path, data in files.items() if path != max(p for p in files if "snapshot" in p)}
        keep(files)


def test_a_new_file_without_its_head_is_begun_again(keep, rotated):
    files = rotated.machine.disk.contents()
    files[f"/c/journal.{rotated.tree.zxid + 1:016x}"] = b"\xf1"
    again = keep(files)
    assert again.state() == rotated.state()
    again.do(Create("/later"))
    again.machine.settle()
    assert keep(again.machine.disk.contents()).state() == again.state()


def test_a_journal_that_ends_before_its_snapshot_goes_on_in_a_new_file(keep, rotated):
    files = rotated.machine.disk.contents()
    newest_snapshot = max(path for path in files if "snapshot" in path)
    for path in [path for path in files if "journal" in path]:
        del files[path]
    again = keep(files)
    assert again.tree.zxid == int(newest_snapshot.rpartition(".")[2], 16)
    again.do(Create("/later"))
    again.machine.settle()
    assert keep(again.machine.disk.contents()).state() == again.state()


def test_snapshots_only_know_what_the_journal_holds(keep):
    """Whenever the machine is lost, what is synced is a state that had been reached, and no acknowledged one is missing."""
    kept = keep()
    states = {0: kept.state()}
    kept.journal.file_bytes = 600
    kept.journal.snapshot_when_due(lambda: kept.tree)
    kept.do(OpenSession(SESSION, 5))
    kept.do(Create("/n"))
    for number in range(40):
        kept.do(Create(f"/n/{number}", b"x" * 50))
        states[kept.tree.zxid] = kept.state()
        for _ in range(3):
            kept.machine.turn()
            found = keep(kept.machine.disk.synced_contents()).state()
            assert found[2] >= max(kept.durable, default=0)
            if found[2] in states:
                assert found == states[found[2]]


def test_waits_for_room_on_a_full_disk(keep):
    kept = keep()
    kept.do(OpenSession(SESSION, 5))
    kept.machine.settle()
    kept.machine.disk.free_bytes = len(kept.machine.disk.contents()[FIRST]) + 10
    kept.do(Create("/a"))
    kept.machine.turn(50)
    assert kept.durable == [1]
    assert kept.journal.failed is None
    assert keep(kept.machine.disk.contents()).tree.zxid == 1
    kept.machine.disk.free_bytes = None
    while kept.durable != [1, 2]:
        kept.machine.turn()
    assert keep(kept.machine.disk.synced_contents()).state() == kept.state()


def test_a_full_disk_is_told_of_once_and_so_is_its_end(keep, caplog):
    kept = keep()
    kept.machine.disk.free_bytes = 100
    kept.do(OpenSession(SESSION, 5, b"p" * 100))
    for _ in range(5):
        kept.machine.clock.now_ns += 2_000_000_000
        kept.machine.settle()
    assert kept.durable == []
    assert [record.getMessage() for record in caplog.records] == [
        "coordinator: /c: no space: no write is answered until there is room"
    ]
    kept.machine.disk.free_bytes = None
    kept.machine.clock.now_ns += 2_000_000_000
    kept.machine.settle()
    assert kept.durable == [1]
    assert caplog.records[-1].getMessage() == "coordinator: /c: there is room again"


def test_waits_where_no_new_file_can_be_made(keep, caplog):
    kept = keep()
    kept.do(OpenSession(SESSION, 5))
    kept.machine.settle()
    kept.journal.file_bytes = 50
    kept.machine.disk.fail = {"create": errno.ENOSPC}
    kept.do(Create("/a"))
    kept.machine.turn(10)
    assert (kept.durable, kept.journal.failed) == ([1], None)
    assert "until there is room" in caplog.text
    kept.machine.disk.fail = {}
    while kept.durable != [1, 2]:
        kept.machine.turn()
    assert keep(kept.machine.disk.synced_contents()).state() == kept.state()


@pytest.mark.parametrize("what", ["create", "write"])
def test_a_snapshot_for_which_there_is_no_room_is_given_up(keep, caplog, what):
    kept = keep()
    kept.journal.file_bytes = 300
    kept.journal.snapshot_when_due(lambda: kept.tree)
    kept.machine.disk.no_room_for = ".tmp", what
    kept.do(OpenSession(SESSION, 5))
    for number in range(20):
        kept.do(Create(f"/{number}", b"x" * 50))
        kept.machine.settle()
    assert kept.durable[-1] == kept.tree.zxid
    assert "the next snapshot may be better off" in caplog.text
    assert not [path for path in kept.machine.disk.contents() if "snapshot" in path]
    kept.machine.disk.no_room_for = None
    for number in range(20, 40):
        kept.do(Create(f"/{number}", b"x" * 50))
        kept.machine.settle()
    assert len([path for path in kept.machine.disk.contents() if "snapshot" in path]) == 2
    assert keep(kept.machine.disk.contents()).state() == kept.state()


def test_a_snapshot_is_written_in_small_pieces(keep):
    """However large the znodes are: a piece is encoded and written in one turn of the reactor."""
    kept = keep()
    kept.do(OpenSession(SESSION, 5))
    for number in range(40):
        kept.do(Create(f"/{number}", b"x" * 100_000))
    kept.do(*[Create(f"/small{number}") for number in range(2000)])
    pieces = [len(piece) for piece in journal_module._encode_snapshot(1, dict(kept.tree.nodes), {})]
    assert sum(pieces) > 4_000_000
    assert max(pieces) < journal_module.SNAPSHOT_BYTES_PER_TURN + 200_000


def test_what_no_start_could_read_is_never_written(keep):
    kept = keep()
    failures = []
    kept.journal.on_failed = failures.append
    kept.do(OpenSession(SESSION, 5))
    kept.machine.settle()
    kept.do(Create("/large", b"x" * (journal_module.MAX_PAYLOAD_BYTES + 1)))
    kept.machine.settle()
    assert kept.durable == [1]
    assert "transaction 0x2 takes" in str(failures[0])
    assert keep(kept.machine.disk.contents()).tree.zxid == 1


def test_a_full_disk_does_not_keep_it_from_closing(keep):
    kept = keep()
    kept.machine.disk.free_bytes = 0
    kept.do(OpenSession(SESSION, 5))
    kept.machine.turn(10)
    with pytest.raises(OSError, match="no space"):
        kept.machine.wait(kept.journal.close())


@pytest.mark.parametrize("what", ["sync", "write"])
def test_a_failed_sync_or_write_fences_it_for_good(keep, what):
    kept = keep()
    failures = []
    kept.journal.on_failed = failures.append
    kept.machine.disk.fail = {what: errno.EIO}
    kept.do(OpenSession(SESSION, 5))
    kept.machine.settle()
    kept.machine.disk.fail = {}
    kept.do(Create("/a"))
    kept.machine.settle()
    assert kept.durable == []
    assert [error.errno for error in failures] == [errno.EIO]
    with pytest.raises(OSError, match=what):
        kept.machine.wait(kept.journal.close())


def test_leaves_strange_files_alone_and_removes_half_written_snapshots(keep):
    kept = keep({"/c/snapshot.00000000000000ff.tmp": b"half", "/c/journal.txt": b"notes", "/c/notes.tmp": b"mine"})
    assert kept.machine.disk.contents().keys() == {"/c/journal.txt", "/c/notes.tmp", FIRST}


def test_another_format_is_refused(keep, three_groups, monkeypatch):
    files, _ = three_groups
    monkeypatch.setattr(journal_module, "FORMAT", 3)
    with pytest.raises(CorruptJournal, match="format 3"):
        keep(files)


PATHS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(lambda text: "/" + text)
DATA = st.none() | st.binary(max_size=40)
INTS = st.integers(-(1 << 31), (1 << 31) - 1)
LONGS = st.integers(0, (1 << 63) - 1)
ACLS = st.lists(st.builds(Entry, INTS, st.text(max_size=5), st.text(max_size=5)), min_size=1, max_size=3).map(tuple)
OPERATIONS = st.one_of(
    st.builds(Create, PATHS, DATA, st.booleans(), st.booleans(), ACLS, st.booleans(), LONGS),
    st.builds(Delete, PATHS, INTS),
    st.builds(SetAcl, PATHS, ACLS, INTS),
    st.builds(SetData, PATHS, DATA, INTS),
    st.builds(Check, PATHS, INTS),
)
REQUESTS = (
    st.builds(OpenSession, LONGS, INTS, st.binary(max_size=16))
    | st.builds(CloseSession, LONGS)
    | st.lists(OPERATIONS, max_size=5).map(tuple)
)


@settings(deadline=None)
@given(st.builds(Transaction, LONGS, LONGS, LONGS, REQUESTS))
def test_transactions_come_back_as_they_were(transaction):
    assert decode_transaction(encode_transaction(transaction)) == transaction


@settings(deadline=None)
@given(st.builds(Transaction, LONGS, LONGS, LONGS, REQUESTS), st.data())
def test_damaged_transactions_are_refused_or_are_others(transaction, data):
    encoded = encode_transaction(transaction)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ValueError):
        decode_transaction(encoded[:cut])
