# Record batches, magic 2: checked, patched in place, and their records iterated, all without a copy.
#
# A batch on the wire and on disk (big-endian):
#
#      0 base_offset        int64   \  outside the CRC, so that a broker may
#      8 length             int32    | give offsets and epochs without
#     12 leader_epoch       int32    | computing it anew
#     16 magic              int8    /
#     17 crc                uint32     CRC32C of everything from byte 21 on
#     21 attributes         int16      bits 0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
#     23 last_offset_delta  int32      of the last record there was before compaction; also the last sequence's delta
#     27 base_timestamp     int64      what the records' timestamp deltas count from
#     35 max_timestamp      int64
#     43 producer_id        int64      -1: none, and the next two mean nothing
#     51 producer_epoch     int16
#     53 base_sequence      int32
#     57 count              int32
#     61 records                       compressed as a whole, when there is a codec
#
# `length` counts the bytes after itself. A record (varints are zig-zag):
#
#     length varint, of what follows
#     attributes int8 (unused)
#     timestamp_delta varlong
#     offset_delta varint
#     key_size varint (-1: null), key
#     value_size varint (-1: null), value
#     header_count varint, then each: key_size varint, key, value_size varint (-1: null), value
#
# What a check refuses, in this order: a length under a header's; magic 0 and 1 (the message formats before KIP-98) and unknown magic;
# a size over the caller's limit; a batch whose bytes are not all there; a wrong CRC; an unknown codec; a negative base offset or
# last offset delta, or offsets past 2^63 - 1; counts; producer fields; then record by record.
#
# * Counts: a batch as a producer sends it holds last_offset_delta + 1 records, at least one, with offset deltas 0, 1, 2, ...
#   Compaction takes records out and keeps the rest's offsets, down to a batch of none (kept for its producer's sequence):
#   ALLOW_COMPACTED accepts count <= last_offset_delta + 1 and deltas that ascend up to last_offset_delta. Uncompressed records that cannot
#   fit into the payload by their least size are refused without looking at one.
# * Producer fields: the id is -1 or more. With an id the epoch is not negative, nor is the base sequence unless it is a control
#   batch (a transaction marker carries -1). Without one, epoch and sequence are not looked at: clients fill them differently.
#   A transactional batch has a producer id.
# * Records: each is exactly as long as it says, and together they fill the payload. A header takes two bytes at least, so a header
#   count is bounded by the bytes that remain. The key of a control record holds at least its version and type (4 bytes).
#   Varints longer than their type's longest form, or with bits past its width, are refused.
#
# Leader epoch, attribute bits 6 to 15 and record attributes are not looked at, nor are the records inside a compressed batch.
# Whether a client may send control batches or log append time is policy, and not decided here.
#
# Sources: the "Record Batch" chapter of Kafka's documentation; KIP-98, KIP-82 (headers), KIP-534 (delete horizon).

from cpython.memoryview cimport PyMemoryView_FromObject


BATCH_OVERHEAD_BYTES = BATCH_HEADER_BYTES

cdef tuple FAULT_REASONS = (
    "no fault",
    "incomplete batch",
    "batch length below the header's",
    "magic 0: message format v0 is not supported",
    "magic 1: message format v1 is not supported",
    "unknown magic",
    "batch larger than allowed",
    "CRC mismatch",
    "unknown codec",
    "invalid offset range",
    "invalid record count",
    "invalid producer id or epoch",
    "transactional batch without a producer id",
    "invalid base sequence",
    "invalid record size",
    "offset deltas out of order",
    "invalid record field",
    "invalid record headers",
    "invalid control record",
    "bytes left after the last record",
)
if len(FAULT_REASONS) != BATCH_FAULTS:
    raise AssertionError("a batch fault without a reason")


cdef object batch_error(int fault, Py_ssize_t position):
    return (BatchTooLarge if fault == BATCH_TOO_LARGE else CorruptBatch)(FAULT_REASONS[fault], position)


