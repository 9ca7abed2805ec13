"""Whatever the bytes: decoding gives a message or DecodeError, within memory that the size of the input bounds."""

import importlib
import inspect
import pkgutil
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastlog.errors import DecodeError
from fastlog.wire import messages
from fastlog.wire.compiler import Schema
from fastlog.wire.schema import Message

QUICK = settings(max_examples=200, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
FULL = settings(max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck))

INPUT_BYTES = 4096
MOST_BYTES_PER_BYTE = 160
"""An object with its lists takes that many bytes at most for each byte that stands for it on the wire."""


def all_messages():
    for module in pkgutil.iter_modules(messages.__path__):
        for value in vars(importlib.import_module(f"{messages.__name__}.{module.name}")).values():
            if inspect.isclass(value) and issubclass(value, Message) and value is not Message:
                yield value


MESSAGES = sorted(set(all_messages()), key=lambda cls: cls.__name__)
EVERY_VERSION = [(cls, version) for cls in MESSAGES for version in range(cls.MIN_VERSION, cls.MAX_VERSION + 1)]

FILLS = [b"\0", b"\1", b"\2", b"\x7f", b"\xff", b"\xff\xff\xff\xff\x07", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\0\0\0\2\0"]
GARBAGE = st.binary(max_size=200) | st.builds(
    lambda fill, size, tail: (fill * size)[:size] + tail, st.sampled_from(FILLS), st.integers(0, 300), st.binary(max_size=8)
)


def decode_or_refuse(cls, version, data):
    """Return the message, or None when it is refused as it should be."""
    try:
        message, end = cls.decode_from(data, version)
    except DecodeError as error:
        assert str(error).startswith(f"{cls.__name__} v{version}, byte ")
        return None
    assert 0 <= end <= len(data)
    return message


def check_damaged(data, messages_of, cls, version):
    """Damage the bytes of a message: what is still accepted must be a sound message, which encodes and decodes to itself."""
    sound = data.draw(messages_of(cls, version, most_elements=2)).encode(version)
    damaged = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        if data.draw(st.booleans()):
            damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4) | st.sampled_from(FILLS))
        else:
            del damaged[at:]
    message = decode_or_refuse(cls, version, bytes(damaged))
    if message is not None:
        again = cls.decode(message.encode(version), version)
        assert again == message or has_nan(message)


def has_nan(message):
    return "nan" in repr(message)


@given(data=st.data())
@QUICK
def test_garbage(data):
    cls, version = data.draw(st.sampled_from(EVERY_VERSION))
    decode_or_refuse(cls, version, data.draw(GARBAGE))


@given(data=st.data())
@settings(QUICK, max_examples=100)
def test_damaged_messages(data, messages_of):
    check_damaged(data, messages_of, *data.draw(st.sampled_from(EVERY_VERSION)))


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "version"), EVERY_VERSION, ids=str)
@given(data=st.data())
@FULL
def test_every_message_damaged(data, messages_of, cls, version):
    check_damaged(data, messages_of, cls, version)
    decode_or_refuse(cls, version, data.draw(GARBAGE))


def test_every_prefix_of_a_message_is_refused():
    for cls in MESSAGES:
        data = cls().encode(cls.MAX_VERSION) if "records" not in cls.__slots__ else b""
        for size in range(len(data)):
            assert decode_or_refuse(cls, cls.MAX_VERSION, data[:size]) is None, cls


@pytest.mark.parametrize("fill", FILLS, ids=bytes.hex)
def test_memory_is_bounded_by_the_input(fill):
    data = (fill * INPUT_BYTES)[:INPUT_BYTES]
    for cls in MESSAGES:
        decode_or_refuse(cls, cls.MAX_VERSION, b"")  # compile beforehand
        for prefix in (b"", data[:1] + bytes(3), bytes(7)):
            tracemalloc.start()
            try:
                decode_or_refuse(cls, cls.MAX_VERSION, prefix + data)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < INPUT_BYTES * MOST_BYTES_PER_BYTE, cls


def test_elements_of_arrays_are_never_empty():
    for cls, version in EVERY_VERSION:
        schema = Schema(cls, version)
        structs = [cls, *(value for value in vars(cls).values() if inspect.isclass(value))]
        for struct_class in structs:
            for field in struct_class.FIELDS:
                if schema.has(field) and field.type.startswith("[]"):
                    assert schema.least_size(field.type[2:]) >= 1, (cls, version, field.name)
