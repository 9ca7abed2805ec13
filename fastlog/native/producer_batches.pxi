# What producers appended to a segment, as a scan gathers it for the producer state: of each producer what a replay needs, no more.
#
# A segment of 1 GiB may hold 15 million batches. The state remembers a producer's last five, and where its open transaction began;
# so whenever enough batches were gathered, those that a replay in order would forget again are dropped. Kept are, of each producer:
#
#   * its last PRODUCER_BATCHES_KEPT data batches, as far back as its epoch stays the same;
#   * its last control batch, which gives the epoch and ends the transaction before it;
#   * the first transactional batch behind that one: where the open transaction began.
#
# Producers beyond the PRODUCERS_MOST that appended last are left out, those with an open transaction excepted. Epochs of a producer
# only grow, so replaying what is kept gives the state that all of it would give; `storage.producer_state` has the same numbers.

cdef enum:
    PRODUCER_BATCHES_KEPT = 5
    PRODUCERS_MOST = 1 << 15
    PRUNE_LEAST_BATCHES = 1 << 16       # below that nothing is dropped before the end
    PRODUCER_ENDED = 1                  # flags of a `SeenProducer`: what is older is of another epoch
    PRODUCER_MARKED = 2                 # ... its last control batch was seen
    PRODUCER_LEFT_OUT = 4

cdef struct SeenProducer:
    int64_t producer_id
    int64_t transaction_first           # number of the batch that is kept only as an open transaction's first, -1: none
    int32_t kept                        # data batches
    int16_t epoch                       # of its newest batch
    int8_t flags
    int8_t is_used


cdef class RecoveredBatch:
    """What recovery saw of one batch with a producer id; see `_core.pyi`."""

    @staticmethod
    cdef RecoveredBatch create(const ProducerBatch* batch):
        cdef RecoveredBatch made = RecoveredBatch.__new__(RecoveredBatch)
        made.producer_id = batch.producer_id
        made.producer_epoch = batch.producer_epoch
        made.base_sequence = batch.base_sequence
        made.last_sequence = (
            -1 if batch.base_sequence < 0 else advance_sequence(batch.base_sequence, <int32_t>(batch.last_offset - batch.base_offset))
        )
        made.base_offset = batch.base_offset
        made.last_offset = batch.last_offset
        made.max_timestamp_ms = batch.max_timestamp_ms
        made.is_transactional = batch.attributes & TRANSACTIONAL_BIT != 0
        made.is_control = batch.attributes & CONTROL_BIT != 0
        return made

    def __repr__(self):
        return (
            f"<RecoveredBatch producer {self.producer_id}/{self.producer_epoch} sequences {self.base_sequence}..{self.last_sequence}"
            f" offsets {self.base_offset}..{self.last_offset}>"
        )


# ---- arrays that grow without the GIL -------------------------------------------------------------------------------------------

cdef char* grow(Growing* array, int64_t more) noexcept nogil:
    """Return room for `more` bytes behind what the array has, counted as used; NULL when there is no memory."""
    cdef int64_t capacity
    cdef char* memory
    if array.size + more > array.capacity:
        capacity = max(array.capacity * 2, array.size + more, <int64_t>1024)
        memory = <char*>PyMem_RawRealloc(array.memory, <size_t>capacity)
        if memory == NULL:
            return NULL
        array.memory = memory
        array.capacity = capacity
    array.size += more
    return array.memory + array.size - more


# ---- what is gathered ---------------------------------------------------------------------------------------------------------

