"""What other Cython modules may cimport from the compiled core. The Python surface is documented in `_core.pyi`.

Functions marked `noexcept nogil` touch nothing but the memory they are given and may run on any thread.
"""

cimport cython
from libc.stdint cimport INT32_MAX, INT64_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

# ---- bytes ------------------------------------------------------------------------------------------------------------------

@cython.final
cdef class Slice:
    cdef object owner                   # whatever keeps `data` alive and in its place
    cdef unsigned char* data
    cdef Py_ssize_t size
    cdef bint writable                  # the core may patch the bytes; whoever asks for the buffer never may

# A range of memory that `owner` keeps alive and never moves.
cdef Slice slice_of(object owner, const unsigned char* data, Py_ssize_t size, bint writable)

# Any bytes-like object as a Slice (itself, when it is one), without a copy.
cdef Slice as_slice(object data)

# ---- checksums and hashes ---------------------------------------------------------------------------------------------------

# CRC32C of `size` bytes; `crc` is the value of the bytes before them, 0 at the beginning.
cdef uint32_t crc32c_of(uint32_t crc, const unsigned char* data, Py_ssize_t size) noexcept nogil

# murmur2 of a key as Java's signed int.
cdef int32_t murmur2_of(const unsigned char* key, Py_ssize_t size) noexcept nogil

# The partition that Java's default partitioner chooses; `partition_count` is at least 1.
cdef int32_t partition_of(const unsigned char* key, Py_ssize_t size, int32_t partition_count) noexcept nogil

# ---- record batch v2 --------------------------------------------------------------------------------------------------------

cdef enum:
    BATCH_HEADER_BYTES = 61             # up to and with the count of records
    BATCH_PREFIX_BYTES = 12             # base offset and length: what the length does not count
    BATCH_MAGIC_POSITION = 16
    BATCH_CRC_START = 21                # the CRC covers from here to the end
    RECORD_MIN_BYTES = 7                # length, attributes, two deltas, two sizes, header count: one byte each
    HEADER_MIN_BYTES = 2                # two sizes, one byte each

cdef enum BatchAttribute:
    CODEC_MASK = 0x07
    TIMESTAMP_TYPE_BIT = 0x08
    TRANSACTIONAL_BIT = 0x10
    CONTROL_BIT = 0x20
    DELETE_HORIZON_BIT = 0x40
    CODEC_LAST = 4                      # zstd

cdef enum BatchCheck:
    CHECK_CRC = 1
    CHECK_RECORDS = 2                   # walk the records of uncompressed batches
    ALLOW_COMPACTED = 4                 # fewer records than offsets, as compaction leaves them

cdef enum BatchFault:
    BATCH_OK = 0
    BATCH_PARTIAL                       # sound so far; `size_bytes` tells how many bytes are needed to go on
    BATCH_LENGTH
    BATCH_MAGIC_0
    BATCH_MAGIC_1
    BATCH_MAGIC
    BATCH_TOO_LARGE
    BATCH_CRC
    BATCH_CODEC
    BATCH_OFFSET
    BATCH_COUNT
    BATCH_PRODUCER
    BATCH_TRANSACTIONAL
    BATCH_SEQUENCE
    RECORD_SIZE
    RECORD_OFFSET
    RECORD_FIELD
    RECORD_HEADERS
    RECORD_CONTROL
    RECORDS_TRAILING
    BATCH_FAULTS                        # how many there are

cdef struct BatchHeader:
    int64_t base_offset
    int64_t base_timestamp_ms
    int64_t max_timestamp_ms
    int64_t producer_id
    Py_ssize_t size_bytes               # of the whole batch, prefix included
    int32_t leader_epoch
    uint32_t crc
    int32_t last_offset_delta
    int32_t base_sequence
    int32_t count
    int16_t attributes
    int16_t producer_epoch

cdef struct RecordFields:
    const unsigned char* key            # NULL: null
    const unsigned char* value          # NULL: null
    const unsigned char* headers        # the first of `header_count`
    const unsigned char* end            # the next record
    int64_t timestamp_delta_ms
    int32_t offset_delta
    int32_t key_size
    int32_t value_size
    int32_t header_count

# Read a header's fields, unchecked: at least BATCH_HEADER_BYTES must be there.
cdef void read_batch_header(const unsigned char* data, BatchHeader* header) noexcept nogil

