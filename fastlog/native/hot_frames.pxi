# The two requests that a broker lives on, Produce (3-13) and Fetch (4-18), and their answers, without a message object between.
#
# Requests become flat tuples; what holds records are slices of the frame. Answers are written in one pass into a buffer that
# starts on the stack; a Fetch answer is cut where records go, which are passed on as they are. The same bytes as
# `fastlog.wire.messages` reads and writes, and the same verdict on bytes that are no request: tests hold both together.
#
# Each reading function takes a FrameReader and moves it on; past the end, or where a size cannot be, it raises FrameError. A
# count is believed only as far as the bytes that remain could hold so many elements, and a request has a bounded number in all.
# Versions: in the tables of the protocol guide; flexible from Produce 9 and Fetch 12 on (KIP-482), topic ids from Produce 13 and
# Fetch 13 on (KIP-516), replica state from Fetch 15 on (KIP-903).

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject_Size
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    PRODUCE_FIRST_VERSION = 3
    PRODUCE_LAST_VERSION = 13
    PRODUCE_FLEXIBLE = 9
    PRODUCE_TOPIC_IDS = 13
    FETCH_FIRST_VERSION = 4
    FETCH_LAST_VERSION = 18
    FETCH_FLEXIBLE = 12
    FETCH_TOPIC_IDS = 13
    CONTROLLED_SHUTDOWN_KEY = 7
    UUID_BYTES = 16
    STRING_MOST_BYTES = 0x7FFF
    UVARINT_MOST_BYTES = 5
    REQUEST_ELEMENTS_MOST = 100000      # as `fastlog.wire.primitives` has it


# ---- reading ----

cdef struct FrameReader:
    const unsigned char* at
    const unsigned char* end
    Py_ssize_t elements_left            # how many more elements arrays may have


cdef int ends_early() except -1:
    raise FrameError("the frame ends inside of a field")


cdef inline int need_bytes(FrameReader* reader, Py_ssize_t size) except -1:
    if size > reader.end - reader.at:
        return ends_early()
    return 0


cdef inline int8_t read_int8(FrameReader* reader) except? -1:
    need_bytes(reader, 1)
    reader.at += 1
    return <int8_t>(reader.at - 1)[0]


cdef inline int16_t read_int16(FrameReader* reader) except? -1:
    need_bytes(reader, 2)
    reader.at += 2
    return load16(reader.at - 2)


cdef inline int32_t read_int32(FrameReader* reader) except? -1:
    need_bytes(reader, 4)
    reader.at += 4
    return load32(reader.at - 4)


cdef inline int64_t read_int64(FrameReader* reader) except? -1:
    need_bytes(reader, 8)
    reader.at += 8
    return load64(reader.at - 8)


cdef inline Py_ssize_t read_uvarint(FrameReader* reader) except -1:
    cdef uint32_t number = 0
    cdef const unsigned char* after
    if reader.at < reader.end and reader.at[0] < 0x80:
        reader.at += 1
        return (reader.at - 1)[0]
    after = read_unsigned_varint(reader.at, reader.end, &number)
    if after == NULL or number > <uint32_t>INT32_MAX:
        raise FrameError("a variable-length integer that is cut short or too large")
    reader.at = after
    return number


# Sizes and counts: -1 is null.

cdef inline Py_ssize_t read_string_size(FrameReader* reader, bint compact) except -2:
    cdef Py_ssize_t size = read_uvarint(reader) - 1 if compact else read_int16(reader)
    if size > STRING_MOST_BYTES:
        raise FrameError(f"a string of {size} bytes")
    if size < 0:
        return -1
    need_bytes(reader, size)
    return size


cdef inline Py_ssize_t read_bytes_size(FrameReader* reader, bint compact) except -2:
    cdef Py_ssize_t size = read_uvarint(reader) - 1 if compact else read_int32(reader)
    if size < 0:
        return -1
    need_bytes(reader, size)
    return size


cdef inline Py_ssize_t read_count(FrameReader* reader, bint compact, Py_ssize_t least_element_bytes) except -1:
    """Read the count of an array that may not be null."""
    cdef Py_ssize_t count = read_uvarint(reader) - 1 if compact else read_int32(reader)
    if count < 0:
        raise FrameError("an array that may not be null is")
    if count > (reader.end - reader.at) // least_element_bytes:
        raise FrameError(f"an array of {count} elements in {reader.end - reader.at} bytes")
    reader.elements_left -= count
    if reader.elements_left < 0:
        raise FrameError(f"more than {REQUEST_ELEMENTS_MOST} elements in one request")
    return count


