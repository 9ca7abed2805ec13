# Files. All I/O of the core goes through `File`: exactly a `File` takes a direct path to the system calls without the GIL, a Python
# subclass (the simulator's) sees every byte through the methods it overrides, also in recovery and in reads.
#
# Invariants: EINTR is never seen by a caller; a write is short only when the disk is full; a descriptor is closed only when the
# file was closed and nobody holds it, so a system call on another thread never meets a number that was given out again; a file is
# never cut under a mapping that is still in use (touching a cut mapping is SIGBUS for the whole process).
# Rules: pwritev(2), preadv2(2), fallocate(2), mmap(2).

from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.string cimport memmove, memset


cdef extern from "<errno.h>" nogil:
    int errno
    enum: EINTR, EAGAIN, EBADF, EIO, ENOSPC, EDQUOT, EFBIG, EINVAL

cdef extern from "<string.h>" nogil:
    char* strerror(int code)

cdef extern from "<unistd.h>" nogil:
    ssize_t c_pread "pread"(int descriptor, void* target, size_t size, int64_t position)
    ssize_t c_pwrite "pwrite"(int descriptor, const void* source, size_t size, int64_t position)
    int c_fdatasync "fdatasync"(int descriptor)
    int c_ftruncate "ftruncate"(int descriptor, int64_t size)
    int c_close "close"(int descriptor)
    int64_t c_lseek "lseek"(int descriptor, int64_t position, int whence)

cdef extern from "<sys/stat.h>" nogil:
    struct c_stat "stat":
        uint64_t st_dev
        uint64_t st_ino
        int64_t st_size
    int c_fstat "fstat"(int descriptor, c_stat* status)

cdef extern from "<fcntl.h>" nogil:
    int c_fallocate "fallocate"(int descriptor, int mode, int64_t position, int64_t size)
    int c_posix_fadvise "posix_fadvise"(int descriptor, int64_t position, int64_t size, int advice)
    enum: FALLOC_FL_KEEP_SIZE, POSIX_FADV_DONTNEED

cdef extern from "<sys/uio.h>" nogil:
    ssize_t c_pwritev "pwritev"(int descriptor, const iovec* vectors, int count, int64_t position)
    ssize_t c_preadv "preadv"(int descriptor, const iovec* vectors, int count, int64_t position)
    ssize_t c_preadv2 "preadv2"(int descriptor, const iovec* vectors, int count, int64_t position, int flags)
    enum: RWF_NOWAIT

cdef extern from "<sys/mman.h>" nogil:
    void* c_mmap "mmap"(void* address, size_t size, int protection, int flags, int descriptor, int64_t position)
    int c_munmap "munmap"(void* address, size_t size)
    void* MAP_FAILED
    enum: PROT_READ, MAP_SHARED

cdef enum:
    VECTORS_MOST = 1024                 # IOV_MAX of Linux: more buffers than that need several system calls
    COPY_CHUNK_BYTES = 1 << 20
    RESIDENT_PROBE_BYTES = 64 << 10     # half of the kernel's usual read-ahead: what is cached comes and goes in larger pieces
    MAPPED_WINDOW_BYTES = 32 << 20      # one mapping serves the regions of so many bytes of a file
    PAGE_BYTES = 4096


cdef int raise_system_error(int code, object path) except -1:
    raise OSError(code, strerror(code).decode("utf-8", "replace"), path)


cdef int64_t transfer_vectors(int descriptor, iovec* vectors, Py_ssize_t count, int64_t position, bint writing) noexcept nogil:
    """Read or write all of the vectors (which are used up); return the bytes moved, or -errno.

    Comes short at the end of the file, and on a full disk when some bytes went before it.
    """
    cdef int64_t moved = 0
    cdef ssize_t step
    cdef int batch
    while count > 0:
        if vectors.iov_len == 0:
            vectors += 1
            count -= 1
            continue
        batch = <int>count if count < VECTORS_MOST else VECTORS_MOST
        if writing:
            step = c_pwritev(descriptor, vectors, batch, position + moved)
        else:
            step = c_preadv(descriptor, vectors, batch, position + moved)
        if step < 0:
            if errno == EINTR:
                continue
            if writing and moved > 0 and (errno == ENOSPC or errno == EDQUOT or errno == EFBIG):
                return moved
            return -errno
        if step == 0:
            return moved
        moved += step
        while step > 0:
            if <size_t>step >= vectors.iov_len:
                step -= <ssize_t>vectors.iov_len
                vectors += 1
                count -= 1
            else:
                vectors.iov_base = <char*>vectors.iov_base + step
                vectors.iov_len -= <size_t>step
                step = 0
    return moved


