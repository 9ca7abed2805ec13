"""The server's side of the wire protocol, against the client's side here and against kazoo's."""

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kazoo.protocol import serialization
from kazoo.security import OPEN_ACL_UNSAFE

from fastlog.coordinator import errors, protocol, requests
from fastlog.coordinator.acl import OPEN_ACL, Entry
from fastlog.coordinator.jute import JuteError, Reader
from fastlog.coordinator.protocol import Op
from fastlog.coordinator.tree import Check, Create, Created, Delete, SetAcl, SetData, Stat
from fastlog.coordinator.watches import EventType, WatchEvent

STAT = Stat(1, 2, 3, 4, 5, -6, 7, -(1 << 63), 9, 10, 11)


def heard(request):
    """Return what the server hears of a request of kazoo's."""
    data = struct.pack(">ii", 7, request.type) + bytes(request.serialize())
    assert protocol.decode_head(data) == (7, request.type)
    return protocol.decode_request(data, request.type)


def body_of(frame, xid=7, zxid=9, error=0):
    assert struct.unpack(">iiqi", frame[:20]) == (len(frame) - 4, xid, zxid, error)
    return frame[20:]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (serialization.GetData("/a", True), protocol.GetData("/a", True)),
        (serialization.Exists("/ä", False), protocol.Exists("/ä", False)),
        (serialization.GetChildren("/a", True), protocol.GetChildren("/a", True, False)),
        (serialization.GetChildren2("/a", False), protocol.GetChildren("/a", False, True)),
        (serialization.GetACL("/a"), protocol.GetAcl("/a")),
        (serialization.Sync("/a"), protocol.Sync("/a")),
        (serialization.Auth(0, "digest", "u:p"), protocol.Auth("digest", b"u:p")),
        (serialization.Delete("/a", 3), protocol.Write((Delete("/a", 3),), (Op.DELETE,), False)),
        (
            serialization.Create("/a", b"x", OPEN_ACL_UNSAFE, 3),
            protocol.Write((Create("/a", b"x", True, True, OPEN_ACL),), (Op.CREATE,), False),
        ),
        (
            serialization.Create2("/a", b"", OPEN_ACL_UNSAFE, 0),
            protocol.Write((Create("/a", b"", False, False, OPEN_ACL),), (Op.CREATE2,), False),
        ),
        (
            serialization.Transaction(
                [serialization.CheckVersion("/a", 1), serialization.SetData("/a", b"2", 1), serialization.Delete("/b", -1)]
            ),
            protocol.Write((Check("/a", 1), SetData("/a", b"2", 1), Delete("/b", -1)), (Op.CHECK, Op.SET_DATA, Op.DELETE), True),
        ),
    ],
)
def test_hears_what_kazoo_says(request_, expected):
    assert heard(request_) == expected


@pytest.mark.parametrize(
    ("mode", "op", "ttl_ms", "expected"),
    [
        (0, Op.CREATE, None, Create("/a")),
        (1, Op.CREATE2, None, Create("/a", ephemeral=True)),
        (2, Op.CREATE2, None, Create("/a", sequential=True)),
        (4, Op.CREATE_CONTAINER, None, Create("/a", container=True)),
        (5, Op.CREATE_TTL, 1000, Create("/a", ttl_ms=1000)),
        (6, Op.CREATE_TTL, 1000, Create("/a", sequential=True, ttl_ms=1000)),
        (5, Op.CREATE_TTL, 0, Create("/a", ttl_ms=-1)),
        (5, Op.CREATE2, None, Create("/a", ttl_ms=-1)),
        (0, Op.CREATE_TTL, 5, Create("/a", ttl_ms=-1)),
        (7, Op.CREATE, None, Create("/a", ttl_ms=-1)),
        (4, Op.CREATE, None, Create("/a")),
        (0, Op.CREATE_TTL, -1, Create("/a", ttl_ms=-1)),
        (1, Op.CREATE_CONTAINER, None, Create("/a", container=True)),
        (3, Op.CREATE_CONTAINER, None, Create("/a", sequential=True, container=True)),
    ],
)
def test_modes_of_creation(mode, op, ttl_ms, expected):
    data = struct.pack(">ii", 1, op) + creation(mode, ttl_ms)
    assert protocol.decode_request(data, op) == protocol.Write((expected,), (op,), False)