# Check the batch that starts at `data`, of which `available` bytes are there. Returns a BatchFault. `header` is filled as far as
# the bytes reach; its `size_bytes` is right for BATCH_OK and BATCH_PARTIAL. `fault_position` counts from `data`; may be NULL.
# `checks` is a sum of BatchCheck; `max_batch_bytes` -1 sets no limit.
cdef int check_batch(
    const unsigned char* data,
    Py_ssize_t available,
    int checks,
    Py_ssize_t max_batch_bytes,
    BatchHeader* header,
    Py_ssize_t* fault_position,
) noexcept nogil

# Read and check one record that starts at `data` and must end at or before `end`. Returns a BatchFault.
cdef int read_record(const unsigned char* data, const unsigned char* end, RecordFields* record) noexcept nogil

# The sequence number `increment` after `sequence`; it wraps from 2^31 - 1 to 0.
cdef int32_t advance_sequence(int32_t sequence, int32_t increment) noexcept nogil

# The CorruptBatch for a fault (BatchTooLarge for BATCH_TOO_LARGE).
cdef object batch_error(int fault, Py_ssize_t position)

@cython.final
cdef class Record:
    cdef object owner
    cdef RecordFields fields
    cdef readonly int64_t offset
    cdef readonly int64_t timestamp_ms
    cdef readonly int32_t sequence

@cython.final
cdef class Batch:
    cdef object owner
    cdef unsigned char* data
    cdef bint writable
    cdef BatchHeader header
    cdef int assign_offsets(self, int64_t base_offset, int32_t leader_epoch) except -1

# A batch whose header was read (and checked) already, in memory that `owner` keeps alive.
cdef Batch batch_of(object owner, const unsigned char* data, bint writable, const BatchHeader* header)

# As `scan` does; the list of Batch.
cdef list scan_slice(Slice source, int checks, Py_ssize_t max_batch_bytes, bint allow_partial)

@cython.final
cdef class BatchBuilder:
    cdef unsigned char* data            # header room, then the records
    cdef Py_ssize_t size                # header room included
    cdef Py_ssize_t capacity
    cdef Py_ssize_t max_bytes
    cdef BatchHeader header
    cdef int reserve(self, Py_ssize_t more) except -1
    cdef unsigned char* open_record(self, int64_t timestamp_ms, Py_ssize_t fields_bytes) except? NULL
    cdef void close_record(self, int64_t timestamp_ms, const unsigned char* end) noexcept

# ---- files ------------------------------------------------------------------------------------------------------------------

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

# Part of a file seen as memory; unmapped when its last user goes.
@cython.final
cdef class _Mapping:
    cdef char* address
    cdef int64_t position               # in the file
    cdef int64_t size
    @staticmethod
    cdef _Mapping create(int descriptor, int64_t position, int64_t size)
    cdef bint covers(self, int64_t position, int64_t size) noexcept
    cdef const char* at(self, int64_t position) noexcept

@cython.final
cdef class _Vectors:
    cdef Py_buffer* views
    cdef iovec* vectors
    cdef Py_ssize_t count
    @staticmethod
    cdef _Vectors create(object buffers, bint writable)

# The living regions of one real file, or of one simulated one that is open.
@cython.final
cdef class _Node:
    cdef int regions
    cdef int64_t regions_end            # none reaches past it
    cdef object __weakref__

# The methods that a subclass overrides are `cpdef`; the others go straight to the system, or through the overrides where
# their comment says so.
cdef class File:
    cdef public str path
    cdef int _descriptor
    cdef int _holds                     # jobs, regions and system calls under way
    cdef bint _native                   # exactly a File: nothing is overridden
    cdef bint _closed
    cdef bint _released                 # reserved blocks were given back for good
    cdef _Node node                     # None until it matters
    cdef _Mapping _window
    cdef _Node shared_node(self)
    cdef bint is_in_use_past(self, int64_t size) except -1
    cdef int pin(self) except -1
    cdef void unpin(self) noexcept
    cdef int64_t transfer(self, iovec* vectors, Py_ssize_t vector_count, int64_t position, bint writing) except -1
    # Through overrides, with the GIL taken where there are any; the caller keeps the file acquired.
    cdef int64_t read_into(self, char* target, int64_t size, int64_t position) except -1 nogil
    cdef int64_t read_overridden(self, char* target, int64_t size, int64_t position) except -1
    cdef int write_from(self, const char* source, int64_t size, int64_t position) except -1 nogil
    cdef _Mapping map_range(self, int64_t position, int64_t size)
    cpdef acquire(self)
    cpdef release(self)
    cpdef close(self)
    cpdef int descriptor(self) except -2
    cpdef int64_t pwritev(self, object buffers, int64_t position) except -1
    cpdef int64_t preadv(self, object buffers, int64_t position) except -1
    cpdef bytes pread(self, int64_t size, int64_t position)
    cpdef copy_to(self, File target, int64_t size)
    cpdef fdatasync(self)
    cpdef ftruncate(self, int64_t size)
    cpdef fallocate(self, int64_t position, int64_t size)
    cpdef release_beyond(self, int64_t size)
    cpdef int64_t size_bytes(self) except -1
    cpdef bint is_resident(self, int64_t position, int64_t size) except -1
    cpdef drop_cache(self)

