# A run: Produce requests side by side in a receiver that are alike but for their correlation ids and records, each with one batch
# for the same partition. A pipelining producer sends nothing else, and what is decided of one of them is decided of all: so the
# Python above sees one object for as many requests as have come, and they are read, checked and answered here.
#
# Nothing is refused here. What is not of that form, or not beyond doubt, ends the run before it and goes the ordinary way
# (`next_frame`, `parse_produce`, `scan`), which says what is wrong with it. A run is only looked at until `take_produce_run`
# consumes its frames; it holds their memory until its batches have their offsets, and they hold it from there on.

from libc.string cimport memcmp

cdef enum:
    RUN_MOST_REQUESTS = 64
    PRODUCE_KEY = 0
    CORRELATION_ID_POSITION = 4
    CLIENT_ID_POSITION = 8
    UNUSUAL_BITS = TIMESTAMP_TYPE_BIT | TRANSACTIONAL_BIT | CONTROL_BIT

cdef struct RunRequest:
    unsigned char* records
    int64_t base_offset
    int32_t records_bytes
    int32_t frame_bytes                 # its size field left out
    int32_t correlation_id


@cython.final
@cython.freelist(16)
@cython.no_gc       # holds a chunk, names and a list of batches, none of which leads back here
cdef class ProduceRun:
    cdef object owner
    cdef readonly object client_id
    cdef readonly object topic
    cdef list batches
    cdef readonly int version
    cdef readonly int acks
    cdef readonly int timeout_ms
    cdef readonly int partition
    cdef readonly Py_ssize_t count
    cdef RunRequest requests[RUN_MOST_REQUESTS]

    def __init__(self):
        raise TypeError("runs come from peek_produce_run")

    def __len__(self):
        return self.count

    @property
    def frame_bytes(self):
        cdef Py_ssize_t i, total = 0
        for i in range(self.count):
            total += self.requests[i].frame_bytes
        return total

    @property
    def records_bytes(self):
        cdef Py_ssize_t i, total = 0
        for i in range(self.count):
            total += self.requests[i].records_bytes
        return total

    def scan(
        self, Py_ssize_t max_batch_bytes, int64_t room_bytes, int64_t room_offsets, int64_t latest_timestamp_ms, /
    ):
        cdef BatchHeader headers[RUN_MOST_REQUESTS]
        cdef Py_ssize_t i, count
        cdef list batches = []
        if self.owner is None:
            raise ValueError("the run's batches have their offsets already")
        if self.count and self.requests[0].records_bytes >= LONG_WORK_BYTES:
            with nogil:
                count = self.check(headers, max_batch_bytes, room_bytes, room_offsets, latest_timestamp_ms)
        else:
            count = self.check(headers, max_batch_bytes, room_bytes, room_offsets, latest_timestamp_ms)
        for i in range(count):
            batches.append(batch_of(self.owner, self.requests[i].records, True, &headers[i]))
        self.batches = batches
        self.count = count
        return batches

    cdef Py_ssize_t check(
        self,
        BatchHeader* headers,
        Py_ssize_t max_batch_bytes,
        int64_t room_bytes,
        int64_t room_offsets,
        int64_t latest_timestamp_ms,
    ) noexcept nogil:
        """Return how many requests from the first on have a batch that is in order; their headers are filled."""
        cdef Py_ssize_t i
        cdef RunRequest* request
        cdef BatchHeader* header
        cdef BatchHeader* before
        for i in range(self.count):
            request = &self.requests[i]
            header = &headers[i]
            if request.records_bytes > max_batch_bytes or request.records_bytes > room_bytes:
                return i
            if check_batch(request.records, request.records_bytes, CHECK_CRC | CHECK_RECORDS, -1, header, NULL) != BATCH_OK:
                return i
            if header.size_bytes != request.records_bytes or header.base_offset != 0 or header.attributes & UNUSUAL_BITS:
                return i
            if header.max_timestamp_ms > latest_timestamp_ms or header.last_offset_delta >= room_offsets:
                return i
            if i:
                before = header - 1
                if header.producer_id != before.producer_id or header.producer_epoch != before.producer_epoch:
                    return i
                if header.producer_id >= 0 and header.base_sequence != advance_sequence(
                    before.base_sequence, before.last_offset_delta + 1
                ):
                    return i
            room_bytes -= request.records_bytes
            room_offsets -= header.last_offset_delta + 1
        return self.count

    def assign(self, int64_t base_offset, int32_t leader_epoch, /):
        cdef Py_ssize_t i
        cdef Batch batch
        if self.batches is None:
            raise ValueError("a run is scanned before its batches get their offsets")
        for i in range(self.count):
            batch = <Batch>self.batches[i]
            batch.assign_offsets(base_offset, leader_epoch)
            self.requests[i].base_offset = base_offset
            base_offset += batch.header.last_offset_delta + 1
        self.batches = None
        self.owner = None
        return base_offset

    def responses(self, int16_t error_code, int64_t log_start_offset, str error_message, int32_t throttle_ms, /):
        cdef unsigned char stack[WRITER_STACK_BYTES]
        cdef FrameWriter writer
        cdef Py_ssize_t i, size, base_offset_position = 0
        cdef bytes answers
        cdef unsigned char* at
        writer.start = writer.at = stack
        writer.end = stack + WRITER_STACK_BYTES
        writer.on_heap = False
        try:
            base_offset_position = self.write_response(&writer, error_code, log_start_offset, error_message, throttle_ms)
            size = writer.at - writer.start
            store32(writer.start, <int32_t>(size - FRAME_SIZE_BYTES))
            answers = PyBytes_FromStringAndSize(NULL, size * self.count)
            at = <unsigned char*>PyBytes_AS_STRING(answers)
            for i in range(self.count):
                memcpy(at, writer.start, size)
                store32(at + FRAME_SIZE_BYTES, self.requests[i].correlation_id)
                store64(at + base_offset_position, -1 if error_code else self.requests[i].base_offset)
                at += size
            return answers
        finally:
            if writer.on_heap:
                PyMem_Free(writer.start)

    cdef Py_ssize_t write_response(
        self, FrameWriter* writer, int16_t error_code, int64_t log_start_offset, str error_message, int32_t throttle_ms
    ) except -1:
        """Write the answer that all have, and return where in it a request's own base offset goes."""
        cdef bint flexible = self.version >= PRODUCE_FLEXIBLE
        cdef Py_ssize_t base_offset_position
        put_int32(writer, 0)    # the frame's size, when it is known
        put_int32(writer, 0)    # each one's correlation id
        if flexible:
            put_int8(writer, 0)
        put_size(writer, 1, flexible)
        write_topic(writer, self.topic, flexible, self.version >= PRODUCE_TOPIC_IDS)
        make_frame_room(writer, 4 + 4 + 2 + 8 + 8 + 8 + 4)
        put_size(writer, 1, flexible)
        put_int32(writer, self.partition)
        put_int16(writer, error_code)
        base_offset_position = writer.at - writer.start
        put_int64(writer, 0)
        put_int64(writer, -1)   # the log append time: a log that stamps records takes no runs
        if self.version >= 5:
            put_int64(writer, log_start_offset)
        if self.version >= 8:
            put_size(writer, 0, flexible)
            write_string(writer, error_message, flexible)
        make_frame_room(writer, 1 + 1 + 4 + 1)
        if flexible:
            put_int8(writer, 0)
            put_int8(writer, 0)
        put_int32(writer, throttle_ms)
        if flexible:
            put_int8(writer, 0)
        return base_offset_position


