# Segments: one log file of record batches with its two sparse indexes, as Kafka lays them out and reads them.
#
# A segment appends what it is given and never looks at what records mean. Invariants: bytes before `size_bytes` are whole batches
# with ascending offsets; a failed append changes nothing but, at worst, bytes past `size_bytes`, which are cut before anything else
# is written; an index entry is made only after the bytes that it points to were written; data files are never reused, for a batch's
# CRC covers neither its offset nor its partition, so that a stale batch could look valid.
#
# An offset index entry is due once more than `index_interval_bytes` went by since the last one; it holds the last offset of the batch
# about to be counted, and with it the time index gets the greatest timestamp so far if that grew (so every batch after the last offset
# index entry is all that opening has to look at). That is the rule of Kafka 4; Kafka 3 writes one entry for a whole append, with the
# append's last offset and first position. Both keep this: offsets from the entry's on are not before its position.

cdef enum:
    SCAN_CHUNK_BYTES = 256 << 10        # read at once when every byte is checked: stays in the CPU's cache
    APPEND_VECTORS_ON_STACK = 32
    RESERVE_CHUNK_BYTES = 16 << 20
    RESERVE_AFTER_BYTES = 1 << 20       # appended since opening: what makes a segment worth a reservation


# ---- what a batch does to the indexes: one rule for appending and for recovery ---------------------------------------------------

cdef bint count_batch(IndexRule* rule, const BatchHeader* header) noexcept nogil:
    """Take note of a batch; tell whether it gets an entry in the offset index (and the time index is due)."""
    cdef bint due = rule.bytes_since_entry > rule.interval_bytes
    if header.max_timestamp_ms > rule.max_timestamp_ms:
        rule.max_timestamp_ms = header.max_timestamp_ms
        rule.offset_of_max_timestamp = header.base_offset + header.last_offset_delta
    if due:
        rule.bytes_since_entry = 0
    rule.bytes_since_entry += header.size_bytes
    return due


# ---- walking from header to header ----------------------------------------------------------------------------------------------

cdef void begin_walk(Walk* walk, int64_t position, int64_t end) noexcept nogil:
    walk.position = position
    walk.end = end
    walk.window_position = 0
    walk.window_size = 0
    walk.fault = BATCH_OK
    walk.header.size_bytes = 0


cdef int next_header(File file, Walk* walk) except -1 nogil:
    """Go to the batch behind the present one; 1 when there is one, 0 at the end or at a header that cannot be (`fault`)."""
    cdef unsigned char* at
    cdef int64_t available
    walk.position += walk.header.size_bytes
    walk.header.size_bytes = 0
    if walk.position >= walk.end:
        return 0
    available = walk.window_position + walk.window_size - walk.position
    if walk.position < walk.window_position or available < min(<int64_t>BATCH_HEADER_BYTES, walk.end - walk.position):
        walk.window_position = walk.position
        walk.window_size = 0
        walk.window_size = file.read_into(
            <char*>walk.window, min(<int64_t>WALK_WINDOW_BYTES, walk.end - walk.position), walk.position
        )
        available = walk.window_size
    at = walk.window + (walk.position - walk.window_position)
    walk.fault = check_batch(at, min(available, <int64_t>BATCH_MAGIC_POSITION + 1), 0, -1, &walk.header, NULL)
    if walk.fault == BATCH_PARTIAL and available >= BATCH_HEADER_BYTES and walk.header.size_bytes <= walk.end - walk.position:
        read_batch_header(at, &walk.header)
        walk.fault = check_batch_fields(&walk.header, True)
    if walk.fault != BATCH_OK:
        walk.header.size_bytes = 0
        return 0
    return 1


cdef inline int64_t last_offset_of(const BatchHeader* header) noexcept nogil:
    return header.base_offset + header.last_offset_delta


# ---- checking every byte ----------------------------------------------------------------------------------------------------------