cdef str take_text(FrameReader* reader, Py_ssize_t size):
    """Return the next `size` bytes, which are there, as a string. What is no UTF-8 in it becomes U+FFFD, as Kafka reads it."""
    cdef const char* start = <const char*>reader.at
    cdef str text = PyUnicode_DecodeUTF8(start, size, "replace")
    cdef Py_ssize_t grown = size
    reader.at += size
    if size > STRING_MOST_BYTES // 3:   # three bytes in the place of one: no answer could give back what grew so much
        PyUnicode_AsUTF8AndSize(text, &grown)
        if grown > STRING_MOST_BYTES:
            raise FrameError(f"a string of {grown} bytes as UTF-8")
    return text


cdef object read_nullable_string(FrameReader* reader, bint compact):
    cdef Py_ssize_t size = read_string_size(reader, compact)
    return None if size < 0 else take_text(reader, size)


cdef str read_string(FrameReader* reader, bint compact):
    cdef Py_ssize_t size = read_string_size(reader, compact)
    if size < 0:
        raise FrameError("a string that may not be null is")
    return take_text(reader, size)


cdef object read_topic(FrameReader* reader, bint compact, bint is_id):
    """Read what names a topic: its id (bytes) or its name (str)."""
    if not is_id:
        return read_string(reader, compact)
    need_bytes(reader, UUID_BYTES)
    reader.at += UUID_BYTES
    return PyBytes_FromStringAndSize(<const char*>reader.at - UUID_BYTES, UUID_BYTES)


# Tagged fields: `for each of read_tag_count: read_tag, then the value or skip_to`.

cdef inline Py_ssize_t read_tag_count(FrameReader* reader) except -1:
    cdef Py_ssize_t count = read_uvarint(reader)
    if count > (reader.end - reader.at) // 2:
        raise FrameError(f"{count} tagged fields in {reader.end - reader.at} bytes")
    return count


cdef inline const unsigned char* read_tag(FrameReader* reader, Py_ssize_t* tag) except NULL:
    """Read a tag and its value's size; return where the value ends."""
    cdef Py_ssize_t size
    tag[0] = read_uvarint(reader)
    size = read_uvarint(reader)
    need_bytes(reader, size)
    return reader.at + size


cdef inline int end_tag(FrameReader* reader, const unsigned char* end) except -1:
    if reader.at != end:
        raise FrameError("a tagged field that is not of the size it is said to have")
    return 0


cdef int skip_tags(FrameReader* reader) except -1:
    cdef Py_ssize_t count, tag = 0
    if reader.at < reader.end and reader.at[0] == 0:
        reader.at += 1
        return 0
    count = read_tag_count(reader)
    for _ in range(count):
        reader.at = read_tag(reader, &tag)
    return 0


cdef inline int begin_body(FrameReader* reader, Slice frame, Py_ssize_t position, bint flexible) except -1:
    """Point the reader behind the request header, whose client id ends at `position`."""
    if position < 0 or position > frame.size:
        raise FrameError(f"position {position} lies outside of {frame.size} bytes")
    reader.at = frame.data + position
    reader.end = frame.data + frame.size
    reader.elements_left = REQUEST_ELEMENTS_MOST
    return skip_tags(reader) if flexible else 0


cdef int unknown_version(str api, int version) except -1:
    raise ValueError(f"no version {version} of {api}")


# ---- requests ----

def request_header(Slice frame not None, /):
    cdef FrameReader reader
    cdef int16_t key, version
    cdef int32_t correlation_id
    cdef object client_id = None
    reader.at = frame.data
    reader.end = frame.data + frame.size
    key = read_int16(&reader)
    version = read_int16(&reader)
    correlation_id = read_int32(&reader)
    if key != CONTROLLED_SHUTDOWN_KEY or version != 0:  # that one has request header 0, without a client id
        client_id = read_nullable_string(&reader, False)
    return (key, version, correlation_id, client_id, reader.at - frame.data)


