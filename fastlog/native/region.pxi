# Regions: bytes of a log file on their way to a socket or a reader, without a copy where the file allows it.
#
# A large region of a real file is sent from a mapping by sendmsg: the kernel touches the pages, so a page that cannot be read is
# EFAULT there and not SIGBUS here. A small one is read when it is sent, which costs less than the page faults of a mapping. The
# simulator's files are read through their methods. A region holds its file open, and `File.ftruncate` refuses to cut below its end.

cdef extern from "<sys/socket.h>" nogil:
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t c_sendmsg "sendmsg"(int descriptor, const msghdr* message, int flags)
    enum: MSG_NOSIGNAL, MSG_DONTWAIT

cdef enum:
    MAPPED_REGION_LEAST_BYTES = 256 << 10   # below, a copy costs no more than a mapping's page faults (bench/core/segments.py)
    SEND_PARTS_MOST = 64                    # buffers of one sendmsg; their views live on the stack


cdef class Region:
    """A range of a log file; see `_core.pyi`."""

    def __init__(self, File file not None, int64_t position, int64_t size, /):
        if self.file is not None:
            raise ValueError("a region is made once")
        if position < 0 or size < 0:
            raise ValueError("a region has no negative position or size")
        self.attach(file, position, size, False)

    @staticmethod
    cdef Region create(File file, int64_t position, int64_t size, bint sealed):
        cdef Region region = Region.__new__(Region)
        region.attach(file, position, size, sealed)
        return region

    cdef int attach(self, File file, int64_t position, int64_t size, bint sealed) except -1:
        cdef _Node node = file.shared_node()
        file.acquire()
        self.file = file
        self.position = position
        self.size = size
        self.sealed = sealed
        if node.regions == 0 or position + size > node.regions_end:
            node.regions_end = position + size
        node.regions += 1
        return 0

    def __del__(self):
        # No __dealloc__: what `release` overrides must still be whole when garbage is collected in cycles.
        if self.file is not None:
            self.file.node.regions -= 1
            self.file.release()

    def __len__(self):
        return self.size

    def __repr__(self):
        return f"<Region {self.file.path!r} {self.position}+{self.size}>"

    cdef int fail_short(self, int64_t start, int64_t size, int64_t there) except -1:
        raise OSError(EIO, f"{size} bytes at {self.position + start} were expected, {there} are there", self.file.path)

    cdef bytes read_part(self, int64_t start, int64_t size):
        """Read a part; OSError when the file has less than it should."""
        cdef bytes data = self.file.pread(size, self.position + start)
        if len(data) != size:
            self.fail_short(start, size, len(data))
        return data

    cdef bint is_mapped(self) except -1:
        cdef int64_t end
        if self.mapping is None and self.copy is None and self.size >= MAPPED_REGION_LEAST_BYTES:
            self.mapping = self.file.map_range(self.position, self.size)
            if self.mapping is not None:
                end = self.file.size_bytes()
                if end < self.position + self.size:  # somebody else cut the file; a mapping shows zeros up to its last page's end
                    self.mapping = None
                    self.fail_short(0, self.size, max(0, end - self.position))
        return self.mapping is not None

    def is_resident(self):
        """Tell whether it can be sent without waiting for the disk; see `_core.pyi`."""
        return self.copy is not None or self.file.is_resident(self.position, self.size)

    def load(self):
        """Bring it into the page cache; see `_core.pyi`."""
        cdef int64_t done = 0
        cdef int64_t count
        cdef char* chunk = <char*>PyMem_RawMalloc(COPY_CHUNK_BYTES)
        if chunk == NULL:
            raise MemoryError
        try:
            with nogil:
                while done < self.size:
                    count = self.file.read_into(chunk, min(<int64_t>COPY_CHUNK_BYTES, self.size - done), self.position + done)
                    if count <= 0:
                        break
                    done += count
        finally:
            PyMem_RawFree(chunk)

    def __getbuffer__(self, Py_buffer* view, int flags):
        # User code sees no mapping of a file that is still written.
        if self.sealed and self.is_mapped():
            PyBuffer_FillInfo(view, self, <void*>self.mapping.at(self.position), self.size, 1, flags)
        else:
            if self.copy is None:
                self.copy = self.read_part(0, self.size)
            PyBuffer_FillInfo(view, self, PyBytes_AS_STRING(self.copy), self.size, 1, flags)

    def __releasebuffer__(self, Py_buffer* view):
        pass


cdef int64_t send_vectors(int descriptor, iovec* vectors, int count) noexcept nogil:
    """One sendmsg that neither waits nor signals; return the bytes that went, or -errno."""
    cdef msghdr message
    cdef ssize_t sent
    memset(&message, 0, sizeof(message))
    message.msg_iov = vectors
    message.msg_iovlen = <size_t>count
    while True:
        sent = c_sendmsg(descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent >= 0:
            return sent
        if errno != EINTR:
            return -errno


def send_buffers(int descriptor, object buffers, int64_t skip=0, /):
    """Send buffers and regions in order; see `_core.pyi`."""
    cdef iovec vectors[SEND_PARTS_MOST]
    cdef Py_buffer views[SEND_PARTS_MOST]
    cdef int used = 0
    cdef int held = 0
    cdef int i
    cdef int64_t size, wanted, sent
    cdef int64_t total = 0
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t count
    cdef int64_t rest
    cdef Region region
    cdef bytes part_read
    cdef char* memory
    sequence = buffers if isinstance(buffers, (list, tuple)) else list(buffers)
    count = len(sequence)
    if skip < 0:
        raise ValueError("a skip is never negative")
    while at < count:
        used = held = 0
        wanted = rest = 0
        reads = []
        try:
            while at < count and used < SEND_PARTS_MOST and rest == 0:
                part = sequence[at]
                at += 1
                if isinstance(part, Region):
                    region = <Region>part
                    size = region.size
                    if skip >= size:
                        skip -= size
                        continue
                    if region.is_mapped():
                        memory = <char*>region.mapping.at(region.position)
                    elif region.copy is not None:
                        memory = PyBytes_AS_STRING(region.copy)
                    else:
                        # Read for this call alone: what waits for slow readers is in no memory. A part of what is very large.
                        if size - skip > MAPPED_REGION_LEAST_BYTES:
                            rest = size - skip - MAPPED_REGION_LEAST_BYTES
                        part_read = region.read_part(skip, size - skip - rest)
                        reads.append(part_read)
                        memory = PyBytes_AS_STRING(part_read) - skip
                else:
                    PyObject_GetBuffer(part, &views[held], PyBUF_SIMPLE)
                    held += 1
                    size = views[held - 1].len
                    memory = <char*>views[held - 1].buf
                    if skip >= size:
                        skip -= size
                        held -= 1
                        PyBuffer_Release(&views[held])
                        continue
                vectors[used].iov_base = memory + skip
                vectors[used].iov_len = <size_t>(size - skip - rest)
                wanted += size - skip - rest
                skip = 0
                used += 1
                if rest > 0:
                    skip = size - rest
                    at -= 1
            if used == 0:
                break
            with nogil:
                sent = send_vectors(descriptor, vectors, used)
        finally:
            for i in range(held):
                PyBuffer_Release(&views[i])
        if sent < 0:
            if total > 0:
                break
            raise_system_error(<int>-sent, None)
        total += sent
        if sent < wanted:
            break
    return total
