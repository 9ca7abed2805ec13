"""The coordinator's memory: a journal of transactions, each on disk before its answer, and snapshots that keep it short.

`journal.<first zxid>` files hold framed records; `snapshot.<zxid>` files hold the whole tree as of a zxid (hexadecimal, 16
digits). A frame is: magic, size of the payload, CRC32C of what follows, *synced position*, zxid, kind, payload. Rules:

* Writes are gathered while the last fdatasync runs and share the next one (group commit). `on_durable` tells how far it came.
* Every frame says up to which position its file was on disk when it was written. A bad frame before that position was whole
  once: a corruption, which stops the start. A bad frame with no such witness after it is a torn tail: nobody was told of it,
  so it is cut. A clean close leaves one last witness.
* Only the last file may have a torn tail; zxids are consecutive through all files.
* A full disk is waited out: nobody is answered meanwhile, and the log says so. A failed fdatasync, or any other error, fences the
  journal for good (pages that failed to be written are marked clean; trying again would lie).
* Snapshots are written beside the running journal, synced, then renamed. The newest two are kept, and the journal from the older
  one on: when the newest turns out corrupt, the older one and the journal give the same tree. One for which there is no room is
  given up, so that it takes none from the journal.

It does its I/O through `_core.File` and `Disk`; only `open` reads, before the reactor runs.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Generator
from functools import partial
from itertools import pairwise

from fastlog._core import crc32c
from fastlog.base_errors import FastlogError
from fastlog.coordinator.errors import CoordinatorError
from fastlog.coordinator.jute import JuteError, Reader, Writer
from fastlog.coordinator.records import FORMAT, decode_transaction, decode_znode, encode_transaction, encode_znode
from fastlog.coordinator.tree import Session, Transaction, Tree, Znode
from fastlog.env import Disk, Flusher
from fastlog.env.directories import make_directories_durably
from fastlog.env.reactor import Pending, Reactor
from fastlog.light import Logger, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, TypeVar

    from fastlog._core import File

    T = TypeVar("T")

JOURNAL_FILE_BYTES: Final = 4 << 20
"""A journal file of this size is followed by a new one, and by a snapshot when one is due."""
SNAPSHOT_SHARE: Final = 4
"""A snapshot is due when the journal since the last one has one part in so many of its size: those of a large tree don't take up
all the time, and a start doesn't read much more of the journal than of the snapshot.
"""
MAX_PAYLOAD_BYTES: Final = 4 << 20
"""More than the largest request that the coordinator accepts."""
SNAPSHOT_ZNODES_PER_TURN: Final = 500
SNAPSHOT_BYTES_PER_TURN: Final = 256 << 10
"""How much of a snapshot is encoded in one turn of the reactor (about a millisecond), and one znode."""
SNAPSHOT_SYNC_BYTES: Final = 1 << 20
"""So much of a snapshot is written, then synced before more is: the journal never waits long for the disk behind it."""
SNAPSHOTS_KEPT: Final = 2
FULL_DISK_RETRY_MS: Final = 1000

_MAGIC: Final = b"\xf1\x06ZJ"
_FRAME: Final = struct.Struct(">4sII")
_CHECKED: Final = struct.Struct(">qqB")
_FRAME_BYTES: Final = _FRAME.size + _CHECKED.size
HEAD: Final = 0
TRANSACTION: Final = 1
END: Final = 2

_SNAPSHOT_MAGIC: Final = b"\xf1\x06ZS"
_SNAPSHOT_HEAD: Final = struct.Struct(">4siqi")
_SNAPSHOT_TAIL: Final = struct.Struct(">I")
_LEAST_ZNODE_BYTES: Final = 84
_LEAST_SESSION_BYTES: Final = 16

JOURNAL_PREFIX: Final = "journal."
SNAPSHOT_PREFIX: Final = "snapshot."
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

logger = Logger(__name__)


class CorruptJournal(FastlogError):
    """A file of the coordinator is not what was written; names the file and the position."""

    def __init__(self, path: str, position: int, reason: str) -> None:
        super().__init__(
            f"{path}: corrupt at position {position}: {reason}; put back a good copy of the file, or move the coordinator's "
            "directory away to start with empty metadata"
        )
        self.path = path
        self.position = position
        self.reason = reason


class Frame(NamedTuple):
    """One record of a journal file; `end` is the position behind it."""

    synced_position: int
    zxid: int
    kind: int
    payload: bytes
    end: int


def _frame(kind: int, zxid: int, synced_position: int, payload: bytes) -> bytes:
    checked = _CHECKED.pack(synced_position, zxid, kind) + payload
    return _FRAME.pack(_MAGIC, len(payload), crc32c(checked)) + checked


def _head(last_zxid: int) -> bytes:
    """Return the first frame of a file that goes on after `last_zxid`."""
    return _frame(HEAD, last_zxid, 0, FORMAT.to_bytes(4, "big"))


def read_frame(data: bytes, position: int) -> Frame | str:
    """Return the frame at `position`, or what is wrong with it."""
    if len(data) - position < _FRAME_BYTES:
        return "the record is cut short"
    magic, size, crc = _FRAME.unpack_from(data, position)
    if magic != _MAGIC:
        return "no record begins here"
    end = position + _FRAME_BYTES + size
    if size > MAX_PAYLOAD_BYTES:
        return f"a record of {size} bytes"
    if end > len(data):
        return "the record is cut short"
    if crc32c(data[position + _FRAME.size : end]) != crc:
        return "the record's CRC is wrong"
    synced_position, zxid, kind = _CHECKED.unpack_from(data, position + _FRAME.size)
    return Frame(synced_position, zxid, kind, data[position + _FRAME_BYTES : end], end)


def has_witness(data: bytes, position: int) -> bool:
    """Tell whether a whole frame after `position` says that `position` had been synced.

    What was synced when a frame was written lies before it. What claims more is a client's data that looks like a frame.
    """
    at = data.find(_MAGIC, position + 1)
    while at != -1:
        frame = read_frame(data, at)
        if isinstance(frame, Frame) and position < frame.synced_position <= at:
            return True
        at = data.find(_MAGIC, at + 1)
    return False


def _file_names(disk: Disk, directory: str, prefix: str) -> list[tuple[int, str]]:
    """Return (zxid, path) of the directory's files with this prefix, ascending."""
    found = []
    for name in disk.list_directory(directory):
        digits = name.removeprefix(prefix)
        if digits != name and len(digits) == 16 and all(digit in "0123456789abcdef" for digit in digits):
            found.append((int(digits, 16), f"{directory}/{name}"))
    return sorted(found)


