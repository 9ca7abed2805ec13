"""The compiled core: bytes, offsets and files. It knows no topic, clock, configuration or replica.

Everything here is usable without a broker. Objects have one owner thread; methods that do I/O release the GIL around the system
call. Sizes are bytes, counts are records, positions are byte positions in a file, offsets are logical.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, final

from typing_extensions import Buffer, disjoint_base

# ---- bytes ----------------------------------------------------------------------------------------------------------------

@final
class Slice:
    """A range of bytes inside an owner's memory, exported by the buffer protocol without a copy.

    Read-only for whoever asks for its buffer; the core itself may patch it in place when the owner's memory was writable.
    """

    def __init__(self, owner: Buffer, start: int = 0, size: int = -1, /) -> None:
        """Take `size` bytes (-1: all) of `owner` from `start` on; ValueError where they reach outside of it."""

    def __len__(self) -> int: ...
    def __bytes__(self) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class CorruptBatch(ValueError):
    """Bytes that are not a valid record batch; `position` counts from the start of what was scanned."""

    reason: str
    position: int
    def __init__(self, reason: str, position: int = 0) -> None: ...

class BatchTooLarge(CorruptBatch):
    """A record batch over the size that was allowed; nothing of it but its length and magic was looked at."""

class FrameError(ValueError):
    """Bytes that cannot be a request frame (a size that is negative or over the limit, a field past the frame's end)."""

# ---- checksums and hashes -------------------------------------------------------------------------------------------------

CRC32C_IMPLEMENTATION: Final[str]

def crc32c(data: Buffer, crc: int = 0, /) -> int: ...
def crc32c_combine(crc: int, crc_of_next: int, size_of_next: int, /) -> int: ...
def murmur2(key: Buffer, /) -> int:
    """Return Kafka's 32-bit murmur2 of a key as Java's signed int (seed 0x9747b28c)."""

def partition_for_key(key: Buffer, partition_count: int, /) -> int:
    """Return the partition that Java's default partitioner chooses for a key."""

def partition_column(data: Buffer, offsets: Buffer, partition_count: int, out: Buffer, /) -> None:
    """Write the partition of each key of an Arrow-style binary column: int32 or int64 `offsets` (n + 1), int32 `out` (n).

    ValueError where sizes do not fit together, offsets descend or reach outside of `data`, or `partition_count` is below 1;
    BufferError when `out` is read-only.
    """

# ---- record batch v2 ------------------------------------------------------------------------------------------------------

BATCH_OVERHEAD_BYTES: Final = 61

@final
class Record:
    """One record of a batch; key, value and header values are read-only views into the batch's bytes."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp_ms(self) -> int: ...  # the batch's max timestamp under log append time
    @property
    def sequence(self) -> int: ...  # -1 without a producer
    @property
    def key(self) -> memoryview | None: ...
    @property
    def value(self) -> memoryview | None: ...
    @property
    def headers(self) -> list[tuple[str, memoryview | None]]: ...  # names that are no UTF-8 keep their bytes by surrogateescape

@final
class Batch:
    """One record batch (magic 2) in memory that somebody else owns: the fields of its header, and its bytes as a buffer."""

    @property
    def base_offset(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...  # with the 12 bytes of offset and length
    @property
    def leader_epoch(self) -> int: ...
    @property
    def crc(self) -> int: ...
    @property
    def attributes(self) -> int: ...
    @property
    def last_offset_delta(self) -> int: ...
    @property
    def base_timestamp_ms(self) -> int: ...
    @property
    def max_timestamp_ms(self) -> int: ...
    @property
    def producer_id(self) -> int: ...
    @property
    def producer_epoch(self) -> int: ...
    @property
    def base_sequence(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def last_offset(self) -> int: ...
    @property
    def last_sequence(self) -> int: ...  # wraps as Kafka's do; -1 without a producer
    @property
    def codec(self) -> int: ...  # 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd
    @property
    def is_log_append_time(self) -> bool: ...
    @property
    def is_transactional(self) -> bool: ...
    @property
    def is_control(self) -> bool: ...
    @property
    def payload(self) -> Slice: ...  # the bytes after the header, compressed or not
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def assign(self, base_offset: int, leader_epoch: int, /) -> None:
        """Patch base offset and leader epoch in place (both are outside the CRC); BufferError when the memory is read-only."""

    def set_log_append_time(self, timestamp_ms: int, /) -> None:
        """Set the timestamp type and the max timestamp in place and compute the CRC anew."""

    def set_producer(self, producer_id: int, producer_epoch: int, base_sequence: int, /) -> None:
        """Set the producer's fields in place and compute the CRC anew; BufferError when the memory is read-only."""

    def records(self, payload: Buffer | None = None, /) -> Iterator[Record]:
        """Iterate the records; a compressed batch needs its decompressed `payload` (ValueError without).

        CorruptBatch on bad record bytes; its `position` counts from the start of the batch, or of `payload`.
        """

def scan(
    data: Buffer,
    /,
    *,
    check_crc: bool = True,
    check_records: bool = True,
    max_batch_bytes: int = -1,
    allow_partial: bool = False,
    compacted: bool = False,
) -> list[Batch]:
    """Return the batches that fill `data`: bounds, magic, lengths, CRC, counts, codec and producer fields are checked.

    `check_records` walks the records of uncompressed batches (sizes, consecutive offset deltas, header counts).
    `max_batch_bytes` (-1: no limit) is what one batch may measure: BatchTooLarge beyond it.
    `allow_partial` accepts an incomplete last batch and leaves it out, as the answer to a fetch may end in one.
    `compacted` accepts batches of which compaction took records away: fewer records than offsets, down to none.
    Raises CorruptBatch; its `reason` names the first failed check. The rules are at the top of `native/batch.pxi`.
    """

@final
class BatchBuilder:
    """Builds one batch from records. ValueError for producer fields and attributes that `scan` would refuse."""

    def __init__(
        self,
        *,
        base_offset: int = 0,
        leader_epoch: int = -1,
        producer_id: int = -1,
        producer_epoch: int = -1,
        base_sequence: int = -1,
        attributes: int = 0,
        max_bytes: int = 1 << 20,
    ) -> None: ...
    @property
    def count(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...  # uncompressed, header included
    def append(
        self,
        timestamp_ms: int,
        key: Buffer | None,
        value: Buffer | None,
        headers: Sequence[tuple[str | bytes, Buffer | None]] = (),
        /,
    ) -> bool:
        """Append one record; False (and nothing appended) when the batch is not empty and would grow over `max_bytes`.

        OverflowError when the batch would pass 2^31 - 1 bytes.
        """

    def set_producer(self, producer_id: int, producer_epoch: int, base_sequence: int, /) -> None:
        """Change what `build` says of the producer; ValueError on values that make no valid batch."""

    def payload(self) -> bytes:
        """Return the records as they are before compression."""

    def build(self, compressed: Buffer | None = None, codec: int = 0, /) -> bytes:
        """Return the batch; with `compressed`, that payload under codec `codec` in place of the plain one.

        The builder may be appended to and built again. ValueError without a record.
        """

# ---- lines ----------------------------------------------------------------------------------------------------------------

def append_lines(
    builders: Sequence[BatchBuilder],
    chunk: Buffer,
    position: int,
    timestamp_ms: int,
    separator: Buffer,
    key_separator: Buffer | None = None,
    keyless: int = 0,
    is_last: bool = False,
    /,
) -> tuple[int, int]:
    """Append the lines of `chunk` from `position` on, each to its partition's builder: (where it stopped, full builder or -1).

    What stands before the first `key_separator` of a line is its key, and murmur2 chooses among the builders; a line without a
    key goes to builder `keyless`. Separators belong to no record. It stops before a line that its builder has no room for, and
    before one that doesn't end in `chunk` unless `is_last`.
    """

def join_records(
    batch: Batch,
    payload: Buffer | None,
    from_offset: int,
    max_count: int,
    separator: Buffer,
    key_separator: Buffer | None = None,
    /,
) -> tuple[bytes, int]:
    """Return the values (and with `key_separator` the keys before them) of a batch's records as one text, and how many they are.

    Records before `from_offset` are left out, and all after `max_count` (-1: no limit). Null is written as nothing. A compressed
    batch needs its decompressed `payload`. CorruptBatch on bad record bytes.
    """

# ---- files ----------------------------------------------------------------------------------------------------------------

@disjoint_base
class File:
    """An open file. All I/O of the core goes through these methods, so a subclass that overrides them sees every byte.

    Exactly a `File` does its I/O without the GIL and without Python. EINTR is never seen; errors are OSError with errno and path.
    Reference counted beyond Python's own count: `acquire` and `release` let a job on another thread, or a region, hold it open;
    the descriptor closes when it was closed and nobody holds it.
    """

    path: str
    def __init__(self, path: str, descriptor: int, /) -> None:
        """Own an open descriptor; -1 for a file without one (a subclass then overrides every method)."""

    def pwritev(self, buffers: Sequence[Buffer], position: int, /) -> int:
        """Write buffers one after another at `position`; return the count written (short only on a full disk)."""

    def pread(self, size: int, position: int, /) -> bytes:
        """Read up to `size` bytes; short at end of file."""

    def preadv(self, buffers: Sequence[Buffer], position: int, /) -> int:
        """Fill writable buffers one after another from `position`; return the count read, short at end of file."""

    def copy_to(self, target: File, size: int, /) -> None:
        """Copy the first `size` bytes to the same place in another file; OSError (EIO) when there are fewer."""

    def fdatasync(self) -> None: ...
    def ftruncate(self, size: int, /) -> None:
        """Cut or extend to `size`; BufferError when a living region would lose bytes."""

    def fallocate(self, position: int, size: int, /) -> None:
        """Reserve blocks without changing the file's size (KEEP_SIZE)."""

    def release_beyond(self, size: int, /) -> None:
        """Give back blocks that were reserved past `size`, which is the file's size; later reservations are given back too."""

    def size_bytes(self) -> int: ...
    def is_resident(self, position: int, size: int, /) -> bool:
        """Tell whether a read would not block; True where it cannot be told.

        Asks by preadv2(RWF_NOWAIT) for one byte every 64 KiB: what the page cache holds comes and goes in larger pieces.
        """

    def drop_cache(self) -> None:
        """Let the next reads come from the device, but for what was not written to it yet (POSIX_FADV_DONTNEED).

        After a failed sync the page cache may show what the device does not have, and call it clean.
        """

    def descriptor(self) -> int:
        """Return the descriptor, -1 where there is none (simulated, closed)."""

    def acquire(self) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None:
        """Close as soon as nobody holds it; closing twice is allowed."""

@final
class Region:
    """Bytes of a log file to be sent, opaque and without a copy where the file allows it.

    `len()` is its size. The buffer protocol gives read-only bytes (read into memory when the segment is still being written, the
    region is small, or the file is not exactly a `File`); OSError when they cannot be read. `send_buffers` writes it to a socket.
    Holds its file open; a truncation of the file never cuts it.
    """

    def __init__(self, file: File, position: int, size: int, /) -> None: ...
    @property
    def file(self) -> File: ...
    @property
    def position(self) -> int: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def is_resident(self) -> bool:
        """Tell whether it can be sent without waiting for the disk; see `File.is_resident`."""

    def load(self) -> None:
        """Read all of it, so that the page cache has it: one call without the GIL, for a thread that may wait for the disk.

        It ends where the file does. OSError when it cannot be read.
        """

def send_buffers(descriptor: int, buffers: Sequence[Buffer | Region], skip: int = 0, /) -> int:
    """Send buffers and regions in order on a non-blocking socket, leaving out the first `skip` bytes; return the bytes sent.

    Raises BlockingIOError when nothing goes. Any other OSError (a region whose file is shorter than it was, a page that cannot be
    read, a peer that has gone) leaves the stream at an unknown place: close the connection. Never raises SIGPIPE.
    """

# ---- memory ---------------------------------------------------------------------------------------------------------------

def give_back_memory() -> int:
    """Give the kernel what this process can do without: free memory of the heap, and unwritten pages of programs and libraries.

    For after a start, which leaves both. The pages stay in the page cache, and come back from there when they are touched. Return
    the bytes of them that were resident, 0 where the system does not tell (/proc/self/pagemap). Releases the GIL; any thread may
    load and unload libraries meanwhile.
    """

# ---- segments -------------------------------------------------------------------------------------------------------------

@disjoint_base
class _Index:
    """The newest entries are in memory and reach the file 512 at a time, or by `flush`; the zeros at the end of Kafka's live
    indexes are not entries. Offsets and positions that do not fit, or are not behind the last entry, are ValueErrors.
    """

    def __init__(self, file: File, base_offset: int, *, max_bytes: int = 10 << 20) -> None:
        """Open over a file that may have entries; reads one of them. `max_bytes` is a limit that `is_full` tells of."""

    @property
    def file(self) -> File: ...
    @property
    def base_offset(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def is_full(self) -> bool:
        """Whether the next entry, and the one that ends a segment, would go past `max_bytes`."""

    def flush(self) -> None:
        """Write out what is in memory and make the file durable."""

    def check(self) -> None:
        """Raise CorruptBatch when the file's entries cannot be right (its size no multiple of an entry's, not ascending)."""

    def close(self) -> None:
        """Write out what is in memory, cut the file to its entries, and close it."""

@final
class OffsetIndex(_Index):
    """Kafka's `.index`: (offset - base, position), 8 bytes an entry, sparse, ascending. Tail in memory, rest in the file."""

    def append(self, offset: int, position: int, /) -> None: ...
    def lookup(self, offset: int, /) -> tuple[int, int]:
        """Return the entry (offset, position) with the greatest offset <= `offset`, else (base offset, 0)."""

    def entries(self) -> list[tuple[int, int]]: ...
    def truncate(self, offset: int, /) -> None:
        """Drop the entries whose offset is >= `offset`."""

@final
class TimeIndex(_Index):
    """Kafka's `.timeindex`: (timestamp, offset - base), 12 bytes an entry, ascending in both."""

    def append(self, timestamp_ms: int, offset: int, /) -> None:
        """Add an entry; nothing happens when the timestamp is the last entry's."""

    def lookup(self, timestamp_ms: int, /) -> tuple[int, int]:
        """Return the entry (timestamp, offset) with the greatest timestamp <= `timestamp_ms`, else (-1, base offset)."""

    def entries(self) -> list[tuple[int, int]]: ...
    def truncate(self, offset: int, /) -> None:
        """Drop the entries whose offset is >= `offset`."""

@final
class RecoveredBatch:
    """What recovery saw of one batch with a producer id (for the producer state)."""

    @property
    def producer_id(self) -> int: ...
    @property
    def producer_epoch(self) -> int: ...
    @property
    def base_sequence(self) -> int: ...
    @property
    def last_sequence(self) -> int: ...  # -1 where there are none (control batches)
    @property
    def base_offset(self) -> int: ...
    @property
    def last_offset(self) -> int: ...
    @property
    def max_timestamp_ms(self) -> int: ...
    @property
    def is_transactional(self) -> bool: ...
    @property
    def is_control(self) -> bool: ...

@final
class Segment:
    """One log file with its two indexes. It appends what it is given and never looks at what records mean.

    One owner thread; `flush` and `producer_batches` may run on another meanwhile, `recover` before the owner does anything else.
    Reads raise CorruptBatch (`position` in the file) where a header that they pass cannot be one.
    """

    def __init__(
        self,
        base_offset: int,
        log: File,
        offset_index: OffsetIndex,
        time_index: TimeIndex,
        *,
        index_interval_bytes: int = 4096,
        size_bytes: int = -1,
        next_offset: int = -1,
        sealed: bool = False,
        replace_log: Callable[[File, int], File] | None = None,
    ) -> None:
        """Open over existing files.

        `size_bytes` -1 takes the file's; `next_offset` -1 finds it by the headers from the last index entry onwards; with both
        given nothing of the log is read. (Where there are bytes and no time index entry, all headers are looked at.) `sealed`:
        nothing will be appended, so readers in this process may see it mapped.

        `replace_log(log, size)` returns a new file, under the log's name, that holds its first `size` bytes (`File.copy_to`, then
        a rename); it is called for a cut under living regions, which keep the old file. Without it such a cut is a BufferError.
        """

    @property
    def base_offset(self) -> int: ...
    @property
    def next_offset(self) -> int: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def max_timestamp_ms(self) -> int: ...  # -1 when empty
    @property
    def offset_of_max_timestamp(self) -> int: ...  # the last offset of its batch, as Kafka has it; -1 when empty
    @property
    def log(self) -> File: ...
    @property
    def offset_index(self) -> OffsetIndex: ...
    @property
    def time_index(self) -> TimeIndex: ...
    @property
    def needs_recovery(self) -> bool: ...  # opening met bytes that are no batch: reads end before them, appends are refused
    def has_room(self, last_offset: int, size_bytes: int, /) -> bool:
        """Tell whether batches up to `last_offset` of `size_bytes` in all may be appended; roll when not.

        Offsets and positions in an index have 31 bits, and its entries are bounded.
        """

    def append(self, batches: Sequence[Batch], /) -> None:
        """Append assigned batches (ascending, first base offset >= next_offset) by one pwritev, and index them.

        On a short or failed write the file is cut back to what it was, nothing of the segment's state changes, and OSError
        is raised (ENOSPC for a short write). ValueError, with nothing written, for offsets that do not ascend or do not fit,
        after a roll, and before a needed recovery.
        """

    def next_reservation(self, limit_bytes: int, /) -> tuple[int, int] | None:
        """Return the (position, size) of blocks to reserve next, by `log.fallocate` off the loop, or None.

        Something is wanted once a segment has taken 1 MiB, whenever less than 8 MiB are left of what was asked for before; at
        most 16 MiB at once, and nothing past `limit_bytes`. Whether the reservation succeeds makes no difference to the segment.
        """

    def read(self, offset: int, max_bytes: int, end_offset: int = -1, at_least_one: bool = True, /) -> Region | None:
        """Return whole-batch-aligned start .. at most `max_bytes` (the end may cut a batch) of the batch holding `offset` on.

        Batches with a base offset >= `end_offset` are left out (-1: none is). With `at_least_one` the first batch comes whole
        even when larger. None when the segment holds nothing at or after `offset` below `end_offset`.
        """

    def find(self, offset: int, /) -> tuple[int, int, int] | None:
        """Return (base_offset, position, size_bytes) of the first batch whose last offset >= `offset`."""

    def find_timestamp(self, timestamp_ms: int, from_offset: int = 0, /) -> tuple[int, int] | None:
        """Return (timestamp, offset) of the first record with timestamp >= the given one, at or past `from_offset`.

        Records inside uncompressed batches are looked at. Of a compressed batch the answer is its max timestamp and its first
        offset (or `from_offset`), which misses no record; `find_batch_by_timestamp` gives the bytes to whoever wants it exact.
        """

    def find_batch_by_timestamp(self, timestamp_ms: int, from_offset: int = 0, /) -> Region | None:
        """Return the first batch that ends at or past `from_offset` and whose max timestamp >= the given one, whole."""

    def truncate(self, offset: int, /) -> None:
        """Cut to the batches whose last offset < `offset`; a rolled segment takes appends again.

        Living regions keep their bytes: the file is replaced when one reaches past the cut (see `replace_log`).
        """

    def recover(self, *, from_position: int = 0) -> list[RecoveredBatch]:
        """Check every batch from `from_position`, cut the file at the first invalid byte, rebuild both indexes; no GIL meanwhile.

        Invalid is a batch that is not whole, fails its CRC, or goes back in offsets. Where no batch ends at `from_position`, or
        the index before it cannot be believed, all is checked. Returns, of the batches with a producer id in what was checked,
        those that the producer state needs (`native/producer_batches.pxi` says which), in order.
        """

    def producer_batches(self, from_offset: int, /) -> list[RecoveredBatch]:
        """Return, as `recover` does, what producers appended in batches that end at or past `from_offset`; nothing is changed."""

    def on_roll(self) -> None:
        """Append the final time index entry, write and trim indexes, give back reserved blocks: nothing is appended after it."""

    def flush(self) -> None:
        """Write out index tails and fdatasync log and indexes: one call off the loop. Beside it the owner may append."""

    def close(self) -> None:
        """Append the final time index entry, trim indexes, close all files. For durability: `on_roll`, `flush`, then `close`."""

# ---- frames ---------------------------------------------------------------------------------------------------------------

@final
class Receiver:
    """Gathers a connection's bytes and cuts whole frames (int32 size, then that many bytes) out of them without a copy.

    Its writable buffer is where the transport receives into: `n = transport.receive_into(receiver); receiver.received(n)`.
    Memory grows with the bytes that have arrived, never with what a size field promises. A frame's slice keeps its chunk alive.
    """

    def __init__(self, max_frame_bytes: int, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def received(self, count: int, /) -> None: ...
    def next_frame(self) -> Slice | None:
        """Return the next whole frame without its size field, or None; FrameError when a size is negative or over the limit."""

    def large_begin(self) -> tuple[int, int] | None:
        """Return (api_key, api_version) of a frame that has not wholly come when 64 KiB of it have, else None."""

    def trim(self) -> None:
        """Give back the memory when no bytes wait in it: for connections that have gone quiet."""

    @property
    def buffered_bytes(self) -> int: ...  # received, not yet given out
    @property
    def reserved_bytes(self) -> int: ...  # memory held

def request_header(frame: Slice, /) -> tuple[int, int, int, str | None, int]:
    """Return (api_key, api_version, correlation_id, client_id, position after the client id) of a request frame.

    Headers v1 and v2, whose tagged fields are left to whoever reads the body; v0 (client id None) for ControlledShutdown 0.
    FrameError on bytes that are no header.
    """

def parse_produce(
    frame: Slice, position: int, version: int, /
) -> tuple[str | None, int, int, list[tuple[str | bytes, int, Slice | None]]]:
    """Parse a Produce body (3-13, header tags included).

    Returns (transactional_id, acks, timeout_ms, [(topic name or id, partition, records)]).
    FrameError on bytes that are no such request. Bytes after it are left alone, as Kafka does.
    """

def produce_response(
    version: int,
    correlation_id: int,
    results: Sequence[tuple[str | bytes, int, int, int, int, int, str | None]],
    throttle_ms: int = 0,
    /,
) -> bytes:
    """Write a whole Produce answer, size field included.

    Results are (topic, partition, error_code, base_offset, log_append_time_ms, log_start_offset, error_message), those
    of one topic side by side. Topics are names up to version 12, ids of 16 bytes from 13 on. What the version has no field for is
    left out.
    """

@final
class ProduceRun:
    """Produce requests (3-13) that wait side by side in a receiver and differ in correlation ids and records alone.

    Each has records for the same one partition and no transactional id. `len` is how many requests there are; `scan` may end a
    run earlier. The order is: `peek_produce_run`, `scan`, `assign`, `take_produce_run`; `responses` when the batches are written.
    """

    client_id: str | None
    topic: str | bytes  # the name up to version 12, the id from 13 on
    version: int
    acks: int
    timeout_ms: int
    partition: int
    count: int

    def __len__(self) -> int: ...
    @property
    def frame_bytes(self) -> int: ...  # of all requests, size fields left out
    @property
    def records_bytes(self) -> int: ...
    def scan(self, max_batch_bytes: int, room_bytes: int, room_offsets: int, latest_timestamp_ms: int, /) -> list[Batch]:
        """Check the batches as `scan` does and end the run before the first that is not beyond doubt; return the others'.

        In doubt is what is damaged, larger than `max_batch_bytes` or than what is left of `room_bytes` and `room_offsets`, later
        than `latest_timestamp_ms`, has a base offset, a control, transactional or log append time bit, or does not follow on the
        sequence of the batch before it. ValueError after `assign`.
        """

    def assign(self, base_offset: int, leader_epoch: int, /) -> int:
        """Give the batches their offsets, from `base_offset` on without a gap, and return the offset after the last.

        The run holds no memory of the receiver from here on. ValueError without a `scan`.
        """

    def responses(self, error_code: int, log_start_offset: int, error_message: str | None, throttle_ms: int, /) -> bytes:
        """Write the answers of all requests, one behind the other, as `produce_response` would; base offset -1 with an error."""

def peek_produce_run(receiver: Receiver, most_requests: int, /) -> ProduceRun | None:
    """Return the run of whole Produce requests that waits in a receiver, None when the first frame is none. Consumes nothing.

    A run has at most 64 requests.
    """

def take_produce_run(receiver: Receiver, run: ProduceRun, /) -> None:
    """Consume the frames of a run. ValueError when they are not there (any more)."""

def parse_fetch(
    frame: Slice, position: int, version: int, /
) -> tuple[
    int, int, int, int, int, int, int, list[tuple[str | bytes, int, int, int, int, int, int]], list[tuple[str | bytes, int]], str
]:
    """Parse a Fetch body (4-18, header tags included).

    Returns (replica_id, max_wait_ms, min_bytes, max_bytes, isolation_level, session_id, session_epoch, [(topic name or id,
    partition, current_leader_epoch, fetch_offset, last_fetched_epoch, log_start_offset, max_bytes)], forgotten [(topic,
    partition)], rack_id).

    From version 15 on the replica id is that of the tagged replica state. FrameError on bytes that are no such request.
    """

def fetch_response(
    version: int,
    correlation_id: int,
    error_code: int,
    session_id: int,
    results: Sequence[tuple[str | bytes, int, int, int, int, int, Sequence[tuple[int, int]] | None, int, Region | Buffer | None]],
    throttle_ms: int = 0,
    /,
) -> list[bytes | Region | Buffer]:
    """Write a whole Fetch answer as buffers and regions, size field included.

    Results are (topic, partition, error_code, high_watermark, last_stable_offset, log_start_offset, aborted [(producer_id,
    first_offset)], preferred_read_replica, records), those of one topic side by side. Records are bytes-like objects of single
    bytes, or regions; they are passed on as they are. Topics are names up to version 12, ids from 13 on. What the version has no
    field for is left out.
    """