cdef inline const unsigned char* find_records(
    const unsigned char* at, const unsigned char* end, bint compact, Py_ssize_t* size
) noexcept:
    """Return where the records begin whose size field is at `at`, and their size; NULL where there are none."""
    cdef uint32_t number = 0
    if compact:
        at = read_unsigned_varint(at, end, &number)
        size[0] = <Py_ssize_t>number - 1
    elif end - at < 4:
        return NULL
    else:
        size[0] = load32(at)
        at += 4
    if at == NULL or size[0] < 0 or size[0] > end - at:
        return NULL
    return at


cdef inline const unsigned char* whole_frame(Receiver receiver, const unsigned char* at, Py_ssize_t* size) noexcept:
    """Return where the frame begins whose size field is at `at`, and its size; NULL when not all of it has come."""
    cdef Py_ssize_t waiting = receiver.chunk.data + receiver.end - at
    if waiting < FRAME_SIZE_BYTES:
        return NULL
    size[0] = load32(at)
    if size[0] < 0 or size[0] > receiver.max_frame_bytes or size[0] > waiting - FRAME_SIZE_BYTES:
        return NULL
    return at + FRAME_SIZE_BYTES


def peek_produce_run(Receiver receiver not None, Py_ssize_t most_requests, /):
    cdef const unsigned char* first
    cdef Py_ssize_t size = 0
    if receiver.chunk is None:
        return None
    first = whole_frame(receiver, receiver.chunk.data + receiver.start, &size)
    if first == NULL or size < CLIENT_ID_POSITION or load16(first) != PRODUCE_KEY:
        return None
    if not PRODUCE_FIRST_VERSION <= load16(first + 2) <= PRODUCE_LAST_VERSION:
        return None
    try:
        return run_from(receiver, first, size, most_requests)
    except FrameError:
        return None     # the ordinary way says so, and why