def read_whole(disk: Disk, path: str) -> bytes:
    """Return a file's bytes."""
    file = disk.open(path, read_only=True)
    try:
        file.drop_cache()  # where a sync failed, it holds what the device does not, and would never get
        size = file.size_bytes()
        parts: list[bytes] = []
        position = 0
        while position < size:
            part = file.pread(size - position, position)
            if not part:
                break
            parts.append(part)
            position += len(part)
        return b"".join(parts)
    finally:
        file.close()


def _write_all(file: File, data: bytes, position: int) -> None:
    """Write all of `data`; OSError with ENOSPC when it doesn't go in whole."""
    written = 0
    while written < len(data):
        count = file.pwritev([memoryview(data)[written:]], position + written)
        if count == 0:
            raise OSError(errno.ENOSPC, "no space is left", file.path)
        written += count


def _write_or_nothing(file: File, data: bytes, position: int) -> None:
    """Write all of `data` at a file's end; OSError, which leaves the file as it was where there was no room."""
    try:
        _write_all(file, data, position)
    except OSError as error:
        if error.errno in _NO_ROOM:
            file.ftruncate(position)
        raise


def _decode_session(fields: Reader) -> tuple[int, Session]:
    return fields.long(), Session(fields.integer(), fields.buffer() or b"")


