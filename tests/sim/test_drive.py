"""What a loss of power may and may not do, over many draws."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlog.sim.drive import SECTOR_BYTES, DirectoryNode, Drive, FileNode
from fastlog.sim.entropy import Entropy


def lost(write, draws=300):
    """Return the contents that `write(node)` may leave after a loss of power."""
    outcomes = []
    for seed in range(draws):
        node = FileNode()
        write(node)
        node.lose_power(Entropy(seed))
        outcomes.append(bytes(node.cache))
    return outcomes


def test_synced_bytes_survive():
    def write(node):
        node.write(0, b"kept" * 300)
        node.sync()
        node.write(1200, b"tail" * 300)

    assert all(outcome[:1200] == b"kept" * 300 for outcome in lost(write))


def test_unsynced_bytes_may_survive_or_not_by_sector():
    new = bytes([1]) * SECTOR_BYTES * 4
    outcomes = lost(lambda node: node.write(0, new))
    assert new in outcomes
    assert b"" in outcomes
    assert bytes(len(new)) in outcomes
    whole = [outcome for outcome in outcomes if len(outcome) == len(new)]
    assert any(
        outcome[:SECTOR_BYTES] == bytes(SECTOR_BYTES) and outcome[SECTOR_BYTES:] == new[SECTOR_BYTES:] for outcome in whole
    )


def test_a_sector_may_be_torn():
    new = bytes([1]) * SECTOR_BYTES
    whole = [outcome for outcome in lost(lambda node: node.write(0, new)) if len(outcome) == SECTOR_BYTES]
    assert any(outcome[0] == 1 and outcome[-1] == 0 for outcome in whole), "new then old"
    assert any(byte not in (0, 1) for outcome in whole for byte in outcome), "garbage"


def test_size_persists_apart_from_data():
    def write(node):
        node.write(0, b"x" * SECTOR_BYTES)
        node.sync()
        node.write(SECTOR_BYTES, b"y" * SECTOR_BYTES)

    outcomes = lost(write)
    assert any(len(outcome) == 2 * SECTOR_BYTES and outcome[SECTOR_BYTES:] == bytes(SECTOR_BYTES) for outcome in outcomes)
    assert any(SECTOR_BYTES < len(outcome) < 2 * SECTOR_BYTES for outcome in outcomes)


def test_an_unsynced_truncation_may_come_undone():
    def write(node):
        node.write(0, b"x" * 1000)
        node.sync()
        node.truncate(100)

    outcomes = lost(write)
    assert b"x" * 1000 in outcomes
    assert b"x" * 100 in outcomes
    assert all(outcome[:100] == b"x" * 100 for outcome in outcomes)


def test_a_failed_sync_loses_the_data_even_when_the_next_one_succeeds():
    node = FileNode()
    node.write(0, b"old")
    node.sync()
    node.write(0, b"new")
    node.fail_sync()
    assert bytes(node.cache) == b"new"
    node.sync()
    assert bytes(node.cache) == b"new"
    node.lose_power(Entropy(1))
    assert bytes(node.cache) == b"old"


def test_eviction_after_a_failed_sync_shows_the_old_bytes():
    node = FileNode()
    node.write(0, b"gone")
    node.fail_sync()
    node.evict()
    assert bytes(node.cache) == bytes(4)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_certain_bytes_survive_every_loss(data):
    node = FileNode()
    for _ in range(data.draw(st.integers(1, 12))):
        action = data.draw(st.sampled_from(["append", "overwrite", "truncate", "sync", "fail"]))
        size = len(node.cache)
        if action == "append":
            node.write(size, bytes([data.draw(st.integers(1, 255))]) * data.draw(st.integers(1, 1500)))
        elif action == "overwrite":
            node.write(data.draw(st.integers(0, size)), b"o" * data.draw(st.integers(1, 700)))
        elif action == "truncate":
            node.truncate(data.draw(st.integers(0, size + 10)))
        elif action == "sync":
            node.sync()
        else:
            node.fail_sync()
    certain = bytes(node.cache[: node.certain_bytes()])
    node.lose_power(Entropy(data.draw(st.integers(0, 1 << 32))))
    assert bytes(node.cache[: len(certain)]) == certain


def new_file(drive, path):
    parent, name = drive.parent_of(path)
    node = FileNode()
    drive.change_names([(parent, name, node)])
    return node


def test_a_name_is_durable_once_its_directory_and_those_above_are_synced():
    drive = Drive("d")
    directory = drive.make_directory(drive.root, "a")
    new_file(drive, "/a/f")
    assert not drive.is_durable("/a/f")
    directory.sync()
    assert not drive.is_durable("/a/f")
    drive.root.sync()
    assert drive.is_durable("/a/f")
    drive.change_names([(directory, "f", None), (directory, "g", directory.entries["f"])])
    assert not drive.is_durable("/a/g")


def test_unsynced_names_survive_as_a_prefix_of_their_changes():
    seen = []
    for seed in range(60):
        drive = Drive("d")
        for name in ("one", "two", "three"):
            new_file(drive, f"/{name}")
        drive.lose_power(Entropy(seed))
        seen.append(tuple(drive.root.entries))
    assert sorted(dict.fromkeys(seen)) == [(), ("one",), ("one", "two"), ("one", "two", "three")]


def test_a_rename_is_whole_or_not_at_all():
    seen = []
    for seed in range(40):
        drive = Drive("d")
        node = new_file(drive, "/old")
        drive.root.sync()
        drive.change_names([(drive.root, "old", None), (drive.root, "new", node)])
        drive.lose_power(Entropy(seed))
        seen.append(tuple(drive.root.entries))
    assert sorted(dict.fromkeys(seen)) == [("new",), ("old",)]


def test_a_loss_of_power_is_another_boot():
    drive = Drive("d")
    drive.lose_power(Entropy(1))
    assert drive.boots == 2


def test_finding_what_is_not_there():
    drive = Drive("d")
    new_file(drive, "/f")
    with pytest.raises(FileNotFoundError):
        drive.find("/g")
    with pytest.raises(NotADirectoryError):
        drive.find("/f/g")
    assert isinstance(drive.find("/"), DirectoryNode)