cdef int32_t advance_sequence(int32_t sequence, int32_t increment) noexcept nogil:
    return <int32_t>((<uint32_t>sequence + <uint32_t>increment) & 0x7FFFFFFF)


# ---- checks, on bytes alone ----

cdef void read_batch_header(const unsigned char* data, BatchHeader* header) noexcept nogil:
    header.base_offset = load64(data)
    header.size_bytes = <Py_ssize_t>load32(data + 8) + BATCH_PREFIX_BYTES
    header.leader_epoch = load32(data + 12)
    header.crc = <uint32_t>load32(data + 17)
    header.attributes = load16(data + 21)
    header.last_offset_delta = load32(data + 23)
    header.base_timestamp_ms = load64(data + 27)
    header.max_timestamp_ms = load64(data + 35)
    header.producer_id = load64(data + 43)
    header.producer_epoch = load16(data + 51)
    header.base_sequence = load32(data + 53)
    header.count = load32(data + 57)


cdef void write_batch_header(unsigned char* data, const BatchHeader* header) noexcept nogil:
    """Write all but the CRC, which `write_batch_crc` computes once every byte it covers is in place."""
    store64(data, header.base_offset)
    store32(data + 8, <int32_t>(header.size_bytes - BATCH_PREFIX_BYTES))
    store32(data + 12, header.leader_epoch)
    data[BATCH_MAGIC_POSITION] = 2
    store16(data + 21, header.attributes)
    store32(data + 23, header.last_offset_delta)
    store64(data + 27, header.base_timestamp_ms)
    store64(data + 35, header.max_timestamp_ms)
    store64(data + 43, header.producer_id)
    store16(data + 51, header.producer_epoch)
    store32(data + 53, header.base_sequence)
    store32(data + 57, header.count)


cdef uint32_t write_batch_crc(unsigned char* data, Py_ssize_t size_bytes) noexcept nogil:
    cdef uint32_t crc = crc32c_of(0, data + BATCH_CRC_START, size_bytes - BATCH_CRC_START)
    store32(data + 17, <int32_t>crc)
    return crc


cdef int read_record(const unsigned char* data, const unsigned char* end, RecordFields* record) noexcept nogil:
    cdef const unsigned char* at
    cdef int32_t size = 0
    cdef int32_t headers
    at = read_varint(data, end, &size)
    if at == NULL or size < RECORD_MIN_BYTES - 1 or size > end - at:
        return RECORD_SIZE
    end = at + size
    record.end = end
    at = read_varlong(at + 1, end, &record.timestamp_delta_ms)
    if at == NULL:
        return RECORD_FIELD
    at = read_varint(at, end, &record.offset_delta)
    if at == NULL:
        return RECORD_FIELD
    at = read_varint(at, end, &record.key_size)
    if at == NULL or record.key_size < -1 or record.key_size > end - at:
        return RECORD_FIELD
    record.key = NULL
    if record.key_size >= 0:
        record.key = at
        at += record.key_size
    at = read_varint(at, end, &record.value_size)
    if at == NULL or record.value_size < -1 or record.value_size > end - at:
        return RECORD_FIELD
    record.value = NULL
    if record.value_size >= 0:
        record.value = at
        at += record.value_size
    at = read_varint(at, end, &headers)
    if at == NULL or headers < 0 or headers > (end - at) // HEADER_MIN_BYTES:
        return RECORD_HEADERS
    record.header_count = headers
    record.headers = at
    while headers:
        at = read_varint(at, end, &size)
        if at == NULL or size < 0 or size > end - at:
            return RECORD_HEADERS
        at = read_varint(at + size, end, &size)
        if at == NULL or size < -1 or size > end - at:
            return RECORD_HEADERS
        if size > 0:
            at += size
        headers -= 1
    return BATCH_OK if at == end else RECORD_SIZE


cdef enum:
    PLAIN_RECORD_LEAST_BYTES = 24   # more than the fields up to the key's size have where none is longer than is plain


