# Bytes in memory: the range that every other file works on, and the numbers inside it.
#
# A Slice points into memory that somebody else owns. It holds its owner, never a copy; a slice of a slice holds the same owner.
# Readers get it by the buffer protocol, always read-only: only the core patches bytes, and only where the owner's memory was
# writable. Numbers are big-endian unless their name says otherwise, at any alignment. Readers of varints take the end of what they may
# read and return NULL past it: nothing here trusts a size that came from outside.
#
# Source: the protocol guide's primitive types (INT16..INT64, VARINT and VARLONG zig-zag as in protocol buffers, UNSIGNED_VARINT).

cimport cython
from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE, PyBytes_FromStringAndSize
from libc.string cimport memcpy


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    #define FASTLOG_INLINE static inline __attribute__((unused))

    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #define FASTLOG_BE(bits, v) (v)
    #define FASTLOG_LE(bits, v) __builtin_bswap##bits(v)
    #else
    #define FASTLOG_BE(bits, v) __builtin_bswap##bits(v)
    #define FASTLOG_LE(bits, v) (v)
    #endif

    #define FASTLOG_NUMBER(bits) \\
    FASTLOG_INLINE int##bits##_t load##bits(const unsigned char *p) \\
        { uint##bits##_t v; memcpy(&v, p, sizeof v); return (int##bits##_t)FASTLOG_BE(bits, v); } \\
    FASTLOG_INLINE void store##bits(unsigned char *p, int##bits##_t number) \\
        { uint##bits##_t v = FASTLOG_BE(bits, (uint##bits##_t)number); memcpy(p, &v, sizeof v); }
    FASTLOG_NUMBER(16)
    FASTLOG_NUMBER(32)
    FASTLOG_NUMBER(64)

    FASTLOG_INLINE uint32_t load_le32(const unsigned char *p)
        { uint32_t v; memcpy(&v, p, sizeof v); return FASTLOG_LE(32, v); }
    FASTLOG_INLINE uint64_t load_le64(const unsigned char *p)
        { uint64_t v; memcpy(&v, p, sizeof v); return FASTLOG_LE(64, v); }
    FASTLOG_INLINE int64_t load_native(const unsigned char *p, Py_ssize_t width)
        { int32_t narrow; int64_t wide;
          if (width == 4) { memcpy(&narrow, p, 4); return narrow; }
          memcpy(&wide, p, 8); return wide; }
    """
    int16_t load16(const unsigned char* p) noexcept nogil
    int32_t load32(const unsigned char* p) noexcept nogil
    int64_t load64(const unsigned char* p) noexcept nogil
    void store16(unsigned char* p, int16_t number) noexcept nogil
    void store32(unsigned char* p, int32_t number) noexcept nogil
    void store64(unsigned char* p, int64_t number) noexcept nogil
    uint32_t load_le32(const unsigned char* p) noexcept nogil
    uint64_t load_le64(const unsigned char* p) noexcept nogil
    int64_t load_native(const unsigned char* p, Py_ssize_t width) noexcept nogil    # int32 or int64 in the machine's byte order


class CorruptBatch(ValueError):
    def __init__(self, reason: str, position: int = 0) -> None:
        super().__init__(reason, position)
        self.reason = reason
        self.position = position

    def __str__(self) -> str:
        return f"{self.reason} (at byte {self.position})"


class BatchTooLarge(CorruptBatch):
    pass


class FrameError(ValueError):
    pass


# ---- ranges ----

@cython.final
@cython.internal
@cython.freelist(16)
@cython.no_gc_clear     # clearing would drop the exporter without giving its buffer back
cdef class _Lease:
    """Another object's buffer, held for as long as a Slice needs it."""
    cdef Py_buffer view
    cdef bint held

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


@cython.freelist(64)
cdef class Slice:
    def __init__(self, owner, Py_ssize_t start=0, Py_ssize_t size=-1, /):
        cdef Slice whole
        if self.owner is not None:
            raise TypeError("a Slice cannot be initialised twice")
        whole = as_slice(owner)
        if start < 0 or start > whole.size:
            raise ValueError(f"start {start} lies outside of {whole.size} bytes")
        if size == -1:
            size = whole.size - start
        if size < 0 or size > whole.size - start:
            raise ValueError(f"size {size} from {start} on lies outside of {whole.size} bytes")
        self.owner = whole.owner
        self.data = whole.data + start
        self.size = size
        self.writable = whole.writable

    def __len__(self):
        return self.size

    def __bytes__(self):
        return PyBytes_FromStringAndSize(<const char*>self.data, self.size)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 1, flags)


cdef Slice slice_of(object owner, const unsigned char* data, Py_ssize_t size, bint writable):
    cdef Slice made = Slice.__new__(Slice)
    made.owner = owner
    made.data = <unsigned char*>data
    made.size = size
    made.writable = writable
    return made


cdef Slice lease(object exporter, int flags):
    cdef _Lease held = _Lease.__new__(_Lease)
    PyObject_GetBuffer(exporter, &held.view, flags)
    held.held = True
    return slice_of(held, <unsigned char*>held.view.buf, held.view.len, not held.view.readonly)


cdef Slice as_slice(object data):
    cdef Batch batch
    if type(data) is Slice:
        return <Slice>data
    if type(data) is bytes:     # never moves, so holding the object is enough
        return slice_of(data, <unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), False)
    if type(data) is Batch:
        batch = <Batch>data
        return slice_of(batch.owner, batch.data, batch.header.size_bytes, batch.writable)
    # Exporters tell the truth in `readonly` also when nobody asked for writable memory.
    return lease(data, PyBUF_SIMPLE)