@cython.final
cdef class Region:
    cdef readonly File file
    cdef readonly int64_t position
    cdef int64_t size
    cdef bint sealed                    # nothing is written to the file any more: user code may see a mapping of it
    cdef _Mapping mapping
    cdef bytes copy
    @staticmethod
    cdef Region create(File file, int64_t position, int64_t size, bint sealed)
    cdef int attach(self, File file, int64_t position, int64_t size, bint sealed) except -1
    cdef int fail_short(self, int64_t start, int64_t size, int64_t there) except -1
    cdef bytes read_part(self, int64_t start, int64_t size)
    cdef bint is_mapped(self) except -1

# ---- segments ---------------------------------------------------------------------------------------------------------------

cdef struct Growing:                    # bytes that grow without the GIL
    char* memory
    int64_t size
    int64_t capacity

cdef class _Index:
    cdef readonly File file
    cdef readonly int64_t base_offset
    cdef int64_t max_bytes
    cdef int64_t stored                 # entries in the file
    cdef int64_t last_key               # of the last entry, relative where it is an offset; -1: no entry
    cdef int64_t last_value
    cdef char* tail                     # entries that are not in the file yet
    cdef int tail_count
    cdef int entry_bytes
    cdef bint ragged                    # the file's size is no multiple of an entry's
    cdef bint unmappable
    cdef _Mapping mapping
    cdef bint is_filled(self) noexcept
    cdef void decode(self, const char* entry, int64_t* key, int64_t* value) noexcept nogil
    cdef int entry(self, int64_t number, int64_t* key, int64_t* value) except -1
    cdef int64_t greatest(self, int64_t bound, bint by_value) except -2
    cdef int load(self) except -1
    cdef int load_last(self) except -1
    cdef bint is_used(self, int64_t number) except -1
    cdef int push(self, int64_t key, int64_t value) except -1
    cdef int spill(self) except -1
    cdef int keep(self, int64_t count) except -1
    cdef int trim(self) except -1
    cdef int replace(self, int64_t kept, const Growing* entries) except -1

@cython.final
cdef class OffsetIndex(_Index):
    cdef int64_t floor(self, int64_t offset, int64_t* position) except? -1

@cython.final
cdef class TimeIndex(_Index):
    cdef int add(self, int64_t timestamp_ms, int64_t offset) except -1

cdef struct ProducerBatch:
    int64_t producer_id
    int64_t base_offset
    int64_t last_offset
    int64_t max_timestamp_ms
    int32_t base_sequence
    int16_t producer_epoch
    int16_t attributes

cdef struct ProducerBatches:
    Growing array
    int64_t prune_at_bytes              # 0 before the first

@cython.final
cdef class RecoveredBatch:
    cdef readonly int64_t producer_id
    cdef readonly int64_t base_offset
    cdef readonly int64_t last_offset
    cdef readonly int64_t max_timestamp_ms
    cdef readonly int32_t base_sequence
    cdef readonly int32_t last_sequence
    cdef readonly int16_t producer_epoch
    cdef readonly bint is_transactional
    cdef readonly bint is_control
    @staticmethod
    cdef RecoveredBatch create(const ProducerBatch* batch)

cdef struct IndexRule:                  # when a batch gets an index entry
    int64_t base_offset
    int64_t interval_bytes
    int64_t bytes_since_entry
    int64_t max_timestamp_ms            # -1: none yet
    int64_t offset_of_max_timestamp

