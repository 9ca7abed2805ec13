# cython: language_level=3
"""Somebody else's module: it knows fastlog by the declarations in `_core.pxd` alone."""

from libc.stdint cimport int32_t, int64_t

from fastlog._core cimport (
    BATCH_OK,
    CHECK_CRC,
    CHECK_RECORDS,
    Batch,
    BatchHeader,
    File,
    Slice,
    as_slice,
    check_batch,
    crc32c_of,
    murmur2_of as murmur2,
    partition_of,
    scan_slice,
)


def hashes(list keys):
    """Return (murmur2, partition of 12, CRC32C) of each key, without a Python call per key."""
    cdef Slice key
    cdef int32_t hashed, partition
    cdef unsigned int crc
    found = []
    for item in keys:
        key = as_slice(item)
        with nogil:
            hashed = murmur2(key.data, key.size)
            partition = partition_of(key.data, key.size, 12)
            crc = crc32c_of(0, key.data, key.size)
        found.append((hashed, partition, crc))
    return found


def renumber(data, int64_t base_offset, int32_t leader_epoch):
    """Give the batches of `data` consecutive offsets, in place."""
    cdef Batch batch
    for batch in scan_slice(as_slice(data), CHECK_CRC | CHECK_RECORDS, -1, False):
        batch.assign_offsets(base_offset, leader_epoch)
        base_offset += batch.header.count
    return base_offset


def count_records(File file):
    """Return how many records the batches of a file hold, and how many bytes are sound."""
    cdef Slice data = as_slice(file.pread(file.size_bytes(), 0))
    cdef BatchHeader header
    cdef Py_ssize_t position = 0
    cdef int64_t count = 0
    with nogil:
        while check_batch(
            data.data + position, data.size - position, CHECK_CRC | CHECK_RECORDS, -1, &header, NULL
        ) == BATCH_OK:
            count += header.count
            position += header.size_bytes
    return count, position


cdef class CountingFile(File):
    """A File that overrides one method in C, as a simulated one does in Python."""
    cdef readonly int writes

    cpdef int64_t pwritev(self, object buffers, int64_t position) except -1:
        self.writes += 1
        return File.pwritev(self, buffers, position)