cdef class _Scan:
    """A check of all batches from a position on; gathers index entries and producers' batches in memory of its own."""

    def __dealloc__(self):
        PyMem_RawFree(self.chunk.memory)
        PyMem_RawFree(self.offset_entries.memory)
        PyMem_RawFree(self.time_entries.memory)
        PyMem_RawFree(self.producers.array.memory)

    cdef void begin(self, int64_t next_offset) noexcept:
        """Nothing came before."""
        self.next_offset = next_offset
        self.rule.bytes_since_entry = 0
        self.rule.max_timestamp_ms = self.rule.offset_of_max_timestamp = -1

    cdef int run(self, File file, int64_t position, int64_t end) except -1 nogil:
        """Scan up to the first invalid byte. `rule` and `next_offset` tell what came before `position`, and then what came.

        In one chunk of memory: what a length says is believed as far as the file goes, and no memory is asked for it.
        """
        cdef BatchHeader header
        cdef unsigned char* at
        cdef int64_t start = position       # where in the file the chunk begins
        cdef int64_t filled = 0
        cdef int64_t needed = BATCH_HEADER_BYTES
        cdef int fault
        self.valid_end = position
        if self.chunk.size == 0 and grow(&self.chunk, SCAN_CHUNK_BYTES) == NULL:
            with gil:
                raise MemoryError
        while position < end:
            if start + filled - position < min(needed, <int64_t>SCAN_CHUNK_BYTES):
                if needed > end - position:
                    break
                filled -= position - start
                if filled > 0:
                    memmove(self.chunk.memory, self.chunk.memory + (position - start), <size_t>filled)
                start = position
                filled += file.read_into(self.chunk.memory + filled, min(self.chunk.size, end - start) - filled, start + filled)
                if filled < min(needed, <int64_t>SCAN_CHUNK_BYTES):
                    break
            at = <unsigned char*>self.chunk.memory + (position - start)
            fault = check_batch(at, start + filled - position, CHECK_CRC | ALLOW_COMPACTED, -1, &header, NULL)
            if fault == BATCH_PARTIAL:
                needed = header.size_bytes
                if needed <= SCAN_CHUNK_BYTES or start != position or filled < SCAN_CHUNK_BYTES:
                    continue
                read_batch_header(at, &header)
                fault = check_batch_fields(&header, True)
                if fault == BATCH_OK and not self.has_valid_crc(file, position, &header):
                    fault = BATCH_CRC
                start = position + header.size_bytes
                filled = 0
            if fault != BATCH_OK or header.base_offset < self.next_offset:
                break
            if last_offset_of(&header) - self.rule.base_offset > RELATIVE_MOST:
                break
            if self.note(position, &header) < 0:
                with gil:
                    raise MemoryError
            position += header.size_bytes
            self.next_offset = last_offset_of(&header) + 1
            self.valid_end = position
            needed = BATCH_HEADER_BYTES
        return 0

    cdef int has_valid_crc(self, File file, int64_t position, const BatchHeader* header) except -1 nogil:
        """Tell whether a batch that is larger than the chunk, which holds its beginning, has the CRC that it says."""
        cdef uint32_t crc = crc32c_of(0, <unsigned char*>self.chunk.memory + BATCH_CRC_START, SCAN_CHUNK_BYTES - BATCH_CRC_START)
        cdef int64_t done = SCAN_CHUNK_BYTES
        cdef int64_t got
        while done < header.size_bytes:
            got = file.read_into(self.chunk.memory, min(<int64_t>SCAN_CHUNK_BYTES, header.size_bytes - done), position + done)
            if got <= 0:
                return False
            crc = crc32c_of(crc, <unsigned char*>self.chunk.memory, got)
            done += got
        return crc == header.crc

    cdef int note(self, int64_t position, const BatchHeader* header) noexcept nogil:
        cdef unsigned char* entry
        if count_batch(&self.rule, header):
            entry = <unsigned char*>grow(&self.offset_entries, OFFSET_ENTRY_BYTES)
            if entry == NULL:
                return -1
            store32(entry, <int32_t>(last_offset_of(header) - self.rule.base_offset))
            store32(entry + 4, <int32_t>position)
            if self.note_timestamp() < 0:
                return -1
        return note_producer(&self.producers, header)

    cdef int note_timestamp(self) noexcept nogil:
        cdef unsigned char* entry
        if self.rule.max_timestamp_ms > self.last_indexed_timestamp_ms:
            self.last_indexed_timestamp_ms = self.rule.max_timestamp_ms
            entry = <unsigned char*>grow(&self.time_entries, TIME_ENTRY_BYTES)
            if entry == NULL:
                return -1
            store64(entry, self.rule.max_timestamp_ms)
            store32(entry + 8, <int32_t>(self.rule.offset_of_max_timestamp - self.rule.base_offset))
        return 0


