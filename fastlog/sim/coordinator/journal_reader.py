"""The coordinator's journal, read straight from the simulated drive while it is written: the checker's view past its back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastlog.coordinator.journal import JOURNAL_PREFIX, SNAPSHOT_PREFIX, TRANSACTION, read_frame
from fastlog.coordinator.records import decode_transaction
from fastlog.sim.drive import DirectoryNode, Drive, FileNode

if TYPE_CHECKING:
    from fastlog.coordinator.tree import Transaction


class JournalReader:
    """Follows the journal files of a directory. A restart may cut what was read: `read_again` begins anew."""

    def __init__(self, drive: Drive, directory: str) -> None:
        self.snapshots: dict[str, None] = {}
        """The names of all snapshots there ever were."""
        self.files: dict[str, None] = {}
        """The names of all journal files there ever were."""
        self._drive = drive
        self._directory = directory
        self._name = ""
        self._position = 0

    def read_again(self) -> list[Transaction]:
        """Return all transactions that are there, from the oldest file on."""
        self._name, self._position = "", 0
        return self.read_on()

    def read_on(self) -> list[Transaction]:
        """Return the transactions that came since the last call."""
        found: list[Transaction] = []
        try:
            directory = self._drive.find_directory(self._directory)
        except OSError:
            return found
        for name in self._journals(directory):
            if name < self._name:
                continue
            if name > self._name:
                self._name, self._position = name, 0
            node = directory.entries[name]
            assert isinstance(node, FileNode)
            if self._position == len(node.cache):
                continue
            content = bytes(node.cache)
            while self._position < len(content):
                frame = read_frame(content, self._position)
                if isinstance(frame, str):
                    break  # a torn tail, or a write under way
                self._position = frame.end
                if frame.kind == TRANSACTION:
                    found.append(decode_transaction(frame.payload))
        return found

    def _journals(self, directory: DirectoryNode) -> list[str]:
        journals = []
        for name in directory.entries:
            if name.startswith(JOURNAL_PREFIX):
                journals.append(name)
                self.files[name] = None
            elif name.startswith(SNAPSHOT_PREFIX) and not name.endswith(".tmp"):
                self.snapshots[name] = None
        return sorted(journals)