cdef int64_t transfer_bytes(int descriptor, char* memory, int64_t size, int64_t position, bint writing) noexcept nogil:
    """Read or write `size` bytes at one place in memory; as `transfer_vectors`."""
    cdef iovec vector
    vector.iov_base = memory
    vector.iov_len = <size_t>size
    return transfer_vectors(descriptor, &vector, 1, position, writing)


cdef class _Mapping:
    """A shared read-only view of part of a file, unmapped when its last user goes."""

    @staticmethod
    cdef _Mapping create(int descriptor, int64_t position, int64_t size):
        """Map `size` bytes from the page of `position` on; None where the system has no mapping to give."""
        cdef int64_t start = position - position % PAGE_BYTES
        cdef void* address = c_mmap(NULL, <size_t>(size + position - start), PROT_READ, MAP_SHARED, descriptor, start)
        cdef _Mapping mapping
        if address == MAP_FAILED:
            return None
        mapping = _Mapping.__new__(_Mapping)
        mapping.address = <char*>address
        mapping.position = start
        mapping.size = size + position - start
        return mapping

    cdef bint covers(self, int64_t position, int64_t size) noexcept:
        return self.position <= position and position + size <= self.position + self.size

    cdef const char* at(self, int64_t position) noexcept:
        return self.address + (position - self.position)

    def __dealloc__(self):
        if self.address != NULL:
            c_munmap(self.address, <size_t>self.size)


cdef class _Node:
    """How many regions of a file live, and how far they reach."""


# The nodes of the real files that had regions or were cut, by device and inode.
cdef object nodes = None


cdef object known_nodes():
    global nodes
    if nodes is None:
        from weakref import WeakValueDictionary  # here: many a process has no region ever
        nodes = WeakValueDictionary()
    return nodes


cdef class _Vectors:
    """The memory of a sequence of buffers, held while a system call uses it."""

    @staticmethod
    cdef _Vectors create(object buffers, bint writable):
        cdef _Vectors self = _Vectors.__new__(_Vectors)
        cdef Py_ssize_t i, count
        cdef Py_buffer* view
        sequence = buffers if isinstance(buffers, (list, tuple)) else list(buffers)
        count = len(sequence)
        self.views = <Py_buffer*>PyMem_Malloc(max(1, count) * sizeof(Py_buffer))
        self.vectors = <iovec*>PyMem_Malloc(max(1, count) * sizeof(iovec))
        if self.views == NULL or self.vectors == NULL:
            raise MemoryError
        for i in range(count):
            view = &self.views[i]
            PyObject_GetBuffer(sequence[i], view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
            self.vectors[i].iov_base = view.buf
            self.vectors[i].iov_len = <size_t>view.len
            self.count += 1
        return self

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])
        PyMem_Free(self.views)
        PyMem_Free(self.vectors)