def parse_produce(Slice frame not None, Py_ssize_t position, int version, /):
    cdef bint flexible = version >= PRODUCE_FLEXIBLE
    cdef bint has_ids = version >= PRODUCE_TOPIC_IDS
    cdef Py_ssize_t tag_bytes = 1 if flexible else 0
    cdef Py_ssize_t size, least_topic_bytes, least_partition_bytes
    cdef int16_t acks
    cdef int32_t timeout_ms, index
    cdef FrameReader reader
    cdef object transactional_id, topic, records
    cdef list partitions = []
    if not PRODUCE_FIRST_VERSION <= version <= PRODUCE_LAST_VERSION:
        unknown_version("Produce", version)
    least_topic_bytes = (UUID_BYTES if has_ids else 1 if flexible else 2) + (1 if flexible else 4) + tag_bytes
    least_partition_bytes = 4 + (1 if flexible else 4) + tag_bytes
    begin_body(&reader, frame, position, flexible)
    transactional_id = read_nullable_string(&reader, flexible)
    acks = read_int16(&reader)
    timeout_ms = read_int32(&reader)
    for _ in range(read_count(&reader, flexible, least_topic_bytes)):
        topic = read_topic(&reader, flexible, has_ids)
        for _ in range(read_count(&reader, flexible, least_partition_bytes)):
            index = read_int32(&reader)
            size = read_bytes_size(&reader, flexible)
            if size < 0:
                records = None
            else:
                records = slice_of(frame.owner, reader.at, size, frame.writable)
                reader.at += size
            if flexible:
                skip_tags(&reader)
            partitions.append((topic, index, records))
        if flexible:
            skip_tags(&reader)
    if flexible:
        skip_tags(&reader)
    return (transactional_id, acks, timeout_ms, partitions)


def parse_fetch(Slice frame not None, Py_ssize_t position, int version, /):
    cdef bint flexible = version >= FETCH_FLEXIBLE
    cdef bint has_ids = version >= FETCH_TOPIC_IDS
    cdef Py_ssize_t tag_bytes = 1 if flexible else 0
    cdef Py_ssize_t least_topic_bytes, least_partition_bytes, tag = 0
    cdef int32_t replica_id = -1, max_wait_ms, min_bytes, max_bytes, session_id = 0, session_epoch = -1
    cdef int32_t index, leader_epoch = -1, last_fetched_epoch = -1, partition_max_bytes
    cdef int64_t fetch_offset, log_start_offset = -1
    cdef int8_t isolation_level
    cdef const unsigned char* tag_end
    cdef FrameReader reader
    cdef object topic
    cdef str rack_id = ""
    cdef list partitions = [], forgotten = []
    if not FETCH_FIRST_VERSION <= version <= FETCH_LAST_VERSION:
        unknown_version("Fetch", version)
    least_topic_bytes = (UUID_BYTES if has_ids else 1 if flexible else 2) + (1 if flexible else 4) + tag_bytes
    least_partition_bytes = 4 + 8 + 4 + tag_bytes
    if version >= 5:
        least_partition_bytes += 8
    if version >= 9:
        least_partition_bytes += 4
    if version >= 12:
        least_partition_bytes += 4
    begin_body(&reader, frame, position, flexible)
    if version <= 14:
        replica_id = read_int32(&reader)
    max_wait_ms = read_int32(&reader)
    min_bytes = read_int32(&reader)
    max_bytes = read_int32(&reader)
    isolation_level = read_int8(&reader)
    if version >= 7:
        session_id = read_int32(&reader)
        session_epoch = read_int32(&reader)
    for _ in range(read_count(&reader, flexible, least_topic_bytes)):
        topic = read_topic(&reader, flexible, has_ids)
        for _ in range(read_count(&reader, flexible, least_partition_bytes)):
            index = read_int32(&reader)
            if version >= 9:
                leader_epoch = read_int32(&reader)
            fetch_offset = read_int64(&reader)
            if version >= 12:
                last_fetched_epoch = read_int32(&reader)
            if version >= 5:
                log_start_offset = read_int64(&reader)
            partition_max_bytes = read_int32(&reader)
            if flexible:
                skip_fetch_partition_tags(&reader, version)
            partitions.append(
                (topic, index, leader_epoch, fetch_offset, last_fetched_epoch, log_start_offset, partition_max_bytes)
            )
        if flexible:
            skip_tags(&reader)
    if version >= 7:
        for _ in range(read_count(&reader, flexible, least_topic_bytes)):
            topic = read_topic(&reader, flexible, has_ids)
            for _ in range(read_count(&reader, flexible, 4)):
                forgotten.append((topic, read_int32(&reader)))
            if flexible:
                skip_tags(&reader)
    if version >= 11:
        rack_id = read_string(&reader, flexible)
    if flexible:
        for _ in range(read_tag_count(&reader)):
            tag_end = read_tag(&reader, &tag)
            if tag == 0:    # cluster id: read for its form, of no use here
                read_nullable_string(&reader, True)
                end_tag(&reader, tag_end)
            elif tag == 1 and version >= 15:
                replica_id = read_int32(&reader)
                read_int64(&reader)     # replica epoch
                skip_tags(&reader)
                end_tag(&reader, tag_end)
            else:
                reader.at = tag_end
    return (
        replica_id, max_wait_ms, min_bytes, max_bytes, isolation_level, session_id, session_epoch, partitions, forgotten, rack_id
    )


