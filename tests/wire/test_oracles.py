"""Every message in every version against two other implementations, byte for byte and value for value.

A message drawn at random is encoded here, decoded by the other, compared value by value, encoded by the other, and must give the
same bytes; and those bytes are decoded here again. The quick tests take the last version of each message, the slow ones all.
"""

import datetime
import importlib
import inspect
import io
import warnings

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fastlog.wire import api
from fastlog.wire.compiler import Schema
from fastlog.wire.messages.api_versions import ApiVersionsResponse
from fastlog.wire.schema import ZERO_UUID, Message

QUICK = settings(
    derandomize=True,
    max_examples=2,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
FULL = settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))

DATA_MODULES = [
    "consumer_protocol_assignment",
    "consumer_protocol_subscription",
    "control_record_type_schema",
    "default_principal_data",
    "end_txn_marker",
    "k_raft_version_record",
    "leader_change_message",
    "request_header",
    "response_header",
    "snapshot_footer_record",
    "snapshot_header_record",
    "voters_record",
]


def all_messages():
    for row in api.APIS.values():
        yield row.request_class
        yield row.response_class
    for name in DATA_MODULES:
        module = importlib.import_module(f"fastlog.wire.messages.{name}")
        yield from (
            cls for cls in vars(module).values() if inspect.isclass(cls) and issubclass(cls, Message) and cls is not Message
        )


MESSAGES = list(all_messages())
EVERY_VERSION = [(cls, version) for cls in MESSAGES for version in range(cls.MIN_VERSION, cls.MAX_VERSION + 1)]
USED_MOST = {api.PRODUCE, api.FETCH, api.LIST_OFFSETS, api.METADATA, api.API_VERSIONS, api.CREATE_TOPICS, api.INIT_PRODUCER_ID}
LAST_VERSIONS = [(cls, cls.MAX_VERSION) for cls in MESSAGES]


def name_of(value):
    return value.__name__ if isinstance(value, type) else str(value)


def api_name(cls):
    return cls.__name__.removesuffix("Request").removesuffix("Response") if cls.API_KEY >= 0 else cls.__name__


# ---- kio ----


@pytest.fixture(scope="session")
def kio_class():
    """`kio_class(message_class, version)`, None for what kio does not have."""
    from pkgutil import resolve_name

    from kio.schema.index import schema_name_map
    from kio.static.constants import EntityType

    kinds = {"Request": EntityType.request, "Response": EntityType.response, "Header": EntityType.header}

    def find(cls, version, load=True):
        module = cls.__module__.rpartition(".")[2].replace("k_raft", "kraft")
        kind = next((kind for suffix, kind in kinds.items() if cls.__name__.endswith(suffix)), EntityType.data)
        path = schema_name_map.get(module, {}).get(version, {}).get(kind)
        return None if path is None else resolve_name(path) if load else path

    return find


@pytest.fixture(scope="session")
def kio_codec():
    from kio.serial import entity_reader, entity_writer

    def decode(cls, data):
        return entity_reader(cls)(data, 0)

    def encode(entity):
        out = io.BytesIO()
        entity_writer(type(entity))(out, entity)
        return out.getvalue()

    return decode, encode


@pytest.fixture(scope="session")
def kio_values():
    """Override what kio's types cannot hold: unknown error codes, times beyond datetime's, numbers that are not finite."""
    from kio.schema.errors import ErrorCode

    error_codes = st.sampled_from([code.value for code in ErrorCode])
    times = st.integers(0, 1 << 41)
    finite = st.floats(allow_nan=False, allow_infinity=False)

    def override(_, field):
        if field.type == "int16" and field.name.endswith("error_code"):
            return error_codes
        if field.type == "int64" and field.name.endswith("_ms"):
            return times
        return finite if field.type == "float64" else None

    return override


EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MILLISECOND = datetime.timedelta(milliseconds=1)


def from_kio(schema, struct_class, entity):
    """Return one of our structs with the values of kio's."""
    values = {}
    for field in struct_class.FIELDS:
        if schema.has(field):
            names = (field.name, f"{field.name}_", field.name.removesuffix("_ms"))  # kio renames `type`, `id` and durations
            name = next(name for name in names if hasattr(entity, name))
            values[field.name] = value_from_kio(schema, field, field.type, getattr(entity, name))
    return struct_class(**values)


def value_from_kio(schema, field, kind, value):
    if kind.startswith("[]"):
        return None if value is None else [value_from_kio(schema, field, kind[2:], element) for element in value]
    if kind == "uuid":
        return ZERO_UUID if value is None else value.bytes
    if kind == "int64" and isinstance(value, datetime.datetime):
        return (value - EPOCH) // MILLISECOND
    if isinstance(value, datetime.timedelta):
        return value // MILLISECOND
    if value is not None and schema.struct(kind) is not None:
        return from_kio(schema, schema.struct(kind), value)
    if kind == "int16" and hasattr(value, "value"):
        return value.value
    return value


