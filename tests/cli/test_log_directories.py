"""A broker with several log directories, one of which cannot be read: what is in it waits there, all else goes on. And one whose
coordinator knows less than its log directories.
"""

import shutil
import signal

import pytest

from fastlog.client.blocking import Client
from fastlog.errors import KafkaStorageError

TOPICS = "abcd"
FIRST_SEGMENT = "00000000000000000000.log"


@pytest.fixture
def start(program, tmp_path):
    """Start a broker over the directories `one` and `two`; return its process and where it is reached."""
    config = tmp_path / "server.properties"

    def start_one(*directories, **more):
        options = {
            "broker.id": 1,
            "listeners": "PLAINTEXT://127.0.0.1:0",
            "log.dirs": ",".join(f"{tmp_path}/{name}" for name in directories or ("one", "two")),
            **{name.replace("_", "."): value for name, value in more.items()},
        }
        config.write_text("".join(f"{name}={value}\n" for name, value in options.items()))
        process = program("broker", "--config", config)
        line = process.stdout.readline().decode()
        if not line:
            _, err = process.communicate(timeout=60)
            return process.returncode, err.decode()
        fields = dict(field.split("=", 1) for field in line.split()[1:])
        return process, fields["bootstrap"]

    return start_one


def end(process):
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return err.decode()


def values(client, topic):
    with client.consumer([(topic, 0)]) as consumer:
        return [record.value for record in consumer.records(stop_at_end=True)]


def partitions_in(directory):
    return sorted(path.name for path in directory.glob("?-0"))


def delete(client, topic):
    client.wait(client.admin().delete_topic(topic))


def test_what_is_in_a_directory_that_cannot_be_read_waits_there(start, tmp_path):
    process, bootstrap = start()
    with Client(bootstrap) as client, client.producer() as producer:
        for topic in TOPICS:
            producer.send(topic, topic.encode(), partition=0)
            producer.flush()
    end(process)
    one, two = (partitions_in(tmp_path / name) for name in ("one", "two"))
    assert (one, two) == (["a-0", "c-0"], ["b-0", "d-0"])
    segment = tmp_path / "two/b-0" / FIRST_SEGMENT
    segment.rename(tmp_path / "kept")
    segment.mkdir()

    process, bootstrap = start()
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ac"] == [[b"a"], [b"c"]]
        with pytest.raises(KafkaStorageError):
            delete(client, "b")
        delete(client, "a")
        with client.producer() as producer:
            producer.send("new", b"new", partition=0)
            producer.flush()
        assert values(client, "new") == [b"new"]
    told = end(process)
    assert "2 partitions are not available" in told and told.count("topic b cannot be deleted now") == 1, told
    assert (tmp_path / "one/new-0").is_dir()
    assert (partitions_in(tmp_path / "one"), partitions_in(tmp_path / "two")) == (["c-0"], two)

    segment.rmdir()
    (tmp_path / "kept").rename(segment)
    process, bootstrap = start()
    with Client(bootstrap) as client:
        assert values(client, "d") == [b"d"]
        assert sorted(topic.name for topic in client.wait(client.admin().topics())) == ["c", "d", "new"]
    end(process)
    assert partitions_in(tmp_path / "two") == ["d-0"]


def test_nobody_gets_a_producer_id_that_a_log_has_records_under(start, tmp_path):
    for value in (b"first", b"second"):
        process, bootstrap = start()
        with Client(bootstrap) as client, client.producer(idempotent=True) as producer:
            producer.send("a", value, partition=0)
            producer.flush()
        end(process)
        shutil.rmtree(tmp_path / "coordinator")
    process, bootstrap = start()
    with Client(bootstrap) as client:
        assert values(client, "a") == [b"first", b"second"], "taken for a repetition"
    end(process)


def test_a_directory_that_cannot_even_be_locked_keeps_the_others_from_nothing(start, tmp_path):
    process, bootstrap = start()
    with Client(bootstrap) as client, client.producer() as producer:
        for topic in "ab":
            producer.send(topic, topic.encode(), partition=0)
            producer.flush()
    end(process)
    (tmp_path / "two").rename(tmp_path / "kept")
    (tmp_path / "two").touch()

    process, bootstrap = start()
    with Client(bootstrap) as client:
        assert values(client, "a") == [b"a"]
    assert "b-0 may be where nobody can look" in end(process)

    (tmp_path / "two").unlink()
    (tmp_path / "kept").rename(tmp_path / "two")
    process, bootstrap = start()
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
    end(process)


@pytest.fixture
def apart(start):
    """Fill two directories on disks of their own with the topics `a` and `b`; the coordinator is on the first disk."""
    directories = ("first/logs", "second/logs")
    process, bootstrap = start(*directories)
    with Client(bootstrap) as client:
        for topic in "ab":
            client.wait(client.admin().create_topic(topic, partitions=1, configs={"retention.ms": "-1"}))
            with client.producer() as producer:
                producer.send(topic, topic.encode(), partition=0)
                producer.flush()
    end(process)
    return directories


def test_the_coordinator_is_found_beside_any_directory(start, tmp_path, apart):
    process, bootstrap = start(*reversed(apart))
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
    assert "adopted" not in end(process)
    assert not (tmp_path / "second/coordinator").exists()


@pytest.mark.parametrize("damage", ["gone", "unusable"])
def test_no_coordinator_is_made_for_a_part_of_the_data(start, tmp_path, apart, damage):
    (tmp_path / "first").rename(tmp_path / "kept")
    (tmp_path / "first").mkdir()
    if damage == "unusable":
        (tmp_path / "first/logs").touch()
    code, told = start(*apart)
    assert code == 2 and "there is no coordinator at" in told and "first/logs holds nothing or cannot be used" in told
    shutil.rmtree(tmp_path / "first")
    (tmp_path / "kept").rename(tmp_path / "first")
    process, bootstrap = start(*apart)
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
    assert "adopted" not in end(process)