cdef ProduceRun run_from(Receiver receiver, const unsigned char* first, Py_ssize_t size, Py_ssize_t most_requests):
    cdef ProduceRun run
    cdef FrameReader reader
    cdef int version = load16(first + 2)
    cdef bint flexible = version >= PRODUCE_FLEXIBLE
    cdef Py_ssize_t prefix_bytes, tail_bytes, records_bytes = 0
    cdef const unsigned char* records
    cdef const unsigned char* tail
    cdef const unsigned char* frame = first
    cdef RunRequest* request
    reader.at = first + CLIENT_ID_POSITION
    reader.end = first + size
    reader.elements_left = REQUEST_ELEMENTS_MOST
    run = ProduceRun.__new__(ProduceRun)
    run.version = version
    run.client_id = read_nullable_string(&reader, False)
    if flexible:
        skip_tags(&reader)
    if read_string_size(&reader, flexible) >= 0:    # a transactional id
        return None
    run.acks = read_int16(&reader)
    run.timeout_ms = read_int32(&reader)
    if read_count(&reader, flexible, 1) != 1:
        return None
    run.topic = read_topic(&reader, flexible, version >= PRODUCE_TOPIC_IDS)
    if read_count(&reader, flexible, 1) != 1:
        return None
    run.partition = read_int32(&reader)
    prefix_bytes = reader.at - first
    records = find_records(reader.at, reader.end, flexible, &records_bytes)
    if records == NULL:
        return None
    tail = reader.at = records + records_bytes
    if flexible:
        skip_tags(&reader)
        skip_tags(&reader)
        skip_tags(&reader)
    tail_bytes = first + size - tail
    while True:
        request = &run.requests[run.count]
        request.records = <unsigned char*>records
        request.records_bytes = <int32_t>records_bytes
        request.frame_bytes = <int32_t>size
        request.correlation_id = load32(frame + CORRELATION_ID_POSITION)
        run.count += 1
        if run.count >= most_requests or run.count == RUN_MOST_REQUESTS:
            break
        frame = whole_frame(receiver, frame + size, &size)
        if frame == NULL or size < prefix_bytes + tail_bytes:
            break
        if load32(frame) != load32(first):      # key and version
            break
        if memcmp(frame + CLIENT_ID_POSITION, first + CLIENT_ID_POSITION, prefix_bytes - CLIENT_ID_POSITION) != 0:
            break
        records = find_records(frame + prefix_bytes, frame + size, flexible, &records_bytes)
        if records == NULL or records + records_bytes + tail_bytes != frame + size:
            break
        if memcmp(records + records_bytes, tail, tail_bytes) != 0:
            break
    run.owner = receiver.chunk
    return run


def take_produce_run(Receiver receiver not None, ProduceRun run not None, /):
    cdef Py_ssize_t i, size
    for i in range(run.count):
        size = FRAME_SIZE_BYTES + run.requests[i].frame_bytes
        if size > receiver.end - receiver.start:
            raise ValueError("a run is taken from the receiver that it was seen in, once")
        receiver.consumed(size)