def check_against_kio(data, messages_of, kio_class, kio_codec, kio_values, cls, version):
    theirs = kio_class(cls, version)
    if theirs is None:
        return False
    decode, encode = kio_codec
    message = data.draw(messages_of(cls, version, kio_values, 2))
    encoded = message.encode(version)
    entity, size = decode(theirs, encoded)
    assert size == len(encoded)
    assert from_kio(Schema(cls, version), cls, entity) == message
    assert encode(entity) == encoded
    assert cls.decode_from(encoded, version) == (message, len(encoded))
    return True


@pytest.mark.parametrize(("cls", "version"), LAST_VERSIONS, ids=name_of)
@given(data=st.data())
@QUICK
def test_kio(data, messages_of, kio_class, kio_codec, kio_values, cls, version):
    check_against_kio(data, messages_of, kio_class, kio_codec, kio_values, cls, version)


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "version"), EVERY_VERSION, ids=name_of)
@given(data=st.data())
@FULL
def test_kio_in_every_version(data, messages_of, kio_class, kio_codec, kio_values, cls, version):
    check_against_kio(data, messages_of, kio_class, kio_codec, kio_values, cls, version)


ENDED_WITH_3_9 = {
    "LeaderAndIsr",
    "StopReplica",
    "UpdateMetadata",
    "ControlledShutdown",
}  # tests/conformance/test_messages.py has these


def test_kio_has_all_of_4_3(kio_class):
    missing = {api_name(cls) for cls, version in EVERY_VERSION if kio_class(cls, version, load=False) is None}
    assert missing == ENDED_WITH_3_9 | {"KRaftVersionRecord"}


# ---- kafka-python ----


@pytest.fixture(scope="session")
def kafka_python_class():
    """`kafka_python_class(name)`, None for what kafka-python does not have."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # its own, on import
        from kafka.protocol import admin, consumer, metadata, producer, sasl
        from kafka.protocol.api_message import ApiMessage
    found = {}
    for module in (admin, consumer, metadata, producer, sasl):
        for name, value in vars(module).items():
            if inspect.isclass(value) and issubclass(value, ApiMessage) and value is not ApiMessage:
                found[name] = value
    return found.get


def kafka_python_values(struct_class, field):
    """Take no error in an ApiVersions answer: kafka-python reads that as version 0 whatever was asked for (KIP-511)."""
    return st.just(0) if struct_class is ApiVersionsResponse and field.name == "error_code" else None


def check_against_kafka_python(data, messages_of, kafka_python_class, cls, version):
    theirs = kafka_python_class(cls.__name__)
    if theirs is None or version > theirs.max_version:
        return
    message = data.draw(messages_of(cls, version, kafka_python_values, 2))
    encoded = message.encode(version)
    decoded = theirs.decode(encoded, version=version)
    decoded._header = None  # what their constructor sets, and their `encode` reads
    assert decoded.encode(version=version) == encoded
    assert_same_values(Schema(cls, version), cls, message, decoded)


def assert_same_values(schema, struct_class, ours, theirs):
    for field in struct_class.FIELDS:
        if not schema.has(field):
            continue
        value = getattr(ours, field.name)
        if field.name.endswith("authorized_operations") and hasattr(theirs, "authorized_operations"):
            # A set of bits there, under a shorter name; None for the sign bit alone.
            bits = theirs.authorized_operations
            assert value & 0xFFFFFFFF == sum(1 << bit for bit in ({31} if bits is None else bits))
            continue
        other = getattr(theirs, field.name)
        kind = field.type.removeprefix("[]")
        nested = schema.struct(kind)
        if kind == "uuid":
            value, other = as_uuids(value), as_uuids(other)
        if value is None or other is None:
            assert value is other
        elif nested is None:
            assert other == value, field.name
        elif kind == field.type:
            assert_same_values(schema, nested, value, other)
        else:
            assert len(value) == len(other)
            for one, another in zip(value, other, strict=True):
                assert_same_values(schema, nested, one, another)


def as_uuids(value):
    """Return bytes where they have a UUID, or None for the zero one; lists of them too."""
    if isinstance(value, list):
        return [as_uuids(element) for element in value]
    return ZERO_UUID if value is None else getattr(value, "bytes", value)


@pytest.mark.parametrize(("cls", "version"), [(c, v) for c, v in LAST_VERSIONS if c.API_KEY in USED_MOST], ids=name_of)
@given(data=st.data())
@QUICK
def test_kafka_python(data, messages_of, kafka_python_class, cls, version):
    check_against_kafka_python(data, messages_of, kafka_python_class, cls, version)


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "version"), EVERY_VERSION, ids=name_of)
@given(data=st.data())
@FULL
def test_kafka_python_in_every_version(data, messages_of, kafka_python_class, cls, version):
    check_against_kafka_python(data, messages_of, kafka_python_class, cls, version)


def test_kafka_python_has_most(kafka_python_class):
    assert len({name for cls in MESSAGES if kafka_python_class(name := cls.__name__)}) > 90