cdef inline const unsigned char* skip_plain_record(
    const unsigned char* at, const unsigned char* end, uint32_t offset_delta
) noexcept nogil:
    """Return the end of a record as nearly all are: with that offset delta, short sizes, no headers. NULL: `read_record` decides.

    Says NULL of whatever it does not recognise, and never yes to what `read_record` refuses.
    """
    cdef const unsigned char* finish
    cdef uint32_t size
    cdef uint32_t folded = offset_delta << 1
    if end - at < PLAIN_RECORD_LEAST_BYTES:
        return NULL
    size = at[0]
    at += 1
    if size & 0x80:
        size = (size & 0x7F) | (<uint32_t>at[0] << 7)
        at += 1
        if size & 0x4000:
            size = (size & 0x3FFF) | (<uint32_t>at[0] << 14)
            at += 1
            if size & 0x200000:
                return NULL
    if size & 1 or <Py_ssize_t>(size >> 1) > end - at:
        return NULL
    finish = at + (size >> 1)
    at += 1                         # attributes
    if at[0] & 0x80:                # timestamp delta
        at += 1
        if at[0] & 0x80:
            at += 1
            if at[0] & 0x80:
                return NULL
    at += 1
    if folded < 0x80:               # offset delta: known, so compared as it is written
        if at[0] != folded:
            return NULL
        at += 1
    elif folded < 0x4000:
        if at[0] != (folded & 0x7F | 0x80) or at[1] != folded >> 7:
            return NULL
        at += 2
    else:
        return NULL
    size = at[0]                    # key
    at += 1
    if size != 1:                   # null
        if size & 0x81:
            return NULL
        at += size >> 1
    if finish - at < 4:             # two bytes of a size, at least; short values are for `read_record`
        return NULL
    size = at[0]                    # value
    at += 1
    if size & 0x80:
        size = (size & 0x7F) | (<uint32_t>at[0] << 7)
        at += 1
        if size & 0x4000:
            return NULL
    if size & 1 or <Py_ssize_t>(size >> 1) != finish - at - 1 or (finish - 1)[0] != 0:
        return NULL                 # what remains is the value and a count of no headers
    return finish


cdef int check_records(
    const unsigned char* data, const BatchHeader* header, bint compacted, Py_ssize_t* fault_position
) noexcept nogil:
    cdef const unsigned char* at = data + BATCH_HEADER_BYTES
    cdef const unsigned char* end = data + header.size_bytes
    cdef RecordFields record
    cdef const unsigned char* plain_end
    cdef bint may_be_plain = not compacted and not header.attributes & CONTROL_BIT
    cdef int32_t seen
    cdef int32_t last_delta = -1
    cdef int fault
    for seen in range(header.count):
        if may_be_plain:
            plain_end = skip_plain_record(at, end, seen)
            if plain_end != NULL:
                at = plain_end
                continue
        fault_position[0] = at - data
        fault = read_record(at, end, &record)
        if fault != BATCH_OK:
            return fault
        if compacted:
            if record.offset_delta <= last_delta or record.offset_delta > header.last_offset_delta:
                return RECORD_OFFSET
            last_delta = record.offset_delta
        elif record.offset_delta != seen:
            return RECORD_OFFSET
        if header.attributes & CONTROL_BIT and record.key_size < 4:
            return RECORD_CONTROL
        at = record.end
    fault_position[0] = at - data
    return BATCH_OK if at == end else RECORDS_TRAILING


cdef int check_batch_fields(const BatchHeader* header, bint compacted) noexcept nogil:
    cdef Py_ssize_t payload_bytes = header.size_bytes - BATCH_HEADER_BYTES
    cdef int codec = header.attributes & CODEC_MASK
    cdef int64_t count = header.count
    if codec > CODEC_LAST:
        return BATCH_CODEC
    if header.base_offset < 0 or header.last_offset_delta < 0 or header.base_offset > INT64_MAX - header.last_offset_delta:
        return BATCH_OFFSET
    if compacted:
        if count < 0 or count > <int64_t>header.last_offset_delta + 1:
            return BATCH_COUNT
    elif count != <int64_t>header.last_offset_delta + 1:
        return BATCH_COUNT
    if codec == 0 and count > payload_bytes // RECORD_MIN_BYTES:
        return BATCH_COUNT
    if header.producer_id < -1 or (header.producer_id >= 0 and header.producer_epoch < 0):
        return BATCH_PRODUCER
    if header.producer_id >= 0 and header.base_sequence < 0 and not header.attributes & CONTROL_BIT:
        return BATCH_SEQUENCE
    if header.producer_id < 0 and header.attributes & TRANSACTIONAL_BIT:
        return BATCH_TRANSACTIONAL
    return BATCH_OK


