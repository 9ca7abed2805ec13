"""Run by test_outside.py with the installed package and the built module on the path: silent when all is as it should be."""

import os
import sys

import outside

from fastlog import _core

directory = sys.argv[1]
assert _core.__file__.startswith(directory), _core.__file__

keys = [b"", b"21", b"foobar", "日本語".encode()]
assert outside.hashes(keys) == [(_core.murmur2(key), _core.partition_for_key(key, 12), _core.crc32c(key)) for key in keys]
assert outside.hashes([b"foobar"])[0][0] == -790332482

builder = _core.BatchBuilder()
for i in range(3):
    builder.append(i, None, b"value")
batches = bytearray(builder.build() * 4)
assert outside.renumber(batches, 100, 7) == 112
assert [(batch.base_offset, batch.leader_epoch) for batch in _core.scan(batches)] == [(100, 7), (103, 7), (106, 7), (109, 7)]

path = os.path.join(directory, "some.log")
file = outside.CountingFile(path, os.open(path, os.O_RDWR | os.O_CREAT))
assert file.pwritev([batches, b"torn"], 0) == len(batches) + 4
assert file.writes == 1
assert isinstance(file, _core.File)
assert outside.count_records(file) == (12, len(batches))
file.close()