cdef int skip_fetch_partition_tags(FrameReader* reader, int version) except -1:
    """Skip the tagged fields of a Fetch request's partition, but hold known ones to their size."""
    cdef Py_ssize_t count, tag = 0
    cdef const unsigned char* end
    if reader.at < reader.end and reader.at[0] == 0:
        reader.at += 1
        return 0
    count = read_tag_count(reader)
    for _ in range(count):
        end = read_tag(reader, &tag)
        if tag == 0 and version >= 17:      # replica directory id
            need_bytes(reader, UUID_BYTES)
            reader.at += UUID_BYTES
            end_tag(reader, end)
        elif tag == 1 and version >= 18:    # high watermark
            read_int64(reader)
            end_tag(reader, end)
        else:
            reader.at = end
    return 0


# ---- writing ----

cdef enum:
    WRITER_STACK_BYTES = 512

cdef struct FrameWriter:
    unsigned char* start
    unsigned char* at
    unsigned char* end
    bint on_heap


cdef int grow_frame(FrameWriter* writer, Py_ssize_t size) except -1:
    cdef Py_ssize_t used = writer.at - writer.start
    cdef Py_ssize_t capacity = 2 * (writer.end - writer.start) + size
    cdef unsigned char* start = <unsigned char*>PyMem_Realloc(writer.start if writer.on_heap else NULL, capacity)
    if start == NULL:
        raise MemoryError
    if not writer.on_heap:
        memcpy(start, writer.start, used)
    writer.on_heap = True
    writer.start = start
    writer.at = start + used
    writer.end = start + capacity
    return 0


cdef inline int make_frame_room(FrameWriter* writer, Py_ssize_t size) except -1:
    """See to it that `size` more bytes can be put."""
    return grow_frame(writer, size) if size > writer.end - writer.at else 0


# These take it that there is room.

cdef inline void put_int8(FrameWriter* writer, int8_t number) noexcept:
    writer.at[0] = <unsigned char>number
    writer.at += 1


cdef inline void put_int16(FrameWriter* writer, int16_t number) noexcept:
    store16(writer.at, number)
    writer.at += 2


cdef inline void put_int32(FrameWriter* writer, int32_t number) noexcept:
    store32(writer.at, number)
    writer.at += 4


cdef inline void put_int64(FrameWriter* writer, int64_t number) noexcept:
    store64(writer.at, number)
    writer.at += 8


cdef inline void put_size(FrameWriter* writer, Py_ssize_t size, bint compact) noexcept:
    """Put the size of bytes or the count of an array; -1 is null."""
    if compact:
        writer.at = write_unsigned_varint(writer.at, <uint32_t>(size + 1))
    else:
        put_int32(writer, <int32_t>size)


# These make their own room.

cdef int write_string(FrameWriter* writer, str text, bint compact) except -1:
    cdef Py_ssize_t size = -1
    cdef const char* data = NULL
    if text is not None:
        data = PyUnicode_AsUTF8AndSize(text, &size)
        if size > STRING_MOST_BYTES:
            raise ValueError(f"a string of {size} bytes")
    make_frame_room(writer, UVARINT_MOST_BYTES + size + 1)
    if compact:
        put_size(writer, size, True)
    else:
        put_int16(writer, <int16_t>size)
    if size > 0:
        memcpy(writer.at, data, size)
        writer.at += size
    return 0


