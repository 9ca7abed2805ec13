import pytest

from fastlog.metadata.image import Broker, Endpoint, Image, Partition, Topic, colliding_name, why_illegal_name

A = Topic("a", b"A" * 16, (Partition((1,)),))
B = Topic("b", b"B" * 16, (Partition((1,)), Partition((1,))))


def test_changes_make_new_images():
    empty = Image()
    one = empty.with_topics([A, B])
    assert (empty.topics, empty.generation) == ({}, 0)
    assert one.topic_by_id(b"B" * 16) is B
    assert one.topic_by_id(b"C" * 16) is None
    again = Topic("a", b"C" * 16, A.partitions)
    two = one.with_topics([again])
    assert (two.topic_by_id(b"A" * 16), two.topic_by_id(b"C" * 16)) == (None, again)
    three = two.without_topics(["a", "nowhere"])
    assert (list(three.topics), list(three.topic_names)) == (["b"], [b"B" * 16])
    assert [image.generation for image in (one, two, three)] == [1, 2, 3]
    assert one.topic_by_id(b"A" * 16) is A


def test_partitions_are_numbered_from_0():
    image = Image().with_topics([B])
    assert image.partition("b", 1) is B.partitions[1]
    assert [image.partition(*key) for key in (("b", 2), ("b", -1), ("c", 0))] == [None, None, None]


def test_brokers_are_in_order_and_have_endpoints_by_listener():
    inside, outside = Endpoint("IN", "h", 1), Endpoint("OUT", "h", 2)
    image = Image().with_brokers([Broker(2, 5, (inside,)), Broker(1, 4, (inside, outside))])
    assert list(image.brokers) == [1, 2]
    assert image.brokers[1].endpoint("OUT") is outside
    assert image.brokers[2].endpoint("OUT") is None


@pytest.mark.parametrize("name", ["a", "A-b_c.d", "...", "x" * 249, "__consumer_offsets"])
def test_legal_names(name):
    assert why_illegal_name(name) is None


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 250, "a b", "a/b", "ä", "a\n", "a\0"])
def test_illegal_names(name):
    assert why_illegal_name(name)


def test_names_collide_where_their_metrics_would():
    existing = ["a.b", "c_d", "e"]
    assert colliding_name("a_b", existing) == "a.b"
    assert colliding_name("c.d", existing) == "c_d"
    assert colliding_name("a.b", existing) is None
    assert colliding_name("e", existing) is None
