"""The table of options against Kafka's own, values good and bad, and where an error says it is."""

import pathlib

import pytest

from fastlog import config
from fastlog.config import OPTIONS, TOPIC_OPTIONS, Config, Setting, Source, parse_override, parse_topic_options, read_properties
from fastlog.errors import UsageError

# Printed by ci/KafkaOptions.java from Kafka 4.3.1: level, name, type, default, synonyms.
KAFKA = [line.split("\t") for line in (pathlib.Path(__file__).parent / "data/kafka_options.tsv").read_text().splitlines()]
KAFKA_BROKER = {name: (kind, default) for level, name, kind, default, _ in KAFKA if level == "broker"}
KAFKA_TOPIC = {name: (kind, default, synonyms.split(",")) for level, name, kind, default, synonyms in KAFKA if level == "topic"}

OWN_DEFAULTS = {  # each of them explained in the option's doc line
    "broker.id",
    "node.id",
    "listeners",
    "listener.security.protocol.map",
    "max.connections",
    "max.connections.per.ip",
    "queued.max.request.bytes",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "log.dir",
    "group.max.size",
    "offsets.topic.replication.factor",
}


def of(**options: str) -> Config:
    return Config(Setting(name.replace("_", "."), text, "-o") for name, text in options.items())


def error_of(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        Config([parse_override(text)])
    return str(caught.value)


# Kafka 3.9's, which Kafka 4 no longer has.
ZOOKEEPER = {
    "zookeeper.connect": ("string", "null"),
    "zookeeper.session.timeout.ms": ("int", "18000"),
    "zookeeper.connection.timeout.ms": ("int", "null"),
}


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_every_option_is_one_of_kafkas_with_its_type_and_default(option):
    kind, default = {**KAFKA_BROKER, **ZOOKEEPER}[option.name]
    own = {"log.dir": "string", "listener.security.protocol.map": "list"}
    assert option.kind == own.get(option.name, kind)
    if option.name not in OWN_DEFAULTS:
        assert (None if default == "null" else option.parse(default)) == option.default


def test_defaults_are_valid():
    for option in OPTIONS.values():
        if option.default is not None:
            text = ",".join(option.default) if isinstance(option.default, tuple) else str(option.default)
            assert option.parse(text) == option.default


@pytest.mark.parametrize("topic", TOPIC_OPTIONS)
def test_topic_options_stand_for_the_broker_options_that_kafka_says(topic):
    _, default, synonyms = KAFKA_TOPIC[topic]
    assert [option.name for option in TOPIC_OPTIONS[topic]] == synonyms
    assert Config().topic_defaults()[topic] == TOPIC_OPTIONS[topic][0].parse(default)


@pytest.mark.parametrize("name", sorted(set(KAFKA_BROKER) - set(OPTIONS)))
def test_options_of_kafka_that_are_not_honoured_are_refused_with_a_reason(name):
    assert error_of(f"{name}=1").startswith(f"-o: {name} is not honoured by fastlog: ")


@pytest.mark.parametrize("name", sorted(set(KAFKA_TOPIC) - set(TOPIC_OPTIONS)))
def test_topic_options_of_kafka_that_are_not_honoured_are_refused_with_a_reason(name):
    with pytest.raises(UsageError, match=f"^{name} (is not honoured by fastlog: |is a broker's option)"):
        parse_topic_options({name: "1"})


def test_no_option_is_honoured_and_refused():
    assert not [name for name in (*OPTIONS, *TOPIC_OPTIONS) if config.why_refused(name)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("num.partitons=3", "-o: unknown option 'num.partitons'; did you mean num.partitions?"),
        ("qwertyuiop=3", "-o: unknown option 'qwertyuiop'; remove it"),
        ("segment.bytes=3", "-o: segment.bytes is a topic's option; the broker's is log.segment.bytes"),
        ("num.partitions=three", "-o: num.partitions wants a whole number, not 'three'"),
        ("num.partitions=1_000", "-o: num.partitions wants a whole number, not '1_000'"),
        ("num.partitions=٣", "-o: num.partitions wants a whole number, not '٣'"),
        ("num.partitions=", "-o: num.partitions wants a whole number, not ''"),
        ("num.partitions=0", "-o: num.partitions wants at least 1, not 0"),
        ("num.partitions=2147483648", "-o: num.partitions wants at most 2147483647, not 2147483648"),
        ("log.roll.ms=1.5", "-o: log.roll.ms wants a whole number of ms, not '1.5'"),
        ("log.retention.bytes=-2", "-o: log.retention.bytes wants at least -1 bytes, not -2"),
        ("log.retention.ms=" + "9" * 19, "-o: log.retention.ms wants at most 9223372036854775807 ms, not 9999999999999999999"),
        ("delete.topic.enable=yes", "-o: delete.topic.enable wants true or false, not 'yes'"),
        ("log.dir=", "-o: log.dir must not be empty"),
        ("log.dirs=a,,b", "-o: log.dirs has an empty entry in 'a,,b'"),
        ("log.message.timestamp.type=Mine", "-o: log.message.timestamp.type wants CreateTime or LogAppendTime, not 'Mine'"),
        ("log.cleanup.policy=compact", "-o: log.cleanup.policy wants delete, not 'compact' (compaction is not built yet)"),
        (
            "unclean.leader.election.enable=true",
            "-o: unclean.leader.election.enable wants false, not 'true' (only replicas that are in sync are elected)",
        ),
        ("compression.gzip.level=0", "-o: compression.gzip.level has no 0: it wants -1 to 9 but that"),
        (
            "compression.type=none",
            "-o: compression.type wants producer or uncompressed or gzip or snappy or lz4 or zstd, not 'none'",
        ),
        ("listeners=127.0.0.1:9092", "-o: listeners wants NAME://HOST:PORT, not '127.0.0.1:9092'"),
        ("listeners=A://h:70000", "-o: listeners wants NAME://HOST:PORT, not 'A://h:70000'"),
        ("listeners=PLAINTEXT://::1:9092", "-o: listeners wants NAME://HOST:PORT, not 'PLAINTEXT://::1:9092'"),
        ("listeners=A://:9092", "-o: listeners names A; add A:PLAINTEXT to listener.security.protocol.map"),
        ("listeners=PLAINTEXT://:1,PLAINTEXT://:2", "-o: listeners names PLAINTEXT twice; give each listener a name of its own"),
        (
            "advertised.listeners=PLAINTEXT://:1",
            "-o: advertised.listeners must name a host that clients can reach, not 'PLAINTEXT://:1'",
        ),
        ("listener.security.protocol.map=A", "-o: listener.security.protocol.map wants NAME:PROTOCOL, not 'A'"),
        (
            "listener.security.protocol.map=A:TLS",
            "-o: listener.security.protocol.map names the protocol 'TLS'; PLAINTEXT is the only one as yet",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_that_says_which_where_and_what_to_do(text, message):
    assert error_of(text) == message


@pytest.mark.parametrize("text", ["", "name", "=value", " =value"])
def test_an_override_without_name_or_value_is_refused(text):
    with pytest.raises(UsageError, match=r"^-o wants NAME=VALUE, not "):
        parse_override(text)


def test_values_are_trimmed_as_kafka_does_and_may_hold_an_equals_sign():
    settings = [
        parse_override(" log.dir = /data/a=b "),
        parse_override("num.partitions= +7 "),
        parse_override("delete.topic.enable=FALSE"),
    ]
    read = Config(settings)
    assert (read.text("log.dir"), read.integer("num.partitions"), read.boolean("delete.topic.enable")) == ("/data/a=b", 7, False)
    assert read.where("log.dir") == "-o" and read.where("log.dirs") is None


def test_the_last_setting_of_a_name_wins():
    assert Config([Setting("num.partitions", "2", "f:1"), Setting("num.partitions", "3", "-o")]).integer("num.partitions") == 3


def test_broker_id_and_node_id_are_one():
    assert of(node_id="7").broker_id == 7
    assert of(broker_id="7")["node.id"] == 7
    assert of(broker_id="7", node_id="7").broker_id == 7
    with pytest.raises(UsageError, match=r"^-o: node.id is 8 but broker.id is 7; set one of them$"):
        of(broker_id="7", node_id="8")


def test_log_dirs_goes_before_log_dir():
    assert Config().log_directories == ("fastlog-data",)
    assert of(log_dir="/a").log_directories == ("/a",)
    assert of(log_dir="/a", log_dirs="/b, /c").log_directories == ("/b", "/c")


def test_the_finest_unit_that_is_set_wins():
    assert Config().topic_defaults()["retention.ms"] == 168 * 3_600_000
    assert of(log_retention_hours="1", log_retention_minutes="5").topic_defaults()["retention.ms"] == 300_000
    assert of(log_retention_ms="9", log_retention_minutes="5").topic_defaults()["retention.ms"] == 9
    assert of(log_retention_hours="-1").topic_defaults()["retention.ms"] == -1
    assert of(log_roll_hours="2").topic_defaults()["segment.ms"] == 7_200_000
    assert of(log_flush_scheduler_interval_ms="50").topic_defaults()["flush.ms"] == 50


def test_dynamic_options_stand_over_the_files():
    static = of(log_retention_ms="1", log_retention_hours="2", num_partitions="4")
    read = static.with_dynamic({"log.retention.ms": "3", "max.connections": " 9 "}, {"log.retention.ms": "5"})
    assert (read["log.retention.ms"], read["max.connections"], read["num.partitions"]) == (5, 9, 4)
    assert read.said("log.retention.ms") == [(Source.BROKER, "5"), (Source.CLUSTER, "3"), (Source.STATIC, "1")]
    assert read.said("num.partitions") == [(Source.STATIC, "4"), (Source.DEFAULT, "1")]
    assert read.with_dynamic({}, {})["log.retention.ms"] == 1
    for wrong, message in (
        (
            {"num.partitions": "3"},
            "num.partitions cannot be changed while a broker runs; set it in its file or by -o and start it again",
        ),
        ({"log.retention.ms": "x"}, "log.retention.ms wants a whole number of ms, not 'x'"),
        (
            {"zookeeper.set.acl": "true"},
            "zookeeper.set.acl is not honoured by fastlog: connections to the coordinator have neither TLS nor ACLs yet, "
            "and need no tuning; remove it",
        ),
        ({"retention.ms": "1"}, "retention.ms is a topic's option; the broker's is log.retention.ms"),
    ):
        for layers in ((wrong, {}), ({}, wrong)):
            with pytest.raises(UsageError) as caught:
                static.with_dynamic(*layers)
            assert str(caught.value) == message


def test_options_are_dynamic_where_kafkas_are():
    # As Kafka 4.3.1's DescribeConfigs tells them, listeners and their protocols excepted.
    dynamic = {name for name, option in OPTIONS.items() if option.dynamic != "no"}
    assert dynamic == {
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "log.cleanup.policy",
        "log.flush.interval.messages",
        "log.flush.interval.ms",
        "log.index.interval.bytes",
        "log.index.size.max.bytes",
        "log.message.timestamp.after.max.ms",
        "log.message.timestamp.before.max.ms",
        "log.message.timestamp.type",
        "log.preallocate",
        "log.retention.bytes",
        "log.retention.ms",
        "log.roll.jitter.ms",
        "log.roll.ms",
        "log.segment.bytes",
        "log.segment.delete.delay.ms",
        "max.connections",
        "max.connections.per.ip",
        "message.max.bytes",
        "min.insync.replicas",
        "producer.id.expiration.ms",
        "unclean.leader.election.enable",
    }


def test_what_is_chosen_twice_is_chosen_once():
    assert of(log_cleanup_policy="delete, delete")["log.cleanup.policy"] == ("delete",)
    assert of(log_cleanup_policy="")["log.cleanup.policy"] == ()


def test_listeners_of_every_form():
    read = of(
        listeners="plaintext://[::1]:0, LAN://:9094",
        advertised_listeners="LAN://broker.example:9094",
        listener_security_protocol_map="LAN:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL",
    )
    assert [str(listener) for listener in read.listeners] == ["PLAINTEXT://[::1]:0", "LAN://:9094"]
    assert [str(listener) for listener in read.advertised_listeners] == ["PLAINTEXT://[::1]:0", "LAN://broker.example:9094"]
    with pytest.raises(UsageError, match=r"^-o: advertised.listeners names LAN, which is not in listeners$"):
        of(advertised_listeners="LAN://h:1", listener_security_protocol_map="LAN:PLAINTEXT,PLAINTEXT:PLAINTEXT")


def test_topic_options():
    assert parse_topic_options({"retention.ms": "-1", "segment.bytes": "4096"}) == {"retention.ms": -1, "segment.bytes": 4096}
    for name, text, message in (
        ("retention.mss", "1", "unknown topic option 'retention.mss'; did you mean retention.ms?"),
        ("retention.ms", "-2", "retention.ms wants at least -1 ms, not -2"),
        ("log.segment.bytes", "9", "log.segment.bytes is a broker's option; a topic's is segment.bytes"),
        ("num.partitions", "9", "num.partitions is a broker's option; topics have no such option"),
        ("cleanup.policy", "compact", "cleanup.policy wants delete, not 'compact' (compaction is not built yet)"),
    ):
        with pytest.raises(UsageError) as caught:
            parse_topic_options({name: text})
        assert str(caught.value) == message


def test_a_file_is_read_and_its_mistakes_carry_their_line(tmp_path):
    path = tmp_path / "server.properties"
    path.write_text("# a broker\nbroker.id=3\n\nlog.dirs=/a,\\\n  /b\nnum.partitons=2\n")
    settings = read_properties(str(path))
    assert Config(settings[:2]).log_directories == ("/a", "/b")
    with pytest.raises(UsageError, match=rf"^{path}:6: unknown option 'num.partitons'; did you mean num.partitions\?$"):
        Config(settings)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"none: cannot be read: No such file or directory$"):
        read_properties(str(tmp_path / "none"))
    (tmp_path / "latin").write_bytes(b"a=\xe4")
    with pytest.raises(UsageError, match=r"latin: byte 2 is not UTF-8; save the file as UTF-8$"):
        read_properties(str(tmp_path / "latin"))


def test_where_the_coordinator_is():
    assert Config().coordinator is None
    connect = {"zookeeper.connect": "zk1:2181, [::1]:2182,10.0.0.3:2183/kafka/a"}
    address = Config(Setting(name, text, "-o") for name, text in connect.items()).coordinator
    assert address.servers == (("zk1", 2181), ("::1", 2182), ("10.0.0.3", 2183))
    assert address.root == "/kafka/a"
    for text in ("zk1:2181", "zk1:2181/"):
        assert Config([Setting("zookeeper.connect", text, "-o")]).coordinator == ((("zk1", 2181),), "")


@pytest.mark.parametrize(
    "text", ["zk1", "zk1:", ":2181", "zk1:0", "zk1:65536", "zk1:x", "zk1:1,,zk2:2", "zk1:1//a", "zk1:1/a/", "zk1:1/.."]
)
def test_a_coordinator_that_is_none(text):
    with pytest.raises(UsageError) as caught:
        Config([Setting("zookeeper.connect", text, "server.properties:3")])
    assert str(caught.value) == f"server.properties:3: zookeeper.connect wants HOST:PORT[,HOST:PORT...][/ROOT], not {text!r}"
    with pytest.raises(UsageError, match=r"^--coordinator wants HOST:PORT"):
        Config([Setting("zookeeper.connect", text, "--coordinator")])
