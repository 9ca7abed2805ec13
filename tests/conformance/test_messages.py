"""Every message in every version against Kafka's own classes: it reads our bytes, holds our values, and writes the same bytes."""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import os
import pathlib
import pkgutil

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fastlog.wire import messages
from fastlog.wire.compiler import Schema
from fastlog.wire.schema import Message

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

ENDED_WITH_3_9 = ("LeaderAndIsr", "StopReplica", "UpdateMetadata", "ControlledShutdown")
MESSAGES_PER_VERSION = 3


def all_messages():
    for module in pkgutil.iter_modules(messages.__path__):
        for value in vars(importlib.import_module(f"{messages.__name__}.{module.name}")).values():
            if inspect.isclass(value) and issubclass(value, Message) and value is not Message:
                yield value


def drawn(strategy):
    """Return some messages of a strategy, the same ones in every run."""
    found = []

    @settings(
        max_examples=MESSAGES_PER_VERSION,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(message):
        found.append(message)

    draw()
    return found


def java_name(cls):
    return f"{cls.__name__}Data" if cls.API_KEY >= 0 or cls.__name__.endswith("Header") else cls.__name__


def normal(name):
    return name.replace("_", "").lower()


def assert_json_has(schema, struct_class, message, tree):
    """Check that Kafka's JSON says what the message says.

    It leaves out tagged fields that have their default, and says nothing of records, which the bytes vouch for.
    """
    tree = {normal(name): value for name, value in tree.items()}
    defaults = struct_class()
    for field in struct_class.FIELDS:
        value = getattr(message, field.name)
        if field.type == "records":
            continue
        if normal(field.name) in tree:
            assert_value(schema, field.type, value, tree[normal(field.name)])
        else:
            assert value == getattr(defaults, field.name), field.name


def assert_value(schema, kind, value, node):
    nested = schema.struct(kind)
    if value is None:
        assert node is None
    elif kind.startswith("[]"):
        assert len(value) == len(node)
        for one, other in zip(value, node, strict=True):
            assert_value(schema, kind[2:], one, other)
    elif nested is not None:
        assert_json_has(schema, nested, value, node)
    elif kind == "uuid":
        assert base64.urlsafe_b64decode(node + "==") == value
    elif kind == "bytes":
        assert base64.b64decode(node) == value
    else:
        assert node == value


@pytest.fixture(scope="session")
def jars_of_3_9():
    root = pathlib.Path(__file__).parent.parent.parent
    found = list(
        pathlib.Path(os.environ.get("KAFKA_3_9_JARS", root / ".cache" / "kafka-3.9-jars")).glob("kafka-clients-3.9*.jar")
    )
    assert found, "no kafka-clients of 3.9: run `make conformance`"
    return found


@pytest.mark.parametrize("release", ["4.3", "3.9"])
def test_kafka_reads_and_writes_the_same(java, jars_of_3_9, messages_of, release):
    chosen = [cls for cls in all_messages() if cls.__name__.startswith(ENDED_WITH_3_9) == (release == "3.9")]
    sent = [
        (cls, version, message)
        for cls in chosen
        for version in range(cls.MIN_VERSION, cls.MAX_VERSION + 1)
        for message in drawn(messages_of(cls, version, most_elements=2))
    ]
    lines = [f"{java_name(cls)} {version} {message.encode(version).hex()}\n" for cls, version, message in sent]
    echoed = java.run("MessageEcho", input="".join(lines), first_jars=jars_of_3_9 if release == "3.9" else []).stdout.splitlines()
    assert len(echoed) == len(sent) >= 100
    for (cls, version, message), line in zip(sent, echoed, strict=True):
        echo, tree = line.split("\t", 1)
        assert bytes.fromhex(echo) == message.encode(version), (cls, version)
        assert_json_has(Schema(cls, version), cls, message, json.loads(tree))