cdef int check_batch(
    const unsigned char* data,
    Py_ssize_t available,
    int checks,
    Py_ssize_t max_batch_bytes,
    BatchHeader* header,
    Py_ssize_t* fault_position,
) noexcept nogil:
    cdef Py_ssize_t ignored
    cdef int fault
    if fault_position == NULL:
        fault_position = &ignored
    fault_position[0] = 0
    header.size_bytes = BATCH_HEADER_BYTES
    if available <= BATCH_MAGIC_POSITION:
        return BATCH_PARTIAL
    # Magic before length: batches of the old formats may be shorter than a header of this one.
    if data[BATCH_MAGIC_POSITION] != 2:
        return (
            BATCH_MAGIC_0 if data[BATCH_MAGIC_POSITION] == 0
            else BATCH_MAGIC_1 if data[BATCH_MAGIC_POSITION] == 1
            else BATCH_MAGIC
        )
    header.size_bytes = <Py_ssize_t>load32(data + 8) + BATCH_PREFIX_BYTES
    if header.size_bytes < BATCH_HEADER_BYTES:
        return BATCH_LENGTH
    if 0 <= max_batch_bytes < header.size_bytes:
        return BATCH_TOO_LARGE
    if available < header.size_bytes:
        return BATCH_PARTIAL
    read_batch_header(data, header)
    if checks & CHECK_CRC and crc32c_of(0, data + BATCH_CRC_START, header.size_bytes - BATCH_CRC_START) != header.crc:
        return BATCH_CRC
    fault = check_batch_fields(header, checks & ALLOW_COMPACTED)
    if fault == BATCH_OK and checks & CHECK_RECORDS and not header.attributes & CODEC_MASK:
        fault = check_records(data, header, checks & ALLOW_COMPACTED, fault_position)
    return fault


# ---- records ----

@cython.freelist(256)
@cython.no_gc       # holds nothing but the Slice or lease that its batch holds
cdef class Record:
    def __init__(self):
        raise TypeError("records come from Batch.records")

    @property
    def key(self):
        return None if self.fields.key == NULL else _view(self.owner, self.fields.key, self.fields.key_size)

    @property
    def value(self):
        return None if self.fields.value == NULL else _view(self.owner, self.fields.value, self.fields.value_size)

    @property
    def headers(self):
        cdef list found = []
        cdef const unsigned char* at = self.fields.headers
        cdef const unsigned char* name
        cdef int32_t name_size = 0, size = 0, count
        for count in range(self.fields.header_count):
            # Checked by read_record already, but the memory may have a writer: check again what is read again.
            name = read_varint(at, self.fields.end, &name_size)
            if name == NULL or name_size < 0 or name_size > self.fields.end - name:
                raise batch_error(RECORD_HEADERS, 0)
            at = read_varint(name + name_size, self.fields.end, &size)
            if at == NULL or size < -1 or size > self.fields.end - at:
                raise batch_error(RECORD_HEADERS, 0)
            found.append((
                (<const char*>name)[:name_size].decode("utf-8", "surrogateescape"),
                None if size < 0 else _view(self.owner, at, size),
            ))
            if size > 0:
                at += size
        return found


cdef object _view(object owner, const unsigned char* data, Py_ssize_t size):
    return PyMemoryView_FromObject(slice_of(owner, data, size, False))


