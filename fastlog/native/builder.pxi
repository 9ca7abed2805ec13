# Building a batch: records are written, in their final form, behind room for the header; the header comes last.
#
# Invariants: `size` counts the header's room and whole records only (a record that fails half-way leaves it as it was); deltas
# count from the first record, so a batch's base timestamp is its first record's.
# Source: the layout at the top of batch.pxi.

from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc

cdef enum:
    BUILDER_FIRST_BYTES = 1024


cdef list NO_HEADERS = []


cdef class BatchBuilder:
    def __init__(
        self,
        *,
        int64_t base_offset=0,
        int32_t leader_epoch=-1,
        int64_t producer_id=-1,
        int16_t producer_epoch=-1,
        int32_t base_sequence=-1,
        int16_t attributes=0,
        Py_ssize_t max_bytes=1 << 20,
    ):
        if self.data != NULL:
            raise TypeError("a BatchBuilder cannot be initialised twice")
        if attributes & CODEC_MASK:
            raise ValueError("the codec is told to build, not in the attributes")
        self.data = <unsigned char*>PyMem_Malloc(BUILDER_FIRST_BYTES)
        if self.data == NULL:
            raise MemoryError
        self.capacity = BUILDER_FIRST_BYTES
        self.size = BATCH_HEADER_BYTES
        self.max_bytes = max_bytes
        self.header.base_offset = base_offset
        self.header.leader_epoch = leader_epoch
        self.header.producer_id = producer_id
        self.header.producer_epoch = producer_epoch
        self.header.base_sequence = base_sequence
        self.header.attributes = attributes
        _check_header_of_one_record(self.header)

    def __dealloc__(self):
        PyMem_Free(self.data)

    @property
    def count(self):
        return self.header.count

    @property
    def size_bytes(self):
        return self.size

    cdef int reserve(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t capacity = self.capacity
        cdef unsigned char* data
        if more <= capacity - self.size:
            return 0
        capacity = max(capacity * 2, self.size + more)
        data = <unsigned char*>PyMem_Realloc(self.data, capacity)
        if data == NULL:
            raise MemoryError
        self.data = data
        self.capacity = capacity
        return 0

    cdef unsigned char* open_record(self, int64_t timestamp_ms, Py_ssize_t fields_bytes) except? NULL:
        """Write the beginning of a record whose key, value and headers take `fields_bytes`, and return where they go; NULL when it
        would make a batch that is not empty too large. Nothing counts before `close_record`."""
        cdef int64_t timestamp_delta = 0
        cdef Py_ssize_t body_bytes, record_bytes
        cdef unsigned char* at
        if self.header.count:   # wraps, as the reader's addition does
            timestamp_delta = <int64_t>(<uint64_t>timestamp_ms - <uint64_t>self.header.base_timestamp_ms)
        body_bytes = 1 + size_of_varlong(timestamp_delta) + size_of_varlong(self.header.count) + fields_bytes
        record_bytes = size_of_varlong(body_bytes) + body_bytes
        if self.header.count and self.size + record_bytes > self.max_bytes:
            return NULL
        if self.size + record_bytes > INT32_MAX:
            raise OverflowError(f"a record of {record_bytes} bytes makes the batch larger than {INT32_MAX} bytes")
        if self.header.base_offset > INT64_MAX - self.header.count:
            raise OverflowError("no offsets left after the base offset")
        self.reserve(record_bytes)
        at = write_varlong(self.data + self.size, body_bytes)
        at[0] = 0
        at = write_varlong(at + 1, timestamp_delta)
        return write_varlong(at, self.header.count)

    cdef void close_record(self, int64_t timestamp_ms, const unsigned char* end) noexcept:
        self.size = end - self.data
        if self.header.count == 0:
            self.header.base_timestamp_ms = timestamp_ms
            self.header.max_timestamp_ms = timestamp_ms
        elif timestamp_ms > self.header.max_timestamp_ms:
            self.header.max_timestamp_ms = timestamp_ms
        self.header.count += 1

    def append(self, int64_t timestamp_ms, key, value, headers=(), /):
        cdef Slice key_bytes = None if key is None else as_slice(key)
        cdef Slice value_bytes = None if value is None else as_slice(value)
        cdef Py_ssize_t key_size = -1 if key_bytes is None else key_bytes.size
        cdef Py_ssize_t value_size = -1 if value_bytes is None else value_bytes.size
        cdef list header_bytes = _headers_as_slices(headers) if headers else NO_HEADERS
        cdef Py_ssize_t header_count = len(header_bytes) // 2
        cdef Py_ssize_t fields_bytes = size_of_field(key_size) + size_of_field(value_size) + size_of_varlong(header_count)
        cdef unsigned char* at
        cdef Slice part
        if self.data == NULL:
            raise TypeError("the BatchBuilder was not initialised")
        if self.header.attributes & CONTROL_BIT and key_size < 4:
            raise ValueError(FAULT_REASONS[RECORD_CONTROL])
        for part in header_bytes:
            fields_bytes += size_of_field(-1 if part is None else part.size)
        at = self.open_record(timestamp_ms, fields_bytes)
        if at == NULL:
            return False
        at = _write_slice(at, key_bytes)
        at = _write_slice(at, value_bytes)
        at = write_varlong(at, header_count)
        for part in header_bytes:
            at = _write_slice(at, part)
        self.close_record(timestamp_ms, at)
        return True

    def set_producer(self, int64_t producer_id, int16_t producer_epoch, int32_t base_sequence, /):
        cdef BatchHeader probe = self.header
        if self.data == NULL:
            raise TypeError("the BatchBuilder was not initialised")
        probe.producer_id = producer_id
        probe.producer_epoch = producer_epoch
        probe.base_sequence = base_sequence
        _check_header_of_one_record(probe)
        self.header.producer_id = producer_id
        self.header.producer_epoch = producer_epoch
        self.header.base_sequence = base_sequence

    def payload(self):
        if self.data == NULL:
            raise TypeError("the BatchBuilder was not initialised")
        return PyBytes_FromStringAndSize(<const char*>self.data + BATCH_HEADER_BYTES, self.size - BATCH_HEADER_BYTES)

    def build(self, compressed=None, int codec=0, /):
        cdef Slice payload
        cdef BatchHeader header = self.header
        cdef bytes built
        cdef unsigned char* data
        if header.count == 0:
            raise ValueError("a batch needs at least one record")
        if codec < 0 or codec > CODEC_LAST:
            raise ValueError(FAULT_REASONS[BATCH_CODEC])
        if (compressed is None) != (codec == 0):
            raise ValueError("a codec and a compressed payload go together")
        if compressed is None:
            payload = slice_of(self, self.data + BATCH_HEADER_BYTES, self.size - BATCH_HEADER_BYTES, False)
        else:
            payload = as_slice(compressed)
        if payload.size > INT32_MAX - BATCH_HEADER_BYTES:
            raise OverflowError(f"the compressed payload makes the batch larger than {INT32_MAX} bytes")
        header.attributes |= codec
        header.last_offset_delta = header.count - 1
        header.size_bytes = BATCH_HEADER_BYTES + payload.size
        built = PyBytes_FromStringAndSize(NULL, header.size_bytes)
        data = <unsigned char*>PyBytes_AS_STRING(built)
        write_batch_header(data, &header)
        memcpy(data + BATCH_HEADER_BYTES, payload.data, payload.size)
        write_batch_crc(data, header.size_bytes)
        return built


cdef int _check_header_of_one_record(BatchHeader header) except -1:
    """Raise ValueError unless the header's fields would make a valid batch."""
    header.count = 1
    header.last_offset_delta = 0
    header.size_bytes = BATCH_HEADER_BYTES + RECORD_MIN_BYTES
    cdef int fault = check_batch_fields(&header, False)
    if fault != BATCH_OK:
        raise ValueError(FAULT_REASONS[fault])
    return 0


cdef inline Py_ssize_t size_of_field(Py_ssize_t size) noexcept nogil:
    return size_of_varlong(size) + (size if size > 0 else 0)


cdef inline unsigned char* write_field(unsigned char* at, const unsigned char* data, Py_ssize_t size) noexcept nogil:
    """Write a size (-1: null) and the bytes."""
    at = write_varlong(at, size)
    if size > 0:
        memcpy(at, data, size)
        at += size
    return at


cdef inline unsigned char* _write_slice(unsigned char* at, Slice field):
    if field is None:
        return write_varlong(at, -1)
    return write_field(at, field.data, field.size)


cdef list _headers_as_slices(object headers):
    """Return names and values in turn; holding their buffers keeps sizes from changing between measuring and writing."""
    cdef list slices = []
    for name, value in headers:
        if type(name) is str:
            name = name.encode("utf-8", "surrogateescape")
        slices.append(as_slice(name))
        slices.append(None if value is None else as_slice(value))
    return slices