# ---- the segment ------------------------------------------------------------------------------------------------------------------

cdef class Segment:
    """One log file with its two indexes; see `_core.pyi`."""

    def __init__(
        self,
        int64_t base_offset,
        File log not None,
        OffsetIndex offset_index not None,
        TimeIndex time_index not None,
        *,
        int64_t index_interval_bytes=4096,
        int64_t size_bytes=-1,
        int64_t next_offset=-1,
        bint sealed=False,
        object replace_log=None,
    ):
        if self.log is not None:
            raise ValueError("a segment is opened once")
        if offset_index.base_offset != base_offset or time_index.base_offset != base_offset:
            raise ValueError("the indexes begin at another offset than the segment")
        self.log = log
        self.base_offset = base_offset
        self.offset_index = offset_index
        self.time_index = time_index
        self.sealed = sealed
        self.replace_log = replace_log
        self.rule.base_offset = base_offset
        self.rule.interval_bytes = index_interval_bytes
        self.size_bytes = log.size_bytes() if size_bytes < 0 else size_bytes
        self.reserved_end = self.size_bytes
        self.forget_places(0)
        self.load_max_timestamp()
        self.next_offset = next_offset
        if next_offset < 0 or (self.size_bytes > 0 and time_index.last_key < 0):
            self.load_end()
            self.next_offset = max(self.next_offset, next_offset)

    def __repr__(self):
        return f"<Segment {self.log.path!r} offsets {self.base_offset}..{self.next_offset} {self.size_bytes} bytes>"

    @property
    def max_timestamp_ms(self):
        return self.rule.max_timestamp_ms

    @property
    def offset_of_max_timestamp(self):
        return self.rule.offset_of_max_timestamp

    cdef int load_max_timestamp(self) except -1:
        """Believe the time index: whoever stopped cleanly wrote the greatest timestamp as its last entry."""
        self.rule.bytes_since_entry = 0
        self.rule.max_timestamp_ms = self.time_index.last_key
        self.rule.offset_of_max_timestamp = -1
        if self.time_index.last_key >= 0:
            self.rule.offset_of_max_timestamp = self.base_offset + self.time_index.last_value
        return 0

    cdef int load_end(self) except -1:
        """Find the next offset and the greatest timestamp by walking from the last index entry to the end.

        From the beginning when the time index has nothing: no entry vouches for what came before.
        """
        cdef Walk walk
        cdef int there
        self.next_offset = self.base_offset
        self.rule.bytes_since_entry = 0
        self.log.acquire()
        try:
            with nogil:
                there = self.enter_last_indexed(&walk, self.size_bytes)
                while there:
                    self.next_offset = last_offset_of(&walk.header) + 1
                    count_batch(&self.rule, &walk.header)
                    there = next_header(self.log, &walk)
        finally:
            self.log.release()
        # Bytes that are no batches: the whole ones before them can be read, but nothing is appended before `recover` looked at all.
        self.needs_recovery = walk.fault != BATCH_OK
        self.size_bytes = walk.position
        return 0

    cdef int enter(self, Walk* walk, int64_t position, int64_t offset, int64_t end) except -1 nogil:
        """Begin a walk at the batch of an index entry; at the log's beginning when no batch up to `offset` begins there.

        So an index that lies costs time and never shows wrong bytes. 1 when there is a batch, 0 when not.
        """
        cdef int there
        if 0 < position < end:
            begin_walk(walk, position, end)
            there = next_header(self.log, walk)
            if there and self.base_offset <= walk.header.base_offset <= offset:
                return 1
        begin_walk(walk, 0, end)
        return next_header(self.log, walk)

    cdef int enter_last_indexed(self, Walk* walk, int64_t end) except -1 nogil:
        """Begin a walk to `end` at the last index entry before it."""
        cdef int64_t key = 0, position = 0
        cdef int64_t number
        with gil:
            number = self.offset_index.greatest(end - 1, True)
            if number >= 0 and self.time_index.last_key >= 0:
                self.offset_index.entry(number, &key, &position)
        return self.enter(walk, position, self.base_offset + key, end)

    # ---- append -----------------------------------------------------------------------------------------------------------------

    def has_room(self, int64_t last_offset, int64_t size_bytes, /):
        """Tell whether a segment may grow by that much; see `_core.pyi`."""
        return (
            last_offset - self.base_offset <= RELATIVE_MOST
            and self.size_bytes + size_bytes <= RELATIVE_MOST
            and not self.offset_index.is_filled()
            and not self.time_index.is_filled()
        )

    def append(self, batches, /):
        """Append assigned batches by one pwritev, and index them; see `_core.pyi`."""
        cdef iovec on_stack[APPEND_VECTORS_ON_STACK]
        cdef iovec* vectors = on_stack
        cdef Py_ssize_t i, count
        cdef Py_ssize_t used = 0
        cdef int64_t total = 0
        cdef int64_t next_offset = self.next_offset
        cdef int64_t written, position
        cdef Batch batch
        sequence = batches if isinstance(batches, (list, tuple)) else list(batches)
        count = len(sequence)
        if self.sealed or self.closed:
            raise ValueError(f"{self.log.path}: nothing is appended to a segment that was rolled or closed")
        if self.needs_recovery:
            raise ValueError(f"{self.log.path}: its end is not whole, recover it first")
        for i in range(count):
            batch = <Batch?>sequence[i]
            if batch.header.base_offset < next_offset:
                raise ValueError(f"a batch at offset {batch.header.base_offset} does not come after {next_offset - 1}")
            next_offset = last_offset_of(&batch.header) + 1
            total += batch.header.size_bytes
        if count == 0:
            return
        if next_offset - 1 - self.base_offset > RELATIVE_MOST or self.size_bytes + total > RELATIVE_MOST:
            raise ValueError(f"{self.log.path}: offset {next_offset - 1} or {total} bytes more do not fit, roll first")
        if self.torn:
            self.cut_back()
        try:
            if self.log._native:
                if count > APPEND_VECTORS_ON_STACK:
                    vectors = <iovec*>PyMem_Malloc(count * sizeof(iovec))
                    if vectors == NULL:
                        raise MemoryError
                for i in range(count):
                    batch = <Batch>sequence[i]
                    if used > 0 and <unsigned char*>vectors[used - 1].iov_base + vectors[used - 1].iov_len == batch.data:
                        vectors[used - 1].iov_len += <size_t>batch.header.size_bytes  # neighbours in one request's memory
                    else:
                        vectors[used].iov_base = batch.data
                        vectors[used].iov_len = <size_t>batch.header.size_bytes
                        used += 1
                written = self.log.transfer(vectors, used, self.size_bytes, True)
            else:
                written = self.log.pwritev(sequence, self.size_bytes)
            if written != total:
                raise_system_error(ENOSPC, self.log.path)
        except BaseException:
            try:
                self.cut_back()
            except OSError:
                pass  # `torn` says so: the next append tries again before it writes
            raise
        finally:
            if vectors != on_stack:
                PyMem_Free(vectors)
        position = self.size_bytes
        self.remember_place((<Batch>sequence[0]).header.base_offset, position)
        for i in range(count):
            batch = <Batch>sequence[i]
            self.index_batch(position, &batch.header)
            position += batch.header.size_bytes
        self.size_bytes = position
        self.next_offset = next_offset
        self.appended_bytes += total

    cdef int cut_back(self) except -1:
        """Cut what a failed append left behind `size_bytes`."""
        self.torn = True
        self.log.ftruncate(self.size_bytes)
        self.torn = False
        return 0

    cdef int index_batch(self, int64_t position, const BatchHeader* header) except -1:
        if count_batch(&self.rule, header):
            self.offset_index.push(last_offset_of(header) - self.base_offset, position)
            self.index_timestamp()
        return 0

    cdef int index_timestamp(self) except -1:
        if self.rule.max_timestamp_ms >= 0:
            self.time_index.add(self.rule.max_timestamp_ms, self.rule.offset_of_max_timestamp)
        return 0

    def next_reservation(self, int64_t limit_bytes, /):
        """Return blocks to reserve off the loop, or None; see `_core.pyi`."""
        cdef int64_t start, end
        if self.sealed or self.closed or self.appended_bytes < RESERVE_AFTER_BYTES:
            return None
        if self.reserved_end - self.size_bytes > RESERVE_CHUNK_BYTES // 2:
            return None
        start = max(self.reserved_end, self.size_bytes)
        end = min(start + RESERVE_CHUNK_BYTES, limit_bytes)
        if end <= start:
            return None
        self.reserved_end = end
        return start, end - start

    # ---- places -----------------------------------------------------------------------------------------------------------------

    cdef void remember_place(self, int64_t offset, int64_t position) noexcept:
        """Remember that the first batch whose last offset is >= `offset` begins (or will begin) at `position`."""
        if self.known_position(offset) < 0:
            self.places[self.next_place].offset = offset
            self.places[self.next_place].position = position
            self.next_place = (self.next_place + 1) % KNOWN_PLACES

    cdef int64_t known_position(self, int64_t offset) noexcept:
        cdef int i
        if offset >= 0:     # -1 is what a free place has
            for i in range(KNOWN_PLACES):
                if self.places[i].offset == offset:
                    return self.places[i].position
        return -1

    cdef void forget_places(self, int64_t from_position) noexcept:
        cdef int i
        for i in range(KNOWN_PLACES):
            if self.places[i].position >= from_position:
                self.places[i].offset = -1

    cdef bint locate(self, int64_t offset, Walk* walk) except -1:
        """Walk to the first batch whose last offset is >= `offset`; False when there is none."""
        cdef int64_t position = self.known_position(offset)
        cdef int64_t indexed = INT64_MAX
        cdef int there
        if position < 0:
            indexed = self.offset_index.floor(offset, &position)
        self.log.acquire()
        try:
            with nogil:
                there = self.enter(walk, position, indexed, self.size_bytes)
                while there and last_offset_of(&walk.header) < offset:
                    there = next_header(self.log, walk)
        finally:
            self.log.release()
        if walk.fault != BATCH_OK:
            raise batch_error(walk.fault, walk.position)
        return there

    def find(self, int64_t offset, /):
        """Return the place of the first batch whose last offset >= `offset`; see `_core.pyi`."""
        cdef Walk walk
        if offset >= self.next_offset or not self.locate(offset, &walk):
            return None
        return walk.header.base_offset, walk.position, walk.header.size_bytes

    # ---- read -------------------------------------------------------------------------------------------------------------------

    def read(self, int64_t offset, int64_t max_bytes, int64_t end_offset=-1, bint at_least_one=True, /):
        """Return a region of batches; see `_core.pyi`."""
        cdef Walk walk
        cdef int64_t start, end, limit
        if end_offset < 0 or end_offset > self.next_offset:
            end_offset = self.next_offset
        if offset >= end_offset:
            if offset == self.next_offset:
                self.remember_place(offset, self.size_bytes)
            return None
        limit = self.size_bytes if end_offset == self.next_offset else self.position_of_end(end_offset)
        walk.header.size_bytes = 0
        start = self.known_position(offset)
        if start < 0:
            if not self.locate(offset, &walk):
                return None
            start = walk.position
        if start >= limit:
            return None
        end = limit
        if max_bytes < limit - start:
            end = start + max(max_bytes, 0)
            if at_least_one:
                if walk.header.size_bytes == 0 and not self.locate(offset, &walk):
                    return None
                end = max(end, start + walk.header.size_bytes)
        if end == self.size_bytes:
            self.remember_place(self.next_offset, end)
        return Region.create(self.log, start, end - start, self.sealed)

    cdef int64_t position_of_end(self, int64_t end_offset) except -1:
        """Return the position behind the last batch with a base offset < `end_offset`."""
        cdef Walk walk
        if self.known_end_offset != end_offset or self.known_end_position > self.size_bytes:
            self.known_end_position = self.size_bytes
            if self.locate(end_offset, &walk):
                self.known_end_position = walk.position
                if walk.header.base_offset < end_offset:
                    self.known_end_position += walk.header.size_bytes
            self.known_end_offset = end_offset
        return self.known_end_position

    def find_timestamp(self, int64_t timestamp_ms, int64_t from_offset=0, /):
        """Return (timestamp, offset) of the first record at or after a timestamp; see `_core.pyi`."""
        cdef Walk walk
        cdef int64_t found_timestamp = 0
        cdef int64_t found_offset = 0
        cdef bint there = self.locate_timestamp(timestamp_ms, from_offset, &walk)
        while there:
            if self.find_record(timestamp_ms, from_offset, &walk, &found_timestamp, &found_offset):
                return found_timestamp, found_offset
            there = self.walk_to_timestamp(next_header(self.log, &walk), timestamp_ms, from_offset, &walk)
            if walk.fault != BATCH_OK:
                raise batch_error(walk.fault, walk.position)
        return None

    def find_batch_by_timestamp(self, int64_t timestamp_ms, int64_t from_offset=0, /):
        """Return the first batch with a timestamp at or after the given one; see `_core.pyi`."""
        cdef Walk walk
        if not self.locate_timestamp(timestamp_ms, from_offset, &walk):
            return None
        return Region.create(self.log, walk.position, walk.header.size_bytes, self.sealed)

    cdef bint locate_timestamp(self, int64_t timestamp_ms, int64_t from_offset, Walk* walk) except -1:
        """Walk to the first batch that ends at or past `from_offset` and whose max timestamp is >= the given one."""
        cdef int64_t timestamp = -1, relative = 0
        cdef int64_t number, position, indexed
        cdef int there
        if timestamp_ms > self.rule.max_timestamp_ms or from_offset >= self.next_offset:
            return False
        # All before the entry found is older; the batch of its offset is the first that may qualify.
        number = self.time_index.greatest(timestamp_ms, False)
        if number >= 0:
            self.time_index.entry(number, &timestamp, &relative)
        indexed = self.offset_index.floor(max(from_offset, self.base_offset + relative), &position)
        self.log.acquire()
        try:
            with nogil:
                there = self.enter(walk, position, indexed, self.size_bytes)
                there = self.walk_to_timestamp(there, timestamp_ms, from_offset, walk)
        finally:
            self.log.release()
        if walk.fault != BATCH_OK:
            raise batch_error(walk.fault, walk.position)
        return there

    cdef int walk_to_timestamp(self, int there, int64_t timestamp_ms, int64_t from_offset, Walk* walk) except -1 nogil:
        while there and (walk.header.max_timestamp_ms < timestamp_ms or last_offset_of(&walk.header) < from_offset):
            there = next_header(self.log, walk)
        return there

    cdef bint find_record(
        self, int64_t timestamp_ms, int64_t from_offset, const Walk* walk, int64_t* found_timestamp, int64_t* found_offset
    ) except -1:
        """Look for the record inside the batch of a walk; True when it has one."""
        cdef const BatchHeader* header = &walk.header
        cdef const unsigned char* at
        cdef const unsigned char* end
        cdef RecordFields record
        cdef bytes data
        cdef int fault
        cdef int32_t i
        if header.attributes & (TIMESTAMP_TYPE_BIT | CODEC_MASK):
            # All records have the one timestamp, or nobody can tell without decompressing.
            found_timestamp[0] = header.max_timestamp_ms
            found_offset[0] = max(header.base_offset, from_offset)
            return True
        data = self.log.pread(header.size_bytes, walk.position)
        if len(data) < header.size_bytes:
            raise_system_error(EIO, self.log.path)
        at = <const unsigned char*>PyBytes_AS_STRING(data) + BATCH_HEADER_BYTES
        end = <const unsigned char*>PyBytes_AS_STRING(data) + header.size_bytes
        for i in range(header.count):
            fault = read_record(at, end, &record)
            if fault != BATCH_OK:
                raise batch_error(fault, walk.position + (at - <const unsigned char*>PyBytes_AS_STRING(data)))
            found_timestamp[0] = <int64_t>(<uint64_t>header.base_timestamp_ms + <uint64_t>record.timestamp_delta_ms)
            found_offset[0] = header.base_offset + record.offset_delta
            if found_timestamp[0] >= timestamp_ms and found_offset[0] >= from_offset:
                return True
            at = record.end
        return False

    # ---- cut and recover ----------------------------------------------------------------------------------------------------------

    cdef bint is_in_use_past(self, int64_t size) except -1:
        """Tell whether a cut needs a new file; BufferError when there is nobody to make one."""
        if not self.log.is_in_use_past(size):
            return False
        if self.replace_log is None:
            raise BufferError(f"{self.log.path}: regions past {size} are still in use, and nothing is there to replace the file")
        return True

    cdef int cut(self, int64_t size) except -1:
        """Cut the log file; under living regions a new file with the kept bytes takes its place."""
        cdef File replacement, replaced
        self.forget_places(size)
        self.known_end_offset = -1
        if self.is_in_use_past(size):
            replacement = <File?>self.replace_log(self.log, size)
            replaced = self.log
            self.log = replacement
            replaced.close()
        else:
            self.log.ftruncate(size)
        self.reserved_end = size
        return 0

    def truncate(self, int64_t offset, /):
        """Cut to the batches whose last offset < `offset`; see `_core.pyi`."""
        cdef Walk walk
        cdef int64_t kept
        if self.closed:
            raise ValueError(f"{self.log.path} is closed")
        self.sealed = self.log._released = False
        if self.torn:
            self.cut_back()
        if offset >= self.next_offset or not self.locate(offset, &walk):
            return
        kept = walk.position
        self.is_in_use_past(kept)
        # Indexes first: should this fail halfway, they miss entries, and hold none past the log's end.
        self.offset_index.truncate(offset)
        self.time_index.truncate(offset)
        self.cut(kept)
        self.size_bytes = kept
        self.load_max_timestamp()
        self.load_end()

    def recover(self, *, int64_t from_position=0):
        """Check every batch, cut at the first invalid byte, rebuild the indexes; see `_core.pyi`."""
        cdef _Scan scan = _Scan.__new__(_Scan)
        cdef int64_t file_size, start, value = 0
        cdef int64_t kept_offsets = 0
        cdef int64_t kept_times = 0
        if self.closed:
            raise ValueError(f"{self.log.path} is closed")
        self.needs_recovery = True
        file_size = self.log.size_bytes()
        start = self.begin_scan(scan, from_position, file_size)
        scan.last_indexed_timestamp_ms = -1
        if start > 0:
            kept_offsets = self.offset_index.greatest(start - 1, True) + 1
            kept_times = self.time_index.greatest(scan.next_offset - 1 - self.base_offset, True) + 1
            if kept_times > 0:
                self.time_index.entry(kept_times - 1, &scan.last_indexed_timestamp_ms, &value)
        self.log.acquire()
        try:
            with nogil:
                scan.run(self.log, start, file_size)
                if scan.note_timestamp() < 0:
                    with gil:
                        raise MemoryError
        finally:
            self.log.release()
        self.offset_index.replace(kept_offsets, &scan.offset_entries)
        self.time_index.replace(kept_times, &scan.time_entries)
        if scan.valid_end < file_size:
            self.cut(scan.valid_end)
        self.forget_places(0)
        self.known_end_offset = -1
        self.rule = scan.rule
        self.size_bytes = scan.valid_end
        self.next_offset = scan.next_offset
        self.needs_recovery = self.torn = self.sealed = False
        return recovered_batches(&scan.producers)

    cdef int64_t begin_scan(self, _Scan scan, int64_t from_position, int64_t file_size) except -1:
        """Prepare a scan from a position: what came before is taken from the headers since the last index entry.

        Returns where to begin: 0 when no batch ends at `from_position` or the index cannot be believed.
        """
        cdef Walk walk
        cdef int64_t number, key = 0, value = 0
        cdef int there
        scan.rule.base_offset = self.base_offset
        scan.rule.interval_bytes = self.rule.interval_bytes
        scan.begin(self.base_offset)
        if 0 < from_position <= file_size:
            self.log.acquire()
            try:
                with nogil:
                    there = self.enter_last_indexed(&walk, from_position)
                    while there:
                        scan.next_offset = last_offset_of(&walk.header) + 1
                        count_batch(&scan.rule, &walk.header)
                        there = next_header(self.log, &walk)
            finally:
                self.log.release()
            if walk.fault == BATCH_OK and walk.position == from_position:
                number = self.time_index.greatest(scan.next_offset - 1 - self.base_offset, True)
                if number >= 0:
                    self.time_index.entry(number, &key, &value)
                    if key >= scan.rule.max_timestamp_ms:
                        scan.rule.max_timestamp_ms = key
                        scan.rule.offset_of_max_timestamp = self.base_offset + value
                return from_position
            scan.begin(self.base_offset)
        return 0

    def producer_batches(self, int64_t from_offset, /):
        """Return what producers appended at or past an offset; see `_core.pyi`."""
        cdef _Scan scan = _Scan.__new__(_Scan)
        cdef Walk walk
        cdef bint enough_memory = True
        if from_offset >= self.next_offset or not self.locate(from_offset, &walk):
            return []
        self.log.acquire()
        try:
            with nogil:
                while True:
                    if note_producer(&scan.producers, &walk.header) < 0:
                        enough_memory = False
                        break
                    if not next_header(self.log, &walk):
                        break
        finally:
            self.log.release()
        if not enough_memory:
            raise MemoryError
        if walk.fault != BATCH_OK:
            raise batch_error(walk.fault, walk.position)
        return recovered_batches(&scan.producers)

    # ---- roll, flush, close -------------------------------------------------------------------------------------------------------

    def on_roll(self):
        """Finish the indexes and give back reserved blocks; see `_core.pyi`."""
        if self.torn:
            self.cut_back()
        if not self.needs_recovery:
            self.index_timestamp()
        self.offset_index.trim()
        self.time_index.trim()
        if not self.needs_recovery:
            self.log.release_beyond(self.size_bytes)
        self.sealed = True  # last: when a full disk ends this early, the segment is appended to as before

    def flush(self):
        """Write out index tails and make log and indexes durable; see `_core.pyi`."""
        cdef File log = self.log
        cdef File offset_file = self.offset_index.file
        cdef File time_file = self.time_index.file
        cdef int descriptors[3]
        cdef int synced = 0
        cdef int failure = 0
        self.offset_index.spill()
        self.time_index.spill()
        if not (log._native and offset_file._native and time_file._native):
            log.fdatasync()
            offset_file.fdatasync()
            time_file.fdatasync()
            return
        # One stay outside the GIL for all three: each return to a busy interpreter may cost milliseconds.
        for file in (log, offset_file, time_file):
            file.acquire()
        descriptors = [log._descriptor, offset_file._descriptor, time_file._descriptor]
        with nogil:
            while synced < 3:
                if c_fdatasync(descriptors[synced]) == 0:
                    synced += 1
                elif errno != EINTR:
                    failure = errno
                    break
        for file in (log, offset_file, time_file):
            file.release()
        if failure:
            raise_system_error(failure, (log.path, offset_file.path, time_file.path)[synced])

    def close(self):
        """Finish the indexes and close all three files; see `_core.pyi`."""
        if self.closed:
            return
        self.closed = True
        try:
            try:
                if not self.needs_recovery:
                    if self.torn:
                        self.cut_back()
                    self.index_timestamp()
                    if self.reserved_end > self.size_bytes:
                        self.log.release_beyond(self.size_bytes)
            finally:
                self.log.close()
        finally:
            try:
                self.offset_index.close()
            finally:
                self.time_index.close()