cdef int write_topic(FrameWriter* writer, object topic, bint compact, bint is_id) except -1:
    if not is_id:
        if type(topic) is not str:
            raise TypeError("this version names topics by str")
        return write_string(writer, <str>topic, compact)
    if type(topic) is not bytes or PyBytes_GET_SIZE(topic) != UUID_BYTES:
        raise TypeError(f"this version names topics by ids of {UUID_BYTES} bytes")
    make_frame_room(writer, UUID_BYTES)
    memcpy(writer.at, PyBytes_AS_STRING(topic), UUID_BYTES)
    writer.at += UUID_BYTES
    return 0


cdef inline tuple result_at(tuple results, Py_ssize_t i, Py_ssize_t fields):
    cdef object result = <object>PyTuple_GET_ITEM(results, i)
    if type(result) is not tuple or PyTuple_GET_SIZE(result) != fields:
        raise TypeError(f"a result is a tuple of {fields}")
    return <tuple>result


cdef Py_ssize_t same_topic_until(tuple results, Py_ssize_t first, Py_ssize_t fields) except -1:
    """Return the index after the last of the results that have the topic of the first."""
    cdef object topic = result_at(results, first, fields)[0]
    cdef object other
    cdef Py_ssize_t i = first + 1
    while i < PyTuple_GET_SIZE(results):
        other = result_at(results, i, fields)[0]
        if other is not topic and other != topic:
            break
        i += 1
    return i


cdef Py_ssize_t count_topics(tuple results, Py_ssize_t fields) except -1:
    cdef Py_ssize_t count = 0, i = 0
    while i < PyTuple_GET_SIZE(results):
        i = same_topic_until(results, i, fields)
        count += 1
    return count


# ---- answers ----

def produce_response(int version, int32_t correlation_id, results, int32_t throttle_ms=0, /):
    cdef unsigned char stack[WRITER_STACK_BYTES]
    cdef FrameWriter writer
    if not PRODUCE_FIRST_VERSION <= version <= PRODUCE_LAST_VERSION:
        unknown_version("Produce", version)
    writer.start = writer.at = stack
    writer.end = stack + WRITER_STACK_BYTES
    writer.on_heap = False
    try:
        write_produce_response(&writer, version, correlation_id, tuple(results), throttle_ms)
        if writer.at - writer.start - FRAME_SIZE_BYTES > INT32_MAX:
            raise ValueError("the answer is too large for a frame")
        store32(writer.start, <int32_t>(writer.at - writer.start - FRAME_SIZE_BYTES))
        return PyBytes_FromStringAndSize(<char*>writer.start, writer.at - writer.start)
    finally:
        if writer.on_heap:
            PyMem_Free(writer.start)


cdef int write_produce_response(
    FrameWriter* writer, int version, int32_t correlation_id, tuple results, int32_t throttle_ms
) except -1:
    cdef bint flexible = version >= PRODUCE_FLEXIBLE
    cdef bint has_ids = version >= PRODUCE_TOPIC_IDS
    cdef Py_ssize_t i = 0, next_topic
    cdef tuple result
    put_int32(writer, 0)    # the frame's size, when it is known
    put_int32(writer, correlation_id)
    if flexible:
        put_int8(writer, 0)
    put_size(writer, count_topics(results, 7), flexible)
    while i < PyTuple_GET_SIZE(results):
        next_topic = same_topic_until(results, i, 7)
        write_topic(writer, result_at(results, i, 7)[0], flexible, has_ids)
        make_frame_room(writer, UVARINT_MOST_BYTES)
        put_size(writer, next_topic - i, flexible)
        while i < next_topic:
            result = result_at(results, i, 7)
            make_frame_room(writer, 4 + 2 + 8 + 8 + 8 + 4)
            put_int32(writer, result[1])
            put_int16(writer, result[2])
            put_int64(writer, result[3])
            put_int64(writer, result[4])
            if version >= 5:
                put_int64(writer, result[5])
            if version >= 8:
                put_size(writer, 0, flexible)   # errors of single records (KIP-467): a batch is refused whole
                write_string(writer, result[6], flexible)
            if flexible:
                make_frame_room(writer, 1)
                put_int8(writer, 0)
            i += 1
        if flexible:
            make_frame_room(writer, 1)
            put_int8(writer, 0)
    make_frame_room(writer, 5)
    put_int32(writer, throttle_ms)
    if flexible:
        put_int8(writer, 0)
    return 0