def load_snapshot(disk: Disk, path: str) -> Tree:
    """Return the tree of a snapshot; CorruptJournal."""
    data = read_whole(disk, path)
    if len(data) < _SNAPSHOT_HEAD.size + _SNAPSHOT_TAIL.size:
        raise CorruptJournal(path, len(data), "the snapshot is cut short")
    body, (crc,) = data[: -_SNAPSHOT_TAIL.size], _SNAPSHOT_TAIL.unpack(data[-_SNAPSHOT_TAIL.size :])
    if crc32c(body) != crc:
        raise CorruptJournal(path, 0, "the snapshot's CRC is wrong")
    magic, version, zxid, _ = _SNAPSHOT_HEAD.unpack_from(body)
    if magic != _SNAPSHOT_MAGIC or version != FORMAT:
        raise CorruptJournal(path, 0, f"not a snapshot of format {FORMAT}")
    fields = Reader(body, _SNAPSHOT_HEAD.size - 4)
    try:
        sessions = dict(fields.vector(_decode_session, _LEAST_SESSION_BYTES))
        nodes = fields.vector(decode_znode, _LEAST_ZNODE_BYTES)
        fields.end()
        return Tree.restore(zxid, nodes, sessions)
    except ValueError as error:
        raise CorruptJournal(path, fields.position, str(error)) from error