def creation(mode, ttl_ms):
    body = struct.pack(">i2sii", 2, b"/a", 0, 1) + struct.pack(">ii5si6si", 31, 5, b"world", 6, b"anyone", mode)
    return body if ttl_ms is None else body + struct.pack(">q", ttl_ms)


@pytest.mark.parametrize(
    ("mode", "op", "ttl_ms", "expected", "answered"),
    [
        (1, Op.CREATE, None, Create("/a", ephemeral=True), Op.CREATE),
        (1, Op.CREATE2, None, Create("/a", ephemeral=True), Op.CREATE2),
        (4, Op.CREATE_CONTAINER, None, Create("/a", container=True), Op.CREATE2),
        (4, Op.CREATE, None, Create("/a", container=True), Op.CREATE2),
        (5, Op.CREATE_TTL, 7, Create("/a", ttl_ms=7), Op.CREATE2),
        (7, Op.CREATE_TTL, 7, Create("/a", ttl_ms=-1), Op.CREATE2),
        (5, Op.CREATE, None, None, None),
        (-1, Op.CREATE2, None, None, None),
    ],
)
def test_modes_of_creation_in_a_multi(mode, op, ttl_ms, expected, answered):
    """As a real ZooKeeper 3.9.3 takes them, and as it calls their results: Java's client knows no others."""
    data = struct.pack(">iii?i", 1, Op.MULTI, op, False, -1) + creation(mode, ttl_ms) + struct.pack(">i?i", -1, True, -1)
    if expected is None:
        with pytest.raises(JuteError):
            protocol.decode_request(data, Op.MULTI)
    else:
        assert protocol.decode_request(data, Op.MULTI) == protocol.Write((expected,), (answered,), True)


def test_questions_together():
    parts = [struct.pack(">i?ii2s?", op, False, -1, 2, b"/a", False) for op in (Op.GET_DATA, Op.GET_CHILDREN)]
    data = struct.pack(">ii", 1, Op.MULTI_READ) + b"".join(parts) + struct.pack(">i?i", -1, True, -1)
    expected = protocol.MultiRead((protocol.GetData("/a", False), protocol.GetChildren("/a", False, False)))
    assert protocol.decode_request(data, Op.MULTI_READ) == expected
    answers = protocol.encode_multi_read([(Op.GET_DATA, b"body", 0), (Op.GET_CHILDREN, b"", -101)])
    head, error = struct.pack(">i?i", 4, False, 0), struct.pack(">i?ii", -1, False, -101, -101)
    assert answers == head + b"body" + error + struct.pack(">i?i", -1, True, -1)


@pytest.mark.parametrize(
    ("op", "body", "expected"),
    [
        (Op.ADD_WATCH, struct.pack(">i2si", 2, b"/a", 1), protocol.AddWatch("/a", 1)),
        (Op.REMOVE_WATCHES, struct.pack(">i2si", 2, b"/a", 3), protocol.RemoveWatches("/a", 3)),
        (Op.CHECK_WATCHES, struct.pack(">i2si", 2, b"/a", 2), protocol.CheckWatches("/a", 2)),
        (Op.GET_EPHEMERALS, struct.pack(">i2s", 2, b"/a"), protocol.GetEphemerals("/a")),
        (Op.GET_ALL_CHILDREN_NUMBER, struct.pack(">i2s", 2, b"/a"), protocol.CountBelow("/a")),
        (Op.WHO_AM_I, b"", protocol.WhoAmI()),
        (
            Op.SET_WATCHES2,
            struct.pack(">qiii2siiii2s", 9, 0, 1, 2, b"/a", 0, -1, 1, 2, b"/b"),
            protocol.SetWatches(9, [], ["/a"], [], [], ["/b"]),
        ),
    ],
)
def test_requests_that_kazoo_has_not(op, body, expected):
    assert protocol.decode_request(bytes(8) + body, op) == expected