cdef class File:
    """An open file; see `_core.pyi`."""

    def __cinit__(self):
        self._descriptor = -1
        self._native = type(self) is File

    def __init__(self, str path, int descriptor, /):
        if self._descriptor >= 0:
            raise ValueError("a file is opened once")
        self.path = path
        self._descriptor = descriptor

    def __repr__(self):
        return f"<{type(self).__name__} {self.path!r}{' closed' if self._closed else ''}>"

    def __dealloc__(self):
        if self._descriptor >= 0:
            c_close(self._descriptor)

    # ---- who holds it ---------------------------------------------------------------------------------------------------------

    cdef int pin(self) except -1:
        """Keep the descriptor open for a system call that is about to leave the GIL."""
        if self._descriptor < 0:
            raise_system_error(EBADF, self.path)
        self._holds += 1
        return self._descriptor

    cdef void unpin(self) noexcept:
        self._holds -= 1
        if self._closed and self._holds == 0 and self._descriptor >= 0:
            c_close(self._descriptor)
            self._descriptor = -1
            self._window = None

    cpdef acquire(self):
        self._holds += 1

    cpdef release(self):
        if self._holds == 0:
            raise ValueError("a file was released more often than acquired")
        self.unpin()

    cpdef close(self):
        if not self._closed:
            self._closed = True
            self._holds += 1
            self.unpin()

    cpdef int descriptor(self) except -2:
        return self._descriptor

    cdef _Node shared_node(self):
        """Return what all open files over the same bytes share: a file may be closed and opened again while a region of it lives."""
        cdef c_stat status
        if self.node is None:
            if self._native and self._descriptor >= 0 and c_fstat(self._descriptor, &status) == 0:
                key = (status.st_dev, status.st_ino)
                self.node = known_nodes().get(key)
                if self.node is None:
                    nodes[key] = self.node = _Node.__new__(_Node)
            else:
                self.node = _Node.__new__(_Node)
        return self.node

    cdef bint is_in_use_past(self, int64_t size) except -1:
        """Tell whether a living region reaches past `size`."""
        cdef _Node node = self.shared_node()
        return node.regions > 0 and size < node.regions_end

    # ---- bytes ----------------------------------------------------------------------------------------------------------------

    cpdef int64_t pwritev(self, object buffers, int64_t position) except -1:
        cdef _Vectors vectors = _Vectors.create(buffers, False)
        return self.transfer(vectors.vectors, vectors.count, position, True)

    cpdef int64_t preadv(self, object buffers, int64_t position) except -1:
        cdef _Vectors vectors = _Vectors.create(buffers, True)
        return self.transfer(vectors.vectors, vectors.count, position, False)

    cpdef bytes pread(self, int64_t size, int64_t position):
        cdef bytes target
        cdef iovec vector
        cdef int64_t count
        if size < 0:
            raise ValueError("a size is never negative")
        target = PyBytes_FromStringAndSize(NULL, size)
        vector.iov_base = PyBytes_AS_STRING(target)
        vector.iov_len = <size_t>size
        count = self.transfer(&vector, 1, position, False)
        return target if count == size else target[:count]

    cdef int64_t transfer(self, iovec* vectors, Py_ssize_t vector_count, int64_t position, bint writing) except -1:
        """One direct transfer without the GIL; never goes through overrides."""
        cdef int64_t count
        cdef int descriptor
        if position < 0:
            raise ValueError("a position is never negative")
        descriptor = self.pin()
        with nogil:
            count = transfer_vectors(descriptor, vectors, vector_count, position, writing)
        self.unpin()
        if count < 0:
            raise_system_error(<int>-count, self.path)
        return count

    cdef int64_t read_into(self, char* target, int64_t size, int64_t position) except -1 nogil:
        """Read up to `size` bytes, short at end of file; the caller keeps the file pinned. Overrides are asked with the GIL."""
        cdef int64_t count
        if self._native:
            count = transfer_bytes(self._descriptor, target, size, position, False)
            if count < 0:
                with gil:
                    raise_system_error(<int>-count, self.path)
        else:
            with gil:
                count = self.read_overridden(target, size, position)
        return count

    cdef int64_t read_overridden(self, char* target, int64_t size, int64_t position) except -1:
        cdef bytes data = self.pread(size, position)
        if len(data) > size:
            raise ValueError(f"{self.path}: pread gave more than was asked for")
        memcpy(target, PyBytes_AS_STRING(data), <size_t>len(data))
        return len(data)

    cdef int write_from(self, const char* source, int64_t size, int64_t position) except -1 nogil:
        """Write exactly `size` bytes; a full disk is an error. Otherwise as `read_into`."""
        cdef int64_t count
        if self._native:
            count = transfer_bytes(self._descriptor, <char*>source, size, position, True)
            if count < 0:
                with gil:
                    raise_system_error(<int>-count, self.path)
        else:
            with gil:
                count = self.pwritev((PyBytes_FromStringAndSize(source, size),), position)
        if count < size:
            with gil:
                raise_system_error(ENOSPC, self.path)
        return 0

    cpdef copy_to(self, File target, int64_t size):
        cdef int64_t position = 0
        cdef int64_t count
        cdef char* chunk = <char*>PyMem_RawMalloc(COPY_CHUNK_BYTES)
        if chunk == NULL:
            raise MemoryError
        self.acquire()
        target.acquire()
        try:
            with nogil:
                while position < size:
                    count = self.read_into(chunk, min(<int64_t>COPY_CHUNK_BYTES, size - position), position)
                    if count == 0:
                        break
                    target.write_from(chunk, count, position)
                    position += count
        finally:
            PyMem_RawFree(chunk)
            target.release()
            self.release()
        if position < size:
            raise_system_error(EIO, self.path)

    # ---- size, blocks, durability ---------------------------------------------------------------------------------------------

    cpdef fdatasync(self):
        cdef int descriptor = self.pin()
        cdef int failure = 0
        with nogil:
            while c_fdatasync(descriptor) < 0:
                if errno != EINTR:
                    failure = errno
                    break
        self.unpin()
        if failure:
            raise_system_error(failure, self.path)

    cpdef ftruncate(self, int64_t size):
        cdef int descriptor, failure
        if self.is_in_use_past(size):
            raise BufferError(f"{self.path}: regions past {size} are still in use")
        descriptor = self.pin()
        self._window = None
        with nogil:
            failure = truncate_retrying(descriptor, size)
        self.unpin()
        if failure:
            raise_system_error(failure, self.path)

    cpdef fallocate(self, int64_t position, int64_t size):
        cdef int descriptor = self.pin()
        cdef int failure = 0
        cdef c_stat status
        with nogil:
            while c_fallocate(descriptor, FALLOC_FL_KEEP_SIZE, position, size) < 0:
                if errno != EINTR:
                    failure = errno
                    break
        try:
            if failure:
                raise_system_error(failure, self.path)
            if self._released and c_fstat(descriptor, &status) == 0:
                # The blocks were given back while this was under way: nothing is appended any more, so these go too.
                truncate_retrying(descriptor, status.st_size)
        finally:
            self.unpin()

    cpdef release_beyond(self, int64_t size):
        cdef int descriptor = self.pin()
        cdef int failure = 0
        cdef c_stat status
        self._released = True
        with nogil:
            # Cutting a file to the size it has frees what was reserved past it; punching holes does not reach past the end.
            if c_fstat(descriptor, &status) < 0:
                failure = errno
            elif status.st_size == size:
                failure = truncate_retrying(descriptor, size)
        self.unpin()
        if failure or status.st_size != size:
            self._released = False
        if failure:
            raise_system_error(failure, self.path)
        if status.st_size != size:
            raise ValueError(f"{self.path} has {status.st_size} bytes, not {size}")

    cpdef int64_t size_bytes(self) except -1:
        cdef c_stat status
        cdef int failure = 0
        cdef int descriptor = self.pin()
        if c_fstat(descriptor, &status) < 0:
            failure = errno
        self.unpin()
        if failure:
            raise_system_error(failure, self.path)
        return status.st_size

    cpdef bint is_resident(self, int64_t position, int64_t size) except -1:
        cdef int descriptor = self.pin()
        cdef int64_t at = position
        cdef int64_t end = position + size
        cdef bint resident = True
        cdef char byte
        cdef iovec vector
        vector.iov_base = &byte
        vector.iov_len = 1
        while at < end and resident:
            if c_preadv2(descriptor, &vector, 1, at, RWF_NOWAIT) < 0 and errno == EAGAIN:
                resident = False
            at = end - 1 if at < end - 1 and at + RESIDENT_PROBE_BYTES > end - 1 else at + RESIDENT_PROBE_BYTES
        self.unpin()
        return resident

    cpdef drop_cache(self):
        cdef int descriptor = self.pin()
        cdef int failure
        with nogil:
            failure = c_posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
        self.unpin()
        if failure:
            raise_system_error(failure, self.path)

    # ---- mappings -------------------------------------------------------------------------------------------------------------

    cdef _Mapping map_range(self, int64_t position, int64_t size):
        """Return a mapping that covers a range of the file, None where there is none to be had.

        One window is kept, so that regions that follow each other share it; it may reach past the end of a growing file, where
        nobody looks.
        """
        cdef _Mapping window = self._window
        if window is None or not window.covers(position, size):
            if not self._native or self._descriptor < 0:
                return None
            window = _Mapping.create(self._descriptor, position, max(size, <int64_t>MAPPED_WINDOW_BYTES))
            self._window = window
        return window


cdef int truncate_retrying(int descriptor, int64_t size) noexcept nogil:
    while c_ftruncate(descriptor, size) < 0:
        if errno != EINTR:
            return errno
    return 0