class Journal:
    """An opened journal, ready to append. Made by `open`."""

    def __init__(
        self,
        reactor: Reactor,
        disk: Disk,
        flusher: Flusher,
        directory: str,
        file: File,
        position: int,
        last_zxid: int,
        snapshot_bytes: int,
        since_snapshot_bytes: int,
    ) -> None:
        self.directory = directory
        self.durable_zxid = last_zxid
        self.file_bytes = JOURNAL_FILE_BYTES
        self.on_durable: Callable[[int], object] = lambda zxid: None
        """Called with the greatest zxid that is on disk, each time it grows."""
        self.on_failed: Callable[[BaseException], object] = lambda error: None
        """Called once when the journal cannot go on."""
        self.failed: BaseException | None = None
        self._reactor = reactor
        self._disk = disk
        self._flusher = flusher
        self._file = file
        self._position = position
        self._synced_position = position
        self._waiting: list[tuple[int, bytes]] = []
        self._writer: Pending[None] | None = None
        self._snapshot: Pending[None] | None = None
        self._snapshot_due: Callable[[], Tree] | None = None
        self._snapshot_bytes = snapshot_bytes
        self._since_snapshot_bytes = since_snapshot_bytes  # in files that have ended
        self._milestones: list[tuple[int, Pending[None]]] = []
        self._closing = False

    # ---- opening ----

    @classmethod
    def open(cls, reactor: Reactor, disk: Disk, flusher: Flusher, directory: str) -> tuple[Journal, Tree]:
        """Read what the directory holds, cut a torn tail, and return the journal and its tree.

        Raises CorruptJournal, and OSError as the disk reports it. Reads synchronously: call it before the reactor runs.
        """
        make_directories_durably(disk, directory)
        for name in disk.list_directory(directory):
            if name.startswith(SNAPSHOT_PREFIX) and name.endswith(".tmp"):
                disk.unlink(f"{directory}/{name}")
        tree, snapshot_bytes, journals = cls._newest_tree(disk, directory)
        path = ""
        end, last_zxid, since_snapshot_bytes = 0, -1, 0
        for index, (first_zxid, path) in enumerate(journals):
            since_snapshot_bytes += end
            end, last_zxid = cls._replay(disk, path, first_zxid, tree, is_last=index + 1 == len(journals))
        if last_zxid != tree.zxid:  # there is none yet, or it ends before the snapshot
            path, end = f"{directory}/{JOURNAL_PREFIX}{tree.zxid + 1:016x}", 0
        file = disk.open(path, create=True)
        if file.size_bytes() > end:
            file.ftruncate(end)
        if end == 0:
            head = _head(tree.zxid)
            _write_all(file, head, 0)
            end = len(head)
        file.fdatasync()
        disk.sync_directory(directory)
        return cls(reactor, disk, flusher, directory, file, end, tree.zxid, snapshot_bytes, since_snapshot_bytes), tree

    @staticmethod
    def _newest_tree(disk: Disk, directory: str) -> tuple[Tree, int, list[tuple[int, str]]]:
        """Return the newest sound snapshot's tree and size, and the journal files that go on from it."""
        journals = _file_names(disk, directory, JOURNAL_PREFIX)
        snapshots = _file_names(disk, directory, SNAPSHOT_PREFIX)
        corrupt: CorruptJournal | None = None
        for zxid, path in reversed(snapshots):
            try:
                tree = load_snapshot(disk, path)
            except CorruptJournal as error:
                corrupt = corrupt or error
                continue
            if tree.zxid != zxid:
                corrupt = corrupt or CorruptJournal(path, 0, f"the snapshot is of zxid {tree.zxid:#x}")
                continue
            snapshot_bytes = disk.size_bytes(path)
            break
        else:
            tree, snapshot_bytes = Tree(), 0
        needed = [
            (first, path)
            for index, (first, path) in enumerate(journals)
            if index + 1 == len(journals) or journals[index + 1][0] > tree.zxid + 1
        ]
        if needed and needed[0][0] > tree.zxid + 1:
            raise corrupt or CorruptJournal(
                needed[0][1], 0, f"it begins with zxid {needed[0][0]:#x}, and nothing holds {tree.zxid + 1:#x}"
            )
        if corrupt and not needed:
            raise corrupt
        return tree, snapshot_bytes, needed

    @staticmethod
    def _replay(disk: Disk, path: str, first_zxid: int, tree: Tree, *, is_last: bool) -> tuple[int, int]:
        """Apply a file's transactions that the tree doesn't have; return the position after the last whole frame and its zxid."""
        data = read_whole(disk, path)
        position = 0
        last_zxid = first_zxid - 1
        while position < len(data) or position == 0:
            frame = read_frame(data, position)
            if isinstance(frame, str):
                if is_last and not has_witness(data, position):
                    return position, last_zxid
                raise CorruptJournal(path, position, frame)
            if (frame.kind == HEAD) is not (position == 0) or (position == 0 and frame.payload != FORMAT.to_bytes(4, "big")):
                raise CorruptJournal(path, position, f"not the head of a journal of format {FORMAT}")
            if frame.zxid != last_zxid + (frame.kind == TRANSACTION):
                raise CorruptJournal(path, position, f"zxid {frame.zxid:#x} follows {last_zxid:#x}")
            last_zxid = frame.zxid
            if frame.kind == TRANSACTION and frame.zxid > tree.zxid:
                try:
                    transaction = decode_transaction(frame.payload)
                    if (transaction.zxid, tree.zxid + 1) != (frame.zxid, frame.zxid):
                        raise CorruptJournal(path, position, f"zxid {frame.zxid:#x} follows {tree.zxid:#x}")
                    tree.apply(transaction)
                except (JuteError, CoordinatorError) as error:
                    raise CorruptJournal(path, position, f"transaction {frame.zxid:#x}: {error}") from error
            position = frame.end
        return position, last_zxid

    # ---- appending ----

    def append(self, transaction: Transaction) -> None:
        """Take a transaction; `on_durable` tells when it is on disk. After a failure nothing is taken any more."""
        if self.failed is not None or self._closing:
            return
        payload = encode_transaction(transaction)
        if len(payload) > MAX_PAYLOAD_BYTES:  # no start could read it
            self._fail(ValueError(f"transaction {transaction.zxid:#x} takes {len(payload)} bytes, and has {MAX_PAYLOAD_BYTES}"))
            return
        self._waiting.append((transaction.zxid, payload))
        if self._writer is None:
            self._writer = self._reactor.spawn(self._write())
            self._writer.then(self._written)

    def snapshot_when_due(self, tree: Callable[[], Tree]) -> None:
        """Say where the tree is found when a snapshot of it is due."""
        self._snapshot_due = tree

    def _job(self, job: Callable[[], Any]) -> Pending[Any]:
        pending = self._reactor.pending()
        self._flusher.submit(job, pending.settle)
        return pending

    def _write(self) -> Generator[Pending[Any], Any, None]:
        """Write and sync group after group until nothing waits."""
        while self._waiting:
            if self._position >= self.file_bytes:
                yield from self._next_file()
            group, self._waiting = self._waiting, []
            frames = b"".join(_frame(TRANSACTION, zxid, self._synced_position, payload) for zxid, payload in group)
            yield from self._waiting_for_room(partial(_write_or_nothing, self._file, frames, self._position))
            yield self._job(self._file.fdatasync)
            self._position += len(frames)
            self._synced_position = self._position
            self.durable_zxid = group[-1][0]
            self.on_durable(self.durable_zxid)
            reached = [waiter for waiter in self._milestones if waiter[0] <= self.durable_zxid]
            self._milestones = [waiter for waiter in self._milestones if waiter[0] > self.durable_zxid]
            for _, milestone in reached:
                milestone.complete(None)

    def _waiting_for_room(self, attempt: Callable[[], T]) -> Generator[Pending[Any], Any, T]:
        """Return what `attempt` does, again and again while the disk is full."""
        waits = False
        while True:
            try:
                result = attempt()
            except OSError as error:
                if error.errno not in _NO_ROOM or self._closing:
                    raise
                if not waits:
                    logger.warning(
                        "coordinator: %s: %s: no write is answered until there is room", self.directory, error.strerror
                    )
                waits = True
            else:
                if waits:
                    logger.warning("coordinator: %s: there is room again", self.directory)
                return result
            later = self._reactor.pending()
            self._reactor.call_later(FULL_DISK_RETRY_MS, later.complete, None)
            yield later

    def _next_file(self) -> Generator[Pending[Any], Any, None]:
        """Go on in a new file; everything in the present one is synced."""
        path = f"{self.directory}/{JOURNAL_PREFIX}{self.durable_zxid + 1:016x}"
        file = yield from self._waiting_for_room(partial(self._disk.open, path, create=True))
        head = _head(self.durable_zxid)
        yield from self._waiting_for_room(partial(_write_or_nothing, file, head, 0))
        yield self._job(file.fdatasync)
        yield self._job(lambda: self._disk.sync_directory(self.directory))
        self._file.close()
        self._since_snapshot_bytes += self._position
        self._file, self._position, self._synced_position = file, len(head), len(head)
        is_due = SNAPSHOT_SHARE * self._since_snapshot_bytes >= self._snapshot_bytes
        if is_due and self._snapshot is None and self._snapshot_due is not None and not self._closing:
            self._since_snapshot_bytes = 0
            self._snapshot = self._reactor.spawn(self._write_snapshot(self._snapshot_due()))
            self._snapshot.then(self._snapshot_written)

    def _written(self, outcome: Pending[None]) -> None:
        self._writer = None
        try:
            outcome.result()
        except Exception as error:
            self._fail(error)
            return
        if self._waiting:
            self._writer = self._reactor.spawn(self._write())
            self._writer.then(self._written)

    def _fail(self, error: BaseException) -> None:
        if self.failed is None:
            self.failed = error
            self._waiting.clear()
            for _, milestone in self._milestones:
                milestone.fail(error)
            self._milestones.clear()
            self.on_failed(error)

    # ---- snapshots ----

    def _write_snapshot(self, tree: Tree) -> Generator[Pending[Any], Any, None]:
        """Write the tree as it is now beside the running journal, then drop what is no longer needed."""
        path = f"{self.directory}/{SNAPSHOT_PREFIX}{tree.zxid:016x}"
        try:
            yield from self._write_snapshot_as(path, tree)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            logger.warning("coordinator: %s.tmp: %s: the next snapshot may be better off", path, error.strerror)
            try:  # noqa: SIM105 - a start has no other use for contextlib
                yield self._job(partial(self._disk.unlink, path + ".tmp"))
            except FileNotFoundError:
                pass
        else:
            yield from self._prune()

    def _write_snapshot_as(self, path: str, tree: Tree) -> Generator[Pending[Any], Any, None]:
        zxid, nodes, sessions = tree.zxid, dict(tree.nodes), dict(tree.sessions)
        file = self._disk.open(path + ".tmp", create=True)
        try:
            file.ftruncate(0)
            position, crc, synced_position = 0, 0, 0
            for part in _encode_snapshot(zxid, nodes, sessions):
                _write_all(file, part, position)
                position, crc = position + len(part), crc32c(part, crc)
                if position - synced_position >= SNAPSHOT_SYNC_BYTES:
                    yield self._job(file.fdatasync)
                    synced_position = position
                else:
                    yield self._reactor.next_turn()
            _write_all(file, _SNAPSHOT_TAIL.pack(crc), position)
            yield self._job(file.fdatasync)
        finally:
            file.close()
        self._snapshot_bytes = position + _SNAPSHOT_TAIL.size
        if self.durable_zxid < zxid:  # a snapshot must not know more than the journal
            milestone: Pending[None] = self._reactor.pending()
            self._milestones.append((zxid, milestone))
            yield milestone
        yield self._job(lambda: self._disk.rename(path + ".tmp", path))
        yield self._job(lambda: self._disk.sync_directory(self.directory))

    def _snapshot_written(self, outcome: Pending[None]) -> None:
        self._snapshot = None
        try:
            outcome.result()
        except Exception as error:
            self._fail(error)

    def _prune(self) -> Generator[Pending[Any], Any, None]:
        snapshots = _file_names(self._disk, self.directory, SNAPSHOT_PREFIX)
        if len(snapshots) < SNAPSHOTS_KEPT:
            return
        oldest_kept = snapshots[-SNAPSHOTS_KEPT][0]
        journals = _file_names(self._disk, self.directory, JOURNAL_PREFIX)
        unneeded = [path for _, path in snapshots[:-SNAPSHOTS_KEPT]]
        unneeded += [path for (_, path), (following, _) in pairwise(journals) if following <= oldest_kept + 1]
        for path in unneeded:
            yield self._job(partial(self._disk.unlink, path))

    # ---- closing ----

    def close(self) -> Pending[None]:
        """Write out what waits, leave the last witness, and close the file; fails when that cannot be done."""
        self._closing = True
        return self._reactor.spawn(self._close())

    def _close(self) -> Generator[Pending[Any], Any, None]:
        try:
            for running in (self._writer, self._snapshot):
                if running is not None:
                    yield running
            if self.failed is not None:
                raise self.failed
            end = _frame(END, self.durable_zxid, self._position, b"")
            _write_all(self._file, end, self._position)
            yield self._job(self._file.fdatasync)
        finally:
            self._file.close()


def _encode_snapshot(zxid: int, nodes: dict[str, Znode], sessions: dict[int, Session]) -> Generator[bytes, None, None]:
    """Yield a snapshot in pieces, in the order of `nodes`, without its CRC."""
    yield _SNAPSHOT_HEAD.pack(_SNAPSHOT_MAGIC, FORMAT, zxid, len(sessions))
    out = Writer()
    for session_id, session in sorted(sessions.items()):
        out.long(session_id)
        out.integer(session.timeout_ms)
        out.buffer(session.password)
    out.integer(len(nodes))
    count = data_bytes = 0
    for path, node in nodes.items():
        encode_znode(out, path, node)
        count, data_bytes = count + 1, data_bytes + len(node.data or b"")
        if count == SNAPSHOT_ZNODES_PER_TURN or data_bytes >= SNAPSHOT_BYTES_PER_TURN:
            yield out.to_bytes()
            out = Writer()
            count = data_bytes = 0
    yield out.to_bytes()
