# The receiving half of a connection: bytes come in, whole frames go out as slices of the chunk that they were received into.
#
# A chunk is filled from front to back: [0, start) has been given out, [start, end) waits, [end, capacity) is free. Slices of
# frames hold their chunk. Bytes that a slice can see are never written again: a chunk starts over only when nobody but its
# receiver holds it, else what waits (always less than one frame when room runs out) moves to a new chunk.
#
# Invariants: a chunk's capacity is decided by bytes that have arrived, in this frame or in those before it, never by what a size
# field says: a frame that is under way at most doubles its chunk, and the size field only keeps that from being more than it
# needs. A receiver that waits for nothing holds at most RETAINED_MOST_BYTES.

from cpython.ref cimport PyObject
from libc.string cimport memmove

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject*)     # by pointer: an object argument would be counted itself

cdef enum:
    FRAME_SIZE_BYTES = 4
    CHUNK_LEAST_BYTES = 4 << 10
    READ_MOST_BYTES = 1 << 20             # what a connection that fills every receive is offered at once
    RETAINED_MOST_BYTES = (1 << 20) + (64 << 10)    # a frame of max.request.size, with some to spare
    ROOM_LEAST_BYTES = 1 << 10              # with less room at its end, a chunk counts as full
    LARGE_PART_BYTES = 64 << 10             # so much of a frame that has not wholly come is worth a look at what it is


@cython.freelist(64)
cdef class _Chunk:
    """Memory that is received into; lives as long as a receiver, a slice or an exported buffer holds it."""

    def __dealloc__(self):
        PyMem_Free(self.data)


cdef _Chunk _new_chunk(Py_ssize_t capacity):
    cdef _Chunk chunk = _Chunk.__new__(_Chunk)
    chunk.data = <unsigned char*>PyMem_Malloc(capacity)
    if chunk.data == NULL:
        raise MemoryError
    chunk.capacity = capacity
    return chunk


cdef int _grow_chunk(_Chunk chunk, Py_ssize_t capacity) except -1:
    cdef unsigned char* data = <unsigned char*>PyMem_Realloc(chunk.data, capacity)
    if data == NULL:
        raise MemoryError
    chunk.data = data
    chunk.capacity = capacity
    return 0


cdef class Receiver:
    def __init__(self, int32_t max_frame_bytes, /):
        if max_frame_bytes < 0:
            raise ValueError("max_frame_bytes is negative")
        self.max_frame_bytes = max_frame_bytes
        self.demand = CHUNK_LEAST_BYTES

    def __getbuffer__(self, Py_buffer* view, int flags):
        self.make_room()
        # The view holds the chunk, not the receiver: it stays valid whatever happens here before it is released.
        self.offered = self.chunk.capacity - self.end
        PyBuffer_FillInfo(view, self.chunk, self.chunk.data + self.end, self.offered, 0, flags)

    def received(self, Py_ssize_t count, /):
        if count < 0 or count > self.offered:
            raise ValueError(f"{count} bytes cannot have been received into {self.offered}")
        self.end += count
        if count == self.offered:
            if count * 2 > self.demand:
                self.demand = min(count * 2, READ_MOST_BYTES)
        elif count < self.demand:   # a past rush is forgotten within some hundred receives
            self.demand = max(self.demand - ((self.demand - count) >> 5), CHUNK_LEAST_BYTES)
        self.offered = 0

    def next_frame(self):
        cdef Py_ssize_t waiting = self.end - self.start
        cdef unsigned char* data
        cdef int32_t size
        cdef Slice frame
        if waiting < FRAME_SIZE_BYTES:
            return None
        data = self.chunk.data + self.start
        size = load32(data)
        if size < 0 or size > self.max_frame_bytes:
            raise FrameError(f"a frame of {size} bytes where {self.max_frame_bytes} are allowed")
        if waiting - FRAME_SIZE_BYTES < size:
            return None
        frame = slice_of(self.chunk, data + FRAME_SIZE_BYTES, size, True)
        self.consumed(FRAME_SIZE_BYTES + size)
        return frame

    def large_begin(self):
        cdef unsigned char* data
        if self.end - self.start < LARGE_PART_BYTES:
            return None
        data = self.chunk.data + self.start + FRAME_SIZE_BYTES
        return <int>load16(data), <int>load16(data + 2)

    def trim(self):
        if self.start == self.end:
            self.chunk = None
            self.start = self.end = self.offered = 0
            self.demand = CHUNK_LEAST_BYTES

    @property
    def buffered_bytes(self):
        return self.end - self.start

    @property
    def reserved_bytes(self):
        return 0 if self.chunk is None else self.chunk.capacity

    cdef void consumed(self, Py_ssize_t size):
        """Take note that the first `size` waiting bytes, a frame and its size field, were given out."""
        self.start += size
        if size > self.demand:
            self.demand = min(size, RETAINED_MOST_BYTES)
        if self.start == self.end and self.chunk.capacity > RETAINED_MOST_BYTES:
            self.chunk = None   # one enormous frame's memory goes when the frame goes
            self.start = self.end = self.offered = 0

    cdef int make_room(self) except -1:
        """See to it that there is room to receive into: in the chunk as it is, at its front, or in a new one."""
        cdef Py_ssize_t waiting = self.end - self.start
        cdef Py_ssize_t capacity, room, total
        cdef bint is_sole_holder
        cdef _Chunk chunk
        if self.chunk is None:
            self.chunk = _new_chunk(self.demand)
            self.start = self.end = 0
            return 0
        capacity = self.chunk.capacity
        is_sole_holder = Py_REFCNT(<PyObject*>self.chunk) == 1
        if is_sole_holder and waiting == 0:
            self.start = self.end = 0
            if capacity < self.demand or capacity // 4 > self.demand:
                self.chunk = _new_chunk(self.demand)
            return 0
        room = capacity - self.end
        total = self.frame_bytes(waiting)
        if total <= capacity - self.start and (room >= ROOM_LEAST_BYTES or waiting > 4 * ROOM_LEAST_BYTES):
            return 0
        if is_sole_holder:
            if 0 < self.start and waiting <= capacity // 2:
                self.move_to_front()
                room = capacity - self.end
            if room >= ROOM_LEAST_BYTES or (room > 0 and total <= capacity - self.start):
                return 0
        capacity = max(self.demand, min(2 * waiting, total))
        if is_sole_holder:
            self.move_to_front()
            _grow_chunk(self.chunk, capacity)
        else:
            chunk = _new_chunk(capacity)
            memcpy(chunk.data, self.chunk.data + self.start, waiting)
            self.chunk = chunk
            self.start, self.end = 0, waiting
        return 0

    cdef void move_to_front(self) noexcept:
        memmove(self.chunk.data, self.chunk.data + self.start, self.end - self.start)
        self.end -= self.start
        self.start = 0

    cdef Py_ssize_t frame_bytes(self, Py_ssize_t waiting) noexcept:
        """Return how many bytes from `start` on the frame under way will have, as far as can be told; more than wait now."""
        cdef int32_t size
        if waiting >= FRAME_SIZE_BYTES:
            size = load32(self.chunk.data + self.start)
            if 0 <= size <= self.max_frame_bytes and FRAME_SIZE_BYTES + <Py_ssize_t>size > waiting:
                return FRAME_SIZE_BYTES + <Py_ssize_t>size
        return waiting + ROOM_LEAST_BYTES