# ---- varints ----
#
# Readers return the byte after the number, or NULL where it is cut short, longer than its type's longest form, or too large for
# its type. Most numbers of a record take one or two bytes; those are read without a loop.

cdef const unsigned char* _read_long_varint(
    const unsigned char* at, const unsigned char* end, int bits, uint64_t* number
) noexcept nogil:
    cdef uint64_t gathered = 0
    cdef int shift = 0
    while at < end:
        if shift > bits - 7 and at[0] >> (bits - shift):
            return NULL     # the last byte of the longest form: bits past the type's width, or one more byte to come
        gathered |= <uint64_t>(at[0] & 0x7F) << shift
        if at[0] < 0x80:
            number[0] = gathered
            return at + 1
        at += 1
        shift += 7
    return NULL


cdef inline const unsigned char* _read_varint_bits(
    const unsigned char* at, const unsigned char* end, int bits, uint64_t* number
) noexcept nogil:
    if at < end and at[0] < 0x80:
        number[0] = at[0]
        return at + 1
    if end - at >= 2 and at[1] < 0x80:
        number[0] = (at[0] & 0x7F) | (<uint64_t>at[1] << 7)
        return at + 2
    return _read_long_varint(at, end, bits, number)


cdef inline const unsigned char* read_unsigned_varint(
    const unsigned char* at, const unsigned char* end, uint32_t* number
) noexcept nogil:
    cdef uint64_t gathered = 0
    at = _read_varint_bits(at, end, 32, &gathered)
    number[0] = <uint32_t>gathered
    return at


cdef inline const unsigned char* read_varint(const unsigned char* at, const unsigned char* end, int32_t* number) noexcept nogil:
    cdef uint64_t folded = 0
    at = _read_varint_bits(at, end, 32, &folded)
    number[0] = <int32_t>((folded >> 1) ^ (0 - (folded & 1)))
    return at


cdef inline const unsigned char* read_varlong(const unsigned char* at, const unsigned char* end, int64_t* number) noexcept nogil:
    cdef uint64_t folded = 0
    at = _read_varint_bits(at, end, 64, &folded)
    number[0] = <int64_t>((folded >> 1) ^ (0 - (folded & 1)))
    return at


# Writers need room for the longest form (5 bytes of 32 bits, 10 of 64) and return the byte after what they wrote.

cdef inline unsigned char* write_varlong_unsigned(unsigned char* at, uint64_t number) noexcept nogil:
    while number >= 0x80:
        at[0] = <unsigned char>(number | 0x80)
        at += 1
        number >>= 7
    at[0] = <unsigned char>number
    return at + 1


cdef inline unsigned char* write_unsigned_varint(unsigned char* at, uint32_t number) noexcept nogil:
    return write_varlong_unsigned(at, number)


cdef inline uint64_t zigzag(int64_t number) noexcept nogil:
    return (<uint64_t>number << 1) ^ (0 - (<uint64_t>number >> 63))


cdef inline unsigned char* write_varlong(unsigned char* at, int64_t number) noexcept nogil:
    return write_varlong_unsigned(at, zigzag(number))


cdef inline unsigned char* write_varint(unsigned char* at, int32_t number) noexcept nogil:
    return write_varlong_unsigned(at, zigzag(number))


cdef inline Py_ssize_t size_of_unsigned_varint(uint64_t number) noexcept nogil:
    cdef Py_ssize_t size = 1
    while number >= 0x80:
        number >>= 7
        size += 1
    return size


cdef inline Py_ssize_t size_of_varlong(int64_t number) noexcept nogil:
    return size_of_unsigned_varint(zigzag(number))