cdef struct Place:                      # the first batch that ends at or past an offset
    int64_t offset
    int64_t position

cdef enum:
    KNOWN_PLACES = 4                    # readers in step with the log's end that need no index search
    WALK_WINDOW_BYTES = 8 << 10         # read at once from header to header: covers two index intervals of small batches

cdef struct Walk:
    int64_t position                    # of the batch that `header` describes
    int64_t end                         # nothing is read at or past it
    int64_t window_position
    int64_t window_size
    int fault                           # why the walk stopped: a BatchFault, BATCH_OK at the end
    BatchHeader header
    unsigned char window[WALK_WINDOW_BYTES]

@cython.final
cdef class _Scan:
    cdef IndexRule rule
    cdef int64_t next_offset
    cdef int64_t valid_end
    cdef int64_t last_indexed_timestamp_ms
    cdef Growing chunk
    cdef Growing offset_entries
    cdef Growing time_entries
    cdef ProducerBatches producers
    cdef void begin(self, int64_t next_offset) noexcept
    cdef int run(self, File file, int64_t position, int64_t end) except -1 nogil
    cdef int has_valid_crc(self, File file, int64_t position, const BatchHeader* header) except -1 nogil
    cdef int note(self, int64_t position, const BatchHeader* header) noexcept nogil
    cdef int note_timestamp(self) noexcept nogil

@cython.final
cdef class Segment:
    cdef readonly int64_t base_offset
    cdef readonly int64_t next_offset
    cdef readonly int64_t size_bytes
    cdef readonly File log
    cdef readonly OffsetIndex offset_index
    cdef readonly TimeIndex time_index
    cdef readonly bint needs_recovery
    cdef object replace_log
    cdef IndexRule rule
    cdef int64_t appended_bytes         # since it was opened
    cdef int64_t reserved_end
    cdef int64_t known_end_offset
    cdef int64_t known_end_position
    cdef Place places[KNOWN_PLACES]
    cdef int next_place
    cdef bint torn                      # a failed append left bytes past `size_bytes`
    cdef bint sealed
    cdef bint closed
    cdef int load_max_timestamp(self) except -1
    cdef int load_end(self) except -1
    cdef int enter(self, Walk* walk, int64_t position, int64_t offset, int64_t end) except -1 nogil
    cdef int enter_last_indexed(self, Walk* walk, int64_t end) except -1 nogil
    cdef int cut_back(self) except -1
    cdef int index_batch(self, int64_t position, const BatchHeader* header) except -1
    cdef int index_timestamp(self) except -1
    cdef void remember_place(self, int64_t offset, int64_t position) noexcept
    cdef int64_t known_position(self, int64_t offset) noexcept
    cdef void forget_places(self, int64_t from_position) noexcept
    cdef bint locate(self, int64_t offset, Walk* walk) except -1
    cdef int64_t position_of_end(self, int64_t end_offset) except -1
    cdef bint locate_timestamp(self, int64_t timestamp_ms, int64_t from_offset, Walk* walk) except -1
    cdef int walk_to_timestamp(self, int there, int64_t timestamp_ms, int64_t from_offset, Walk* walk) except -1 nogil
    cdef bint find_record(
        self, int64_t timestamp_ms, int64_t from_offset, const Walk* walk, int64_t* found_timestamp, int64_t* found_offset
    ) except -1
    cdef bint is_in_use_past(self, int64_t size) except -1
    cdef int cut(self, int64_t size) except -1
    cdef int64_t begin_scan(self, _Scan scan, int64_t from_position, int64_t file_size) except -1
# ---- frames -----------------------------------------------------------------------------------------------------------------

@cython.final
cdef class _Chunk:
    cdef unsigned char* data
    cdef Py_ssize_t capacity

@cython.final
cdef class Receiver:
    cdef _Chunk chunk
    cdef Py_ssize_t start               # [start, end) of the chunk waits to be given out
    cdef Py_ssize_t end
    cdef Py_ssize_t offered             # the room last exported
    cdef Py_ssize_t demand              # what a new chunk should hold, by what has arrived so far
    cdef int32_t max_frame_bytes
    cdef int make_room(self) except -1
    cdef void consumed(self, Py_ssize_t size)
    cdef void move_to_front(self) noexcept
    cdef Py_ssize_t frame_bytes(self, Py_ssize_t waiting) noexcept