def test_kazoo_reads_what_is_answered():
    def body(request, data):
        return request.deserialize(body_of(protocol.encode_answer(7, 9, data)), 0)

    data, stat = body(serialization.GetData("/a", None), protocol.encode_buffer(b"data") + protocol.encode_stat(STAT))
    assert (data, tuple(stat)) == (b"data", tuple(STAT))
    assert body(serialization.GetChildren("/a", None), protocol.encode_strings(["b", "ü"])) == ["b", "ü"]
    acl, stat = body(serialization.GetACL("/a"), protocol.encode_acl(OPEN_ACL) + protocol.encode_stat(STAT))
    assert (acl, tuple(stat)) == (OPEN_ACL_UNSAFE, tuple(STAT))
    write = protocol.Write((Create("/a"), SetData("/a", b""), Check("/a")), (Op.CREATE, Op.SET_DATA, Op.CHECK), True)
    results = [Created("/a", STAT), STAT, None]
    transaction = serialization.Transaction([])
    assert [
        tuple(one) if isinstance(one, tuple) else one for one in body(transaction, protocol.encode_results(write, results))
    ] == ["/a", tuple(STAT), True]
    failed = body(transaction, protocol.encode_failed_multi([0, -103, -2]))
    assert [type(one).__name__ for one in failed] == ["RolledBackError", "BadVersionError", "RuntimeInconsistency"]


@pytest.mark.parametrize(
    "operation",
    [
        Create("/a", None, ephemeral=True, sequential=True),
        Create("/a", b"x", acl=(Entry(1, "ip", "::1"),), container=True),
        Create("/a", b"x", sequential=True, ttl_ms=7),
        Delete("/a", 1),
        SetData("/a", None, 2),
        SetAcl("/a", OPEN_ACL, 3),
        Check("/a", 4),
    ],
)
def test_hears_and_answers_the_client_here(operation):
    answers_the_client_here((operation,))


def test_hears_and_answers_the_client_here_in_a_multi():
    answers_the_client_here((Create("/a", container=True), Create("/b", ttl_ms=7), Create("/c"), Delete("/a")))


def answers_the_client_here(operations):
    asked = requests.Write(operations)
    data = requests.encode_request(7, asked)
    xid, op = protocol.decode_head(data)
    write = protocol.decode_request(data, op)
    assert isinstance(write, protocol.Write)
    assert (xid, write.operations) == (7, operations)
    assert write.is_multi == (len(operations) > 1 or isinstance(operations[0], Check))
    results = [{Create: Created("/a", STAT), SetData: STAT, SetAcl: STAT}.get(type(operation)) for operation in operations]
    fields = Reader(body_of(protocol.encode_answer(7, 9, protocol.encode_results(write, results))))
    assert requests.decode_answer(asked, 0, fields) == results
    assert fields.remaining == 0


def test_an_event_as_the_client_hears_it():
    fields = Reader(protocol.encode_event(WatchEvent(EventType.CHILDREN_CHANGED, "/ä"), 7), 4)
    assert requests.decode_head(fields).xid == requests.EVENT_XID
    assert requests.decode_event(fields) == WatchEvent(EventType.CHILDREN_CHANGED, "/ä")


@pytest.mark.parametrize("knows", [True, False])
def test_the_connect_record_of_new_and_old_clients(knows):
    data = requests.encode_connect(5, 4000, 6, b"p" * 16)
    connect = protocol.decode_connect(data if knows else data[:-1])
    assert connect == protocol.Connect(5, 4000, 6, b"p" * 16, knows)
    answer = protocol.encode_connect_answer(connect, 4000, 6, b"p" * 16)
    assert len(answer) == 4 + struct.unpack(">i", answer[:4])[0]
    assert requests.decode_connect_answer(answer[4:]) == requests.ConnectAnswer(4000, 6, b"p" * 16)


def test_what_is_no_request():
    with pytest.raises(JuteError):
        protocol.decode_head(b"1234567")
    for op in (20, 99, 0, 10_000, -12):
        with pytest.raises(errors.Unimplemented):
            protocol.decode_request(bytes(8), op)
    with pytest.raises(JuteError):  # a part of a multi that is none
        protocol.decode_request(bytes(8) + struct.pack(">i?i", 3, False, -1), Op.MULTI)


@settings(deadline=None)
@given(st.sampled_from(list(Op)), st.binary(max_size=60))
def test_any_bytes_are_a_request_or_an_error(op, data):
    with contextlib.suppress(JuteError, errors.Unimplemented):
        protocol.decode_request(bytes(8) + data, op)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_connect_record_or_an_error(data):
    try:
        connect = protocol.decode_connect(data)
    except JuteError:
        return
    assert len(connect.password) <= len(data)
