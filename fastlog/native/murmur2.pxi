# murmur2 as Kafka's Java client computes it, and the partition that follows from it.
#
# Every client that wants its keys on the same partitions as Java's must agree on it bit for bit: 32 bits, seed 0x9747b28c, words read
# little-endian, the result taken as a signed int. The partition of a key is (hash with its sign bit cleared) modulo the count.
# Source: Austin Appleby's MurmurHash2 (public domain), KIP-480 on which keys it applies to.


cdef int32_t murmur2_of(const unsigned char* key, Py_ssize_t size) noexcept nogil:
    cdef uint32_t factor = 0x5BD1E995
    cdef uint32_t hashed = <uint32_t>0x9747B28C ^ <uint32_t>size
    cdef uint32_t word
    cdef const unsigned char* tail = key + (size & ~<Py_ssize_t>3)
    while key < tail:
        word = load_le32(key) * factor
        word = (word ^ (word >> 24)) * factor
        hashed = (hashed * factor) ^ word
        key += 4
    size &= 3
    if size:
        if size == 3:
            hashed ^= <uint32_t>tail[2] << 16
        if size >= 2:
            hashed ^= <uint32_t>tail[1] << 8
        hashed = (hashed ^ tail[0]) * factor
    hashed = (hashed ^ (hashed >> 13)) * factor
    return <int32_t>(hashed ^ (hashed >> 15))


cdef int32_t partition_of(const unsigned char* key, Py_ssize_t size, int32_t partition_count) noexcept nogil:
    return (murmur2_of(key, size) & 0x7FFFFFFF) % partition_count


def murmur2(key, /):
    cdef Py_buffer view
    cdef int32_t hashed
    PyObject_GetBuffer(key, &view, PyBUF_SIMPLE)
    hashed = murmur2_of(<unsigned char*>view.buf, view.len)
    PyBuffer_Release(&view)
    return hashed


def partition_for_key(key, int32_t partition_count, /):
    if partition_count < 1:
        raise ValueError(f"partition_count is {partition_count}; it must be at least 1")
    return (<int32_t>murmur2(key) & 0x7FFFFFFF) % partition_count


cdef Py_ssize_t _partition_column(
    const unsigned char* keys, Py_ssize_t keys_size, const unsigned char* offsets, Py_ssize_t width, Py_ssize_t count,
    int32_t partition_count, unsigned char* partitions,
) noexcept nogil:
    """Return the row whose offsets cannot be right, or -1."""
    cdef Py_ssize_t row
    cdef int64_t start, end
    cdef int32_t partition
    for row in range(count):
        start = load_native(offsets + row * width, width)
        end = load_native(offsets + (row + 1) * width, width)
        if start < 0 or end < start or end > keys_size:
            return row
        partition = partition_of(keys + start, end - start, partition_count)
        memcpy(partitions + row * sizeof(int32_t), &partition, sizeof(int32_t))
    return -1


def partition_column(data, offsets, int32_t partition_count, out, /):
    cdef Slice keys = as_slice(data)
    cdef Slice bounds = as_slice(offsets)
    cdef Slice partitions = lease(out, PyBUF_WRITABLE)
    cdef Py_ssize_t count = partitions.size // <Py_ssize_t>sizeof(int32_t)
    cdef Py_ssize_t width, wrong
    if partition_count < 1:
        raise ValueError(f"partition_count is {partition_count}; it must be at least 1")
    if partitions.size % <Py_ssize_t>sizeof(int32_t):
        raise ValueError(f"out has {partitions.size} bytes, no whole count of int32")
    if bounds.size == (count + 1) * 4:
        width = 4
    elif bounds.size == (count + 1) * 8:
        width = 8
    else:
        raise ValueError(f"offsets has {bounds.size} bytes; {count} keys need {count + 1} of int32 or int64")
    with nogil:
        wrong = _partition_column(keys.data, keys.size, bounds.data, width, count, partition_count, partitions.data)
    if wrong >= 0:
        raise ValueError(f"offsets of key {wrong} descend or lie outside of the {keys.size} bytes of data")
