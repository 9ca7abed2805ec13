# cython: language_level=3, wraparound=False, cdivision=True
"""The compiled core: bytes, offsets and files. The public surface and its documentation are in `_core.pyi`.

One extension built from included files, in reading order: each file is one noun and uses only those above it.
"""

include "native/bytes.pxi"
include "native/crc32c.pxi"
include "native/murmur2.pxi"
include "native/batch.pxi"
include "native/builder.pxi"
include "native/lines.pxi"
include "native/file.pxi"
include "native/resident.pxi"
include "native/region.pxi"
include "native/index.pxi"
include "native/producer_batches.pxi"
include "native/segment.pxi"
include "native/receiver.pxi"
include "native/hot_frames.pxi"
include "native/produce_run.pxi"