@cython.final
@cython.internal
cdef class _Records:
    """The iterator: reads one record a step and trusts nothing that it has not just checked."""
    cdef Batch batch
    cdef object owner
    cdef const unsigned char* start         # what positions count from
    cdef const unsigned char* at
    cdef const unsigned char* end
    cdef int32_t remaining
    cdef int32_t last_delta

    def __iter__(self):
        return self

    def __next__(self):
        cdef Record record
        cdef const BatchHeader* header = &self.batch.header
        cdef int fault
        if self.remaining == 0:
            if self.at != self.end:
                self.end = self.at      # say it once
                raise batch_error(RECORDS_TRAILING, self.at - self.start)
            raise StopIteration
        record = Record.__new__(Record)
        fault = read_record(self.at, self.end, &record.fields)
        if fault == BATCH_OK:
            if record.fields.offset_delta <= self.last_delta or record.fields.offset_delta > header.last_offset_delta:
                fault = RECORD_OFFSET
        if fault != BATCH_OK:
            self.remaining = 0
            self.end = self.at
            raise batch_error(fault, self.at - self.start)
        record.owner = self.owner
        self.at = record.fields.end
        self.last_delta = record.fields.offset_delta
        self.remaining -= 1
        record.offset = header.base_offset + record.fields.offset_delta
        if header.attributes & TIMESTAMP_TYPE_BIT:
            record.timestamp_ms = header.max_timestamp_ms
        else:   # wraps, as Java's addition does
            record.timestamp_ms = <int64_t>(<uint64_t>header.base_timestamp_ms + <uint64_t>record.fields.timestamp_delta_ms)
        record.sequence = -1
        if header.producer_id >= 0 and header.base_sequence >= 0:
            record.sequence = advance_sequence(header.base_sequence, record.fields.offset_delta)
        return record


# ---- batches ----

@cython.freelist(64)
@cython.no_gc       # holds nothing but a lease or a chunk of memory
cdef class Batch:
    def __init__(self):
        raise TypeError("batches come from scan or BatchBuilder")

    @property
    def base_offset(self):
        return self.header.base_offset

    @property
    def size_bytes(self):
        return self.header.size_bytes

    @property
    def leader_epoch(self):
        return self.header.leader_epoch

    @property
    def crc(self):
        return self.header.crc

    @property
    def attributes(self):
        return self.header.attributes

    @property
    def last_offset_delta(self):
        return self.header.last_offset_delta

    @property
    def base_timestamp_ms(self):
        return self.header.base_timestamp_ms

    @property
    def max_timestamp_ms(self):
        return self.header.max_timestamp_ms

    @property
    def producer_id(self):
        return self.header.producer_id

    @property
    def producer_epoch(self):
        return self.header.producer_epoch

    @property
    def base_sequence(self):
        return self.header.base_sequence

    @property
    def count(self):
        return self.header.count

    @property
    def last_offset(self):
        return self.header.base_offset + self.header.last_offset_delta

    @property
    def last_sequence(self):
        if self.header.producer_id < 0 or self.header.base_sequence < 0:
            return -1
        return advance_sequence(self.header.base_sequence, self.header.last_offset_delta)

    @property
    def codec(self):
        return self.header.attributes & CODEC_MASK

    @property
    def is_log_append_time(self):
        return self.header.attributes & TIMESTAMP_TYPE_BIT != 0

    @property
    def is_transactional(self):
        return self.header.attributes & TRANSACTIONAL_BIT != 0

    @property
    def is_control(self):
        return self.header.attributes & CONTROL_BIT != 0

    @property
    def payload(self):
        if self.data == NULL:
            return slice_of(b"", NULL, 0, False)
        return slice_of(
            self.owner, self.data + BATCH_HEADER_BYTES, self.header.size_bytes - BATCH_HEADER_BYTES, self.writable
        )

    def __len__(self):
        return self.header.size_bytes

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.header.size_bytes, 1, flags)

    cdef int assign_offsets(self, int64_t base_offset, int32_t leader_epoch) except -1:
        if not self.writable:
            raise BufferError("the batch's memory is read-only")
        if base_offset < 0 or base_offset > INT64_MAX - self.header.last_offset_delta:
            raise OverflowError(f"base offset {base_offset} leaves no room for the batch's offsets")
        self.header.base_offset = base_offset
        self.header.leader_epoch = leader_epoch
        store64(self.data, base_offset)
        store32(self.data + 12, leader_epoch)
        return 0

    def assign(self, int64_t base_offset, int32_t leader_epoch, /):
        self.assign_offsets(base_offset, leader_epoch)

    def set_log_append_time(self, int64_t timestamp_ms, /):
        if not self.writable:
            raise BufferError("the batch's memory is read-only")
        self.header.attributes |= TIMESTAMP_TYPE_BIT
        self.header.max_timestamp_ms = timestamp_ms
        store16(self.data + 21, self.header.attributes)
        store64(self.data + 35, timestamp_ms)
        self.header.crc = write_batch_crc(self.data, self.header.size_bytes)

    def set_producer(self, int64_t producer_id, int16_t producer_epoch, int32_t base_sequence, /):
        cdef BatchHeader changed = self.header
        if not self.writable:
            raise BufferError("the batch's memory is read-only")
        changed.producer_id = producer_id
        changed.producer_epoch = producer_epoch
        changed.base_sequence = base_sequence
        cdef int fault = check_batch_fields(&changed, True)
        if fault != BATCH_OK:
            raise ValueError(FAULT_REASONS[fault])
        store64(self.data + 43, producer_id)
        store16(self.data + 51, producer_epoch)
        store32(self.data + 53, base_sequence)
        changed.crc = write_batch_crc(self.data, self.header.size_bytes)
        self.header = changed

    def records(self, payload=None, /):
        cdef _Records iterator = _Records.__new__(_Records)
        cdef Slice plain
        if payload is not None:
            plain = as_slice(payload)
            iterator.start = plain.data
            iterator.at = plain.data
            iterator.end = plain.data + plain.size
            iterator.owner = plain.owner
        elif self.header.attributes & CODEC_MASK:
            raise ValueError(f"the batch is compressed (codec {self.codec}): give its decompressed payload")
        else:
            iterator.start = self.data
            iterator.at = self.data + BATCH_HEADER_BYTES
            iterator.end = self.data + self.header.size_bytes
            iterator.owner = self.owner
        iterator.batch = self
        iterator.remaining = self.header.count
        iterator.last_delta = -1
        return iterator


