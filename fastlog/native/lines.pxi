# Text as records and records as text, a whole chunk in one call: what `produce` and `consume` do to files of lines.
#
# A line is what stands between separators (a byte string of one byte or more; it belongs to no record). With a key separator, a line's
# key is what stands before that separator's first occurrence in it, and the value what follows. Bytes are taken and given as they
# are: no encoding, no carriage returns taken off.

cdef extern from "string.h" nogil:
    void* memmem(const void* haystack, size_t haystack_size, const void* needle, size_t needle_size)
    void* memchr(const void* data, int byte, size_t size)


cdef inline const unsigned char* _find(const unsigned char* data, Py_ssize_t size, Slice what) noexcept:
    if what.size == 1:  # several times faster than the general search
        return <const unsigned char*>memchr(data, what.data[0], size)
    return <const unsigned char*>memmem(data, size, what.data, what.size)


def append_lines(
    builders,
    chunk,
    Py_ssize_t position,
    int64_t timestamp_ms,
    separator,
    key_separator=None,
    Py_ssize_t keyless=0,
    bint is_last=False,
    /,
):
    cdef list targets = list(builders)
    cdef Py_ssize_t target_count = len(targets)
    cdef Slice text = as_slice(chunk)
    cdef Slice line_end = as_slice(separator)
    cdef Slice key_end = None if key_separator is None else as_slice(key_separator)
    cdef const unsigned char* at
    cdef const unsigned char* end = text.data + text.size
    cdef const unsigned char* stop
    cdef const unsigned char* key
    cdef const unsigned char* value
    cdef Py_ssize_t key_size, target, fields_bytes
    cdef BatchBuilder builder
    cdef unsigned char* out
    if line_end.size == 0 or (key_end is not None and key_end.size == 0):
        raise ValueError("a separator must not be empty")
    if position < 0 or position > text.size:
        raise ValueError(f"position {position} lies outside of {text.size} bytes")
    if keyless < 0 or keyless >= target_count:
        raise ValueError(f"there is no builder {keyless} for records without a key")
    for each in targets:
        builder = <BatchBuilder?>each
        if builder.data == NULL:
            raise TypeError("the BatchBuilder was not initialised")
        if builder.header.attributes & CONTROL_BIT:
            raise ValueError("lines cannot be control records")
    at = text.data + position
    while at < end:
        stop = _find(at, end - at, line_end)
        if stop == NULL:
            if not is_last:
                break
            stop = end
        key = NULL
        key_size = -1
        value = at
        target = keyless
        if key_end is not None:
            value = _find(at, stop - at, key_end)
            if value == NULL:
                value = at
            else:
                key = at
                key_size = value - at
                value += key_end.size
                target = partition_of(key, key_size, <int32_t>target_count)
        builder = <BatchBuilder>targets[target]
        fields_bytes = size_of_field(key_size) + size_of_field(stop - value) + 1
        out = builder.open_record(timestamp_ms, fields_bytes)
        if out == NULL:
            return at - text.data, target
        out = write_field(out, key, key_size)
        out = write_field(out, value, stop - value)
        out[0] = 0
        builder.close_record(timestamp_ms, out + 1)
        at = end if stop == end else stop + line_end.size
    return at - text.data, -1


def join_records(
    Batch batch not None,
    payload,
    int64_t from_offset,
    Py_ssize_t max_count,
    separator,
    key_separator=None,
    /,
):
    cdef Slice record_end = as_slice(separator)
    cdef Slice key_end = None if key_separator is None else as_slice(key_separator)
    cdef Slice plain = as_slice(batch.payload if payload is None else payload)
    cdef const unsigned char* end = plain.data + plain.size
    cdef const unsigned char* at = plain.data
    cdef const unsigned char* first = NULL
    cdef RecordFields record
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t number
    cdef int fault
    cdef bytes joined
    cdef unsigned char* out
    if payload is None and batch.header.attributes & CODEC_MASK:
        raise ValueError(f"the batch is compressed (codec {batch.codec}): give its decompressed payload")
    for number in range(batch.header.count):
        if count == max_count:
            break
        fault = read_record(at, end, &record)
        if fault != BATCH_OK:
            raise batch_error(fault, at - plain.data)
        if batch.header.base_offset + record.offset_delta >= from_offset:
            if first == NULL:
                first = at
            size += max(record.value_size, 0) + record_end.size
            if key_end is not None:
                size += max(record.key_size, 0) + key_end.size
            count += 1
        at = record.end
    else:
        if at != end:
            raise batch_error(RECORDS_TRAILING, at - plain.data)
    joined = PyBytes_FromStringAndSize(NULL, size)
    out = <unsigned char*>PyBytes_AS_STRING(joined)
    at = first
    for number in range(count):
        read_record(at, end, &record)
        if key_end is not None:
            out = _put(out, record.key, record.key_size)
            out = _put(out, key_end.data, key_end.size)
        out = _put(out, record.value, record.value_size)
        out = _put(out, record_end.data, record_end.size)
        at = record.end
    return joined, count


cdef inline unsigned char* _put(unsigned char* out, const unsigned char* data, Py_ssize_t size) noexcept nogil:
    if size > 0:
        memcpy(out, data, size)
        out += size
    return out
