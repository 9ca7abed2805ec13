# The two sparse indexes of a segment, in Kafka's layout (big-endian):
#
#   .index       offset - base offset (int32) | position (int32)          the LAST offset of the batch that begins at `position`
#   .timeindex   timestamp (int64) | offset - base offset (int32)         the greatest timestamp so far and the last offset of its batch
#
# The newest entries stay in memory and go to the file by one pwrite when the tail is full; older ones are searched in a mapping of
# the file (real files) or by preads. Kafka's live indexes are files of 10 MiB whose unused end is zeros: those are not entries.
# Invariants: keys strictly ascend; an index may miss entries, it never holds wrong ones; entries that are mapped are never cut.

cdef enum:
    INDEX_TAIL_ENTRIES = 512
    INDEX_CHECK_CHUNK_ENTRIES = 4096
    OFFSET_ENTRY_BYTES = 8
    TIME_ENTRY_BYTES = 12

cdef int64_t RELATIVE_MOST = 0x7FFFFFFF  # offsets in an index, and positions, are int32


cdef class _Index:
    """What both indexes share: entries of a key and a value, kept as the bytes that the file has."""

    def __init__(self, File file not None, int64_t base_offset, *, int64_t max_bytes=10 << 20):
        if self.file is not None:
            raise ValueError("an index is opened once")
        if max_bytes < self.entry_bytes:
            raise ValueError("max_bytes holds no entry")
        self.base_offset = base_offset
        self.max_bytes = max_bytes
        self.file = file
        self.load()

    def __dealloc__(self):
        PyMem_Free(self.tail)

    @property
    def count(self):
        """Entries, in the file and in memory."""
        return self.stored + self.tail_count

    @property
    def is_full(self):
        """Whether the next entry would go past `max_bytes`, the one that a roll adds to the time index allowed for."""
        return self.is_filled()

    cdef bint is_filled(self) noexcept:
        return (self.stored + self.tail_count + 2) * self.entry_bytes > self.max_bytes

    # ---- entries --------------------------------------------------------------------------------------------------------------

    cdef void decode(self, const char* entry, int64_t* key, int64_t* value) noexcept nogil:
        if self.entry_bytes == OFFSET_ENTRY_BYTES:
            key[0] = load32(<const unsigned char*>entry)
            value[0] = load32(<const unsigned char*>entry + 4)
        else:
            key[0] = load64(<const unsigned char*>entry)
            value[0] = load32(<const unsigned char*>entry + 8)

    cdef int entry(self, int64_t number, int64_t* key, int64_t* value) except -1:
        """Decode one entry: offsets relative, as the file has them."""
        cdef char bytes_read[TIME_ENTRY_BYTES]
        cdef int64_t position = number * self.entry_bytes
        if number >= self.stored:
            self.decode(self.tail + (number - self.stored) * self.entry_bytes, key, value)
            return 0
        if self.mapping is None and not self.unmappable:
            # Mapped as far as the index may grow: entries that come later are seen through it without mapping again.
            if self.file._native:
                self.mapping = _Mapping.create(self.file._descriptor, 0, max(self.max_bytes, self.stored * self.entry_bytes))
            self.unmappable = self.mapping is None
        if self.mapping is not None and self.mapping.covers(position, self.entry_bytes):
            self.decode(self.mapping.at(position), key, value)
            return 0
        if self.file.read_into(bytes_read, self.entry_bytes, position) < self.entry_bytes:
            raise_system_error(EIO, self.file.path)
        self.decode(bytes_read, key, value)
        return 0

    cdef int64_t greatest(self, int64_t bound, bint by_value) except -2:
        """Return the number of the last entry whose key (or value) is <= `bound`, -1 if there is none."""
        cdef int64_t low = 0
        cdef int64_t high = self.stored + self.tail_count
        cdef int64_t middle, key = 0, value = 0
        if self.tail_count > 0:
            self.decode(self.tail, &key, &value)
            if (value if by_value else key) <= bound:
                low = self.stored
            else:
                high = self.stored
        while low < high:
            middle = (low + high) >> 1
            self.entry(middle, &key, &value)
            if (value if by_value else key) <= bound:
                low = middle + 1
            else:
                high = middle
        return low - 1

    cdef int load(self) except -1:
        """Find out how many entries the file has; reads one entry, and some more where the file ends in zeros."""
        cdef int64_t size = self.file.size_bytes()
        cdef int64_t low, high, middle, key = 0, value = 0
        self.mapping = None
        self.unmappable = False
        self.tail_count = 0
        self.ragged = size % self.entry_bytes != 0
        self.stored = size // self.entry_bytes
        if self.stored > 0:
            # Only the first entry may be all zeros and yet be one, but nothing is lost by missing it.
            low = 0
            high = self.stored
            self.entry(high - 1, &key, &value)
            if key == 0 and value == 0:
                while low < high:
                    middle = (low + high) >> 1
                    self.entry(middle, &key, &value)
                    if key != 0 or value != 0 or (middle == 0 and self.stored > 1 and self.is_used(1)):
                        low = middle + 1
                    else:
                        high = middle
                self.stored = low
        return self.load_last()

    cdef bint is_used(self, int64_t number) except -1:
        cdef int64_t key = 0, value = 0
        self.entry(number, &key, &value)
        return key != 0 or value != 0

    cdef int load_last(self) except -1:
        cdef int64_t count = self.stored + self.tail_count
        self.last_key = -1
        self.last_value = -1
        if count > 0:
            self.entry(count - 1, &self.last_key, &self.last_value)
        return 0

    cdef int push(self, int64_t key, int64_t value) except -1:
        """Add an entry behind the last; it is missed when the tail is full and the file takes nothing."""
        cdef unsigned char* entry
        if self.tail == NULL:
            self.tail = <char*>PyMem_Malloc(INDEX_TAIL_ENTRIES * self.entry_bytes)
            if self.tail == NULL:
                raise MemoryError
        if self.tail_count == INDEX_TAIL_ENTRIES:
            try:
                self.spill()
            except OSError:
                return 0  # lookups go to an earlier entry; `flush` tells of the disk
        entry = <unsigned char*>self.tail + self.tail_count * self.entry_bytes
        if self.entry_bytes == OFFSET_ENTRY_BYTES:
            store32(entry, <int32_t>key)
            store32(entry + 4, <int32_t>value)
        else:
            store64(entry, key)
            store32(entry + 8, <int32_t>value)
        self.tail_count += 1
        self.last_key = key
        self.last_value = value
        return 0

    # ---- the file -------------------------------------------------------------------------------------------------------------

    cdef int spill(self) except -1:
        """Write the tail by one pwrite. Under the GIL, so that a flush on another thread and an append never meet in the tail."""
        if self.tail_count > 0:
            self.file.write_from(self.tail, self.tail_count * self.entry_bytes, self.stored * self.entry_bytes)
            self.stored += self.tail_count
            self.tail_count = 0
        return 0

    cdef int keep(self, int64_t count) except -1:
        """Drop all entries but the first `count`."""
        if count >= self.stored:
            self.tail_count = <int>min(<int64_t>self.tail_count, count - self.stored)
        else:
            self.file.ftruncate(count * self.entry_bytes)
            self.tail_count = 0
            self.stored = count
            self.ragged = False
        return self.load_last()

    cdef int trim(self) except -1:
        """Write the tail, and cut the file to the entries that it has."""
        self.spill()
        if self.file.size_bytes() != self.stored * self.entry_bytes:
            self.file.ftruncate(self.stored * self.entry_bytes)
            self.ragged = False
        return 0

    cdef int replace(self, int64_t kept, const Growing* entries) except -1:
        """Hold the first `kept` entries and then these encoded ones, written to the file at once; a full disk misses all of these."""
        self.keep(kept)
        self.trim()
        if entries.size > 0:
            try:
                self.file.write_from(entries.memory, entries.size, self.stored * self.entry_bytes)
            except OSError as error:
                if error.errno not in (ENOSPC, EDQUOT):
                    raise
                self.file.ftruncate(self.stored * self.entry_bytes)  # a part of them would be taken for all
            else:
                self.stored += entries.size // self.entry_bytes
        return self.load_last()

    def flush(self):
        """Write out the tail and make the entries durable."""
        self.spill()
        self.file.fdatasync()

    def close(self):
        """Write out the tail, cut what a live index of Kafka has behind it, and close the file."""
        try:
            self.trim()
        finally:
            self.mapping = None
            self.unmappable = True
            self.file.close()

    def check(self):
        """Raise CorruptBatch when the entries cannot be right; see `_core.pyi`."""
        cdef int64_t fault = -1
        cdef int64_t number = 0
        cdef int64_t key = -1, value = -1, last_key = -1, last_value = -1
        cdef int64_t i, count, got
        cdef char* chunk
        if self.ragged:
            raise CorruptBatch(f"{self.file.path}: the size is no multiple of {self.entry_bytes}", self.stored * self.entry_bytes)
        chunk = <char*>PyMem_RawMalloc(INDEX_CHECK_CHUNK_ENTRIES * self.entry_bytes)
        if chunk == NULL:
            raise MemoryError
        self.file.acquire()
        try:
            with nogil:
                while number < self.stored and fault < 0:
                    count = min(<int64_t>INDEX_CHECK_CHUNK_ENTRIES, self.stored - number)
                    got = self.file.read_into(chunk, count * self.entry_bytes, number * self.entry_bytes)
                    if got < count * self.entry_bytes:
                        fault = number + got // self.entry_bytes
                    for i in range(got // self.entry_bytes):
                        self.decode(chunk + i * self.entry_bytes, &key, &value)
                        if key <= last_key or value < 0 or value < last_value:
                            fault = number + i
                            break
                        last_key = key
                        last_value = value
                    number += count
        finally:
            PyMem_RawFree(chunk)
            self.file.release()
        if fault >= 0:
            raise CorruptBatch(f"{self.file.path}: the entries do not ascend", fault * self.entry_bytes)


cdef class OffsetIndex(_Index):
    """Kafka's `.index`; see `_core.pyi`."""

    def __cinit__(self):
        self.entry_bytes = OFFSET_ENTRY_BYTES

    def append(self, int64_t offset, int64_t position, /):
        cdef int64_t relative = offset - self.base_offset
        if not (0 <= relative <= RELATIVE_MOST and 0 <= position <= RELATIVE_MOST):
            raise ValueError(f"offset {offset} at {position} does not fit an index that begins at {self.base_offset}")
        if relative <= self.last_key or position <= self.last_value:
            raise ValueError(f"offset {offset} at {position} is not behind the last entry")
        self.push(relative, position)

    def lookup(self, int64_t offset, /):
        cdef int64_t found, position
        found = self.floor(offset, &position)
        return found, position

    cdef int64_t floor(self, int64_t offset, int64_t* position) except? -1:
        """Return the greatest indexed offset <= `offset`, else the base offset, and the position of its batch."""
        cdef int64_t key = 0
        cdef int64_t number = self.greatest(offset - self.base_offset, False)
        position[0] = 0
        if number >= 0:
            self.entry(number, &key, position)
        return self.base_offset + key

    def entries(self):
        return [(self.base_offset + key, value) for key, value in _entries(self)]

    def truncate(self, int64_t offset, /):
        self.keep(self.greatest(offset - self.base_offset - 1, False) + 1)


cdef class TimeIndex(_Index):
    """Kafka's `.timeindex`; see `_core.pyi`."""

    def __cinit__(self):
        self.entry_bytes = TIME_ENTRY_BYTES

    def append(self, int64_t timestamp_ms, int64_t offset, /):
        self.add(timestamp_ms, offset)

    cdef int add(self, int64_t timestamp_ms, int64_t offset) except -1:
        cdef int64_t relative = offset - self.base_offset
        if not 0 <= relative <= RELATIVE_MOST:
            raise ValueError(f"offset {offset} does not fit an index that begins at {self.base_offset}")
        if timestamp_ms < self.last_key or relative < self.last_value:
            raise ValueError(f"timestamp {timestamp_ms} at offset {offset} is before the last entry")
        if timestamp_ms > self.last_key:
            self.push(timestamp_ms, relative)
        return 0

    def lookup(self, int64_t timestamp_ms, /):
        cdef int64_t key = -1, value = 0
        cdef int64_t number = self.greatest(timestamp_ms, False)
        if number >= 0:
            self.entry(number, &key, &value)
        return key, self.base_offset + value

    def entries(self):
        return [(key, self.base_offset + value) for key, value in _entries(self)]

    def truncate(self, int64_t offset, /):
        self.keep(self.greatest(offset - self.base_offset - 1, True) + 1)


def _entries(_Index index):
    """Return all entries with relative offsets."""
    cdef int64_t number, key = 0, value = 0
    found = []
    for number in range(index.stored + index.tail_count):
        index.entry(number, &key, &value)
        found.append((key, value))
    return found