cdef Batch batch_of(object owner, const unsigned char* data, bint writable, const BatchHeader* header):
    cdef Batch made = Batch.__new__(Batch)
    made.owner = owner
    made.data = <unsigned char*>data
    made.writable = writable
    made.header = header[0]
    return made


cdef list scan_slice(Slice source, int checks, Py_ssize_t max_batch_bytes, bint allow_partial):
    cdef list found = []
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t fault_position
    cdef BatchHeader header
    cdef int fault
    cdef const unsigned char* at
    cdef Py_ssize_t available
    while position < source.size:
        at = source.data + position
        available = source.size - position
        # Not for many small batches side by side: giving up the GIL costs as much as checking one of them.
        if available >= LONG_WORK_BYTES and load32(at + 8) >= LONG_WORK_BYTES:
            with nogil:
                fault = check_batch(at, available, checks, max_batch_bytes, &header, &fault_position)
        else:
            fault = check_batch(at, available, checks, max_batch_bytes, &header, &fault_position)
        if fault == BATCH_PARTIAL and allow_partial:
            break
        if fault != BATCH_OK:
            raise batch_error(fault, position + fault_position)
        found.append(batch_of(source.owner, source.data + position, source.writable, &header))
        position += header.size_bytes
    return found


def scan(
    data,
    /,
    *,
    bint check_crc=True,
    bint check_records=True,
    Py_ssize_t max_batch_bytes=-1,
    bint allow_partial=False,
    bint compacted=False,
):
    return scan_slice(
        as_slice(data),
        (CHECK_CRC if check_crc else 0) | (CHECK_RECORDS if check_records else 0) | (ALLOW_COMPACTED if compacted else 0),
        max_batch_bytes,
        allow_partial,
    )