def test_a_cluster_is_not_brought_to_another_coordinator_by_a_part_of_its_data(start, program, tmp_path, apart):
    elsewhere = program("coordinator", "--port", 0, "--data", tmp_path / "elsewhere")
    address = elsewhere.stdout.readline().decode().split()[1].removeprefix("coordinator=")
    (tmp_path / "second").rename(tmp_path / "kept")
    for _ in range(2):
        code, told = start(*apart, zookeeper_connect=address)
        assert code == 2 and f"the coordinator at {address} knows no cluster" in told
    shutil.rmtree(tmp_path / "second")
    (tmp_path / "kept").rename(tmp_path / "second")
    process, bootstrap = start(*apart, zookeeper_connect=address)
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
    end(process)


def test_a_cluster_comes_to_another_coordinator_when_all_can_be_read(start, program, tmp_path, apart):
    elsewhere = program("coordinator", "--port", 0, "--data", tmp_path / "elsewhere")
    address = elsewhere.stdout.readline().decode().split()[1].removeprefix("coordinator=")
    segment = tmp_path / "second/logs/b-0" / FIRST_SEGMENT
    segment.rename(tmp_path / "kept")
    segment.mkdir()
    for _ in range(2):
        code, told = start(*apart, zookeeper_connect=address)
        assert code == 2 and "topic a is not known to the coordinator" in told
    segment.rmdir()
    (tmp_path / "kept").rename(segment)
    process, bootstrap = start(*apart, zookeeper_connect=address)
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
        delete(client, "a")
        delete(client, "b")
    end(process)
    (tmp_path / "first/logs/c-0").mkdir()
    process, bootstrap = start(*apart, zookeeper_connect=address)
    with Client(bootstrap) as client:
        assert client.wait(client.admin().topics()) == []
    assert "c-0 belongs to no topic of this cluster" in end(process)


def test_no_topic_is_made_of_a_part_by_a_coordinator_that_is_there_and_knows_nothing(start, tmp_path, apart):
    for path in (tmp_path / "first/coordinator").iterdir():
        path.unlink()
    (tmp_path / "second").rename(tmp_path / "kept")
    for _ in range(2):
        code, told = start(*apart)
        assert code == 2 and "topic a is not known to the coordinator" in told and "Traceback" not in told
    shutil.rmtree(tmp_path / "second")
    (tmp_path / "kept").rename(tmp_path / "second")
    process, bootstrap = start(*apart)
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
    end(process)


def test_no_topic_is_made_of_a_part_of_its_partitions(start, tmp_path, apart):
    shutil.rmtree(tmp_path / "first/coordinator")
    segment = tmp_path / "second/logs/b-0" / FIRST_SEGMENT
    segment.rename(tmp_path / "kept")
    segment.mkdir()
    for _ in range(2):
        code, told = start(*apart)
        assert code == 2 and "topic a is not known to the coordinator" in told and "Traceback" not in told
    segment.rmdir()
    (tmp_path / "kept").rename(segment)
    process, bootstrap = start(*apart)
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
    assert "adopted topic b" in end(process)


def test_the_partitions_of_a_disk_that_is_not_mounted_are_not_begun_anew(start, tmp_path, apart):
    (tmp_path / "second").rename(tmp_path / "kept")
    for _ in range(2):
        process, bootstrap = start(*apart)
        with Client(bootstrap) as client:
            assert values(client, "a") == [b"a"]
        assert "second/logs is fenced: it holds nothing, and b-0 is nowhere" in end(process)
    shutil.rmtree(tmp_path / "second")
    (tmp_path / "kept").rename(tmp_path / "second")
    process, bootstrap = start(*apart)
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
    assert "fenced" not in end(process)


def make_again(start, apart):
    """Delete topic `b` and make it again while its directory is away; return what the broker logged."""
    process, bootstrap = start(apart[0])
    with Client(bootstrap) as client:
        delete(client, "b")
        client.wait(client.admin().create_topic("b", partitions=1))
        with client.producer() as producer:
            producer.send("b", b"new", partition=0)
            producer.flush()
    return end(process)


def test_a_topic_made_again_while_its_directory_was_not_there_is_found_beside_the_old_one(start, tmp_path, apart):
    told = make_again(start, apart)
    assert told.count("it begins anew") == 1 and "first/logs/b-0 was this broker's before" in told, told

    for _ in range(2):
        process, bootstrap = start(*apart)
        with Client(bootstrap) as client:
            assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"new"]]
        end(process)
    process, bootstrap = start(*apart)
    with Client(bootstrap) as client:
        delete(client, "b")
    assert "adopted" not in end(process)
    process, bootstrap = start(*apart)
    with Client(bootstrap) as client:
        assert [topic.name for topic in client.wait(client.admin().topics())] == ["a"]
    end(process)


def test_of_two_topics_of_one_name_none_is_adopted(start, tmp_path, apart):
    make_again(start, apart)
    shutil.rmtree(tmp_path / "first/coordinator")
    for _ in range(2):
        code, told = start(*apart)
        assert code == 2 and "two log directories hold b-0, of different topics" in told
    (tmp_path / "first/logs/b-0").rename(tmp_path / "kept")
    process, bootstrap = start(*apart)
    with Client(bootstrap) as client:
        assert [values(client, topic) for topic in "ab"] == [[b"a"], [b"b"]]
    end(process)