cdef int note_producer(ProducerBatches* batches, const BatchHeader* header) noexcept nogil:
    """Take note of a batch; -1 when there is no memory."""
    cdef ProducerBatch* batch
    if header.producer_id < 0:
        return 0
    if batches.array.size >= batches.prune_at_bytes:
        if prune_producers(&batches.array) < 0:
            return -1
        batches.prune_at_bytes = max(2 * batches.array.size, PRUNE_LEAST_BATCHES * <int64_t>sizeof(ProducerBatch))
    batch = <ProducerBatch*>grow(&batches.array, sizeof(ProducerBatch))
    if batch == NULL:
        return -1
    batch.producer_id = header.producer_id
    batch.base_offset = header.base_offset
    batch.last_offset = header.base_offset + header.last_offset_delta
    batch.max_timestamp_ms = header.max_timestamp_ms
    batch.base_sequence = header.base_sequence
    batch.producer_epoch = header.producer_epoch
    batch.attributes = header.attributes
    return 0


cdef int prune_producers(Growing* array) noexcept nogil:
    """Drop what a replay would forget, keeping the order; -1 when there is no memory."""
    cdef ProducerBatch* batches = <ProducerBatch*>array.memory
    cdef int64_t count = array.size // <int64_t>sizeof(ProducerBatch)
    cdef int64_t slots = 16
    cdef int64_t producers = 0
    cdef int64_t i
    cdef int64_t kept = 0
    cdef SeenProducer* seen
    cdef SeenProducer* table
    if count == 0:
        return 0
    while slots < 2 * count:
        slots *= 2
    table = <SeenProducer*>PyMem_RawCalloc(<size_t>slots, sizeof(SeenProducer))
    if table == NULL:
        return -1
    for i in range(count - 1, -1, -1):
        seen = seen_producer(table, slots, batches[i].producer_id)
        if not seen.is_used:
            seen.is_used = True
            seen.producer_id = batches[i].producer_id
            seen.epoch = batches[i].producer_epoch
            seen.transaction_first = -1
            if batches[i].attributes & (TRANSACTIONAL_BIT | CONTROL_BIT) != TRANSACTIONAL_BIT:
                producers += 1
                if producers > PRODUCERS_MOST:
                    seen.flags = PRODUCER_LEFT_OUT
        if not keeps_batch(seen, batches, i):
            batches[i].producer_id = -1
    PyMem_RawFree(table)
    for i in range(count):
        if batches[i].producer_id >= 0:
            batches[kept] = batches[i]
            kept += 1
    array.size = kept * <int64_t>sizeof(ProducerBatch)
    return 0


cdef bint keeps_batch(SeenProducer* seen, ProducerBatch* batches, int64_t number) noexcept nogil:
    """Tell whether a batch is kept, given what came behind it; may drop one that was kept."""
    cdef ProducerBatch* batch = &batches[number]
    if seen.flags & PRODUCER_LEFT_OUT:
        return False
    if batch.producer_epoch != seen.epoch:
        seen.flags |= PRODUCER_ENDED
    if batch.attributes & CONTROL_BIT:
        if seen.flags & PRODUCER_MARKED:
            return False
        seen.flags |= PRODUCER_MARKED
        return True
    if not seen.flags & PRODUCER_ENDED and seen.kept < PRODUCER_BATCHES_KEPT:
        seen.kept += 1
        return True
    if seen.flags & PRODUCER_MARKED or not batch.attributes & TRANSACTIONAL_BIT:
        return False
    if seen.transaction_first >= 0:
        batches[seen.transaction_first].producer_id = -1
    seen.transaction_first = number
    return True


cdef SeenProducer* seen_producer(SeenProducer* table, int64_t slots, int64_t producer_id) noexcept nogil:
    """Return a producer's slot, or the empty one that it gets. There are twice as many slots as producers."""
    cdef uint64_t at = (<uint64_t>producer_id * <uint64_t>0x9E3779B97F4A7C15ULL) >> 20
    while True:
        at &= <uint64_t>slots - 1
        if not table[at].is_used or table[at].producer_id == producer_id:
            return &table[at]
        at += 1


cdef list recovered_batches(ProducerBatches* batches):
    cdef int64_t i
    if prune_producers(&batches.array) < 0:
        raise MemoryError
    return [
        RecoveredBatch.create(<const ProducerBatch*>batches.array.memory + i)
        for i in range(batches.array.size // <int64_t>sizeof(ProducerBatch))
    ]