def fetch_response(
    int version, int32_t correlation_id, int16_t error_code, int32_t session_id, results, int32_t throttle_ms=0, /
):
    cdef unsigned char stack[WRITER_STACK_BYTES]
    cdef FrameWriter writer
    cdef list answer = []   # what has been cut off before, and the records between
    cdef list cuts = []     # (position in the writer's bytes, records that come there)
    cdef Py_ssize_t from_, to, size
    cdef object records
    if not FETCH_FIRST_VERSION <= version <= FETCH_LAST_VERSION:
        unknown_version("Fetch", version)
    writer.start = writer.at = stack
    writer.end = stack + WRITER_STACK_BYTES
    writer.on_heap = False
    try:
        size = write_fetch_response(
            &writer, cuts, version, correlation_id, error_code, session_id,
            tuple(results), throttle_ms,
        )
        size += writer.at - writer.start - FRAME_SIZE_BYTES
        if size > INT32_MAX:
            raise ValueError("the answer is too large for a frame")
        store32(writer.start, <int32_t>size)
        from_ = 0
        for to, records in cuts:
            answer.append(PyBytes_FromStringAndSize(<char*>writer.start + from_, to - from_))
            answer.append(records)
            from_ = to
        if from_ < writer.at - writer.start:
            answer.append(PyBytes_FromStringAndSize(<char*>writer.start + from_, writer.at - writer.start - from_))
        return answer
    finally:
        if writer.on_heap:
            PyMem_Free(writer.start)


cdef Py_ssize_t write_fetch_response(
    FrameWriter* writer, list cuts, int version, int32_t correlation_id, int16_t error_code, int32_t session_id, tuple results,
    int32_t throttle_ms,
) except -1:
    """Write all but the records; note in `cuts` where they go and return how many bytes they are."""
    cdef bint flexible = version >= FETCH_FLEXIBLE
    cdef bint has_ids = version >= FETCH_TOPIC_IDS
    cdef Py_ssize_t i = 0, next_topic, size, records_bytes = 0
    cdef tuple result
    cdef object records
    put_int32(writer, 0)    # the frame's size, when it is known
    put_int32(writer, correlation_id)
    if flexible:
        put_int8(writer, 0)
    put_int32(writer, throttle_ms)
    if version >= 7:
        put_int16(writer, error_code)
        put_int32(writer, session_id)
    put_size(writer, count_topics(results, 9), flexible)
    while i < PyTuple_GET_SIZE(results):
        next_topic = same_topic_until(results, i, 9)
        write_topic(writer, result_at(results, i, 9)[0], flexible, has_ids)
        make_frame_room(writer, UVARINT_MOST_BYTES)
        put_size(writer, next_topic - i, flexible)
        while i < next_topic:
            result = result_at(results, i, 9)
            make_frame_room(writer, 4 + 2 + 8 + 8 + 8)
            put_int32(writer, result[1])
            put_int16(writer, result[2])
            put_int64(writer, result[3])
            put_int64(writer, result[4])
            if version >= 5:
                put_int64(writer, result[5])
            write_aborted(writer, result[6], flexible)
            records = result[8]
            size = -1 if records is None else PyObject_Size(records)
            if size > INT32_MAX:
                raise ValueError("records that are too large for a frame")
            make_frame_room(writer, 4 + UVARINT_MOST_BYTES + 2)
            if version >= 11:
                put_int32(writer, result[7])
            put_size(writer, size, flexible)
            if size > 0:
                cuts.append((writer.at - writer.start, records))
                records_bytes += size
            if flexible:
                put_int8(writer, 0)
            i += 1
        if flexible:
            make_frame_room(writer, 1)
            put_int8(writer, 0)
    if flexible:
        make_frame_room(writer, 1)
        put_int8(writer, 0)
    return records_bytes


cdef int write_aborted(FrameWriter* writer, object aborted, bint flexible) except -1:
    """Write the aborted transactions of a partition; None is null."""
    cdef int64_t producer_id, first_offset
    cdef tuple pairs
    if aborted is None:
        make_frame_room(writer, UVARINT_MOST_BYTES)
        put_size(writer, -1, flexible)
        return 0
    pairs = tuple(aborted)
    make_frame_room(writer, UVARINT_MOST_BYTES + len(pairs) * 17)
    put_size(writer, len(pairs), flexible)
    for producer_id, first_offset in pairs:
        put_int64(writer, producer_id)
        put_int64(writer, first_offset)
        if flexible:
            put_int8(writer, 0)
    return 0
