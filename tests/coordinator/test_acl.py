import pytest

from fastlog.coordinator.acl import (
    OPEN_ACL,
    Entry,
    Identity,
    Permission,
    allows,
    digest_identity,
    resolve,
    shared,
    user_name,
    without_digests,
)

ANN = digest_identity(b"ann:secret")
HOST = Identity("ip", "10.1.2.3")


def test_a_digest_is_zookeepers():
    # What org.apache.zookeeper.server.auth.DigestAuthenticationProvider prints for super:test.
    assert digest_identity(b"super:test") == Identity("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
    assert user_name(digest_identity(b"ann:x:y")) == "ann"
    assert user_name(HOST) == "10.1.2.3"


def test_auth_stands_for_those_who_gave_a_password():
    bob = digest_identity(b"bob:1")
    assert resolve([Entry(3, "auth", "")], [HOST, ANN, bob]) == (Entry(3, *ANN), Entry(3, *bob))
    assert resolve([Entry(3, "auth", ""), Entry(3, *ANN)], [ANN]) == (Entry(3, *ANN),)
    assert resolve([Entry(3, "auth", "")], [HOST]) == ()


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("world", "someone"),
        ("digest", "ann"),
        ("digest", "a:b:c"),
        ("digest", "a:"),
        ("digest", ":"),
        ("ip", "10.1.2.3/ 8"),
        ("ip", "10.1.2.3/1_0"),
        ("ip", "10..2.3"),
        ("ip", "10.1.2"),
        ("ip", "10.1.2.3/33"),
        ("ip", "10.1.2.3/x"),
        ("ip", ""),
        ("sasl", "ann"),
        ("", ""),
    ],
)
def test_entries_that_name_nobody_make_the_list_invalid(scheme, name):
    assert resolve([*OPEN_ACL, Entry(1, scheme, name)], [ANN, HOST]) == ()


def test_a_colon_at_the_end_is_not_looked_at():
    assert resolve([Entry(1, "digest", "a:b:")], []) == (Entry(1, "digest", "a:b:"),)


def test_no_entries_are_no_list():
    assert resolve([], [ANN]) == ()


def test_the_open_list_is_one_object():
    assert resolve([Entry(31, "world", "anyone"), Entry(31, "world", "anyone")], []) is OPEN_ACL
    assert shared(list(OPEN_ACL)) is OPEN_ACL


def test_who_is_allowed_what():
    acl = (Entry(int(Permission.READ), "world", "anyone"), Entry(int(Permission.WRITE | Permission.ADMIN), *ANN))
    assert allows(acl, Permission.READ, [])
    assert not allows(acl, Permission.WRITE, [HOST])
    assert allows(acl, Permission.WRITE, [HOST, ANN])
    assert allows(acl, Permission.CREATE | Permission.ADMIN, [ANN])
    assert not allows(acl, Permission.WRITE, [digest_identity(b"ann:guess")])


@pytest.mark.parametrize(
    ("network", "address", "within"),
    [
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("10.1.0.0/16", "10.1.200.1", True),
        ("10.1.0.0/16", "10.2.0.1", False),
        ("0.0.0.0/0", "10.2.0.1", True),
        ("10.001.2.03/+24", "10.1.2.9", True),
        ("0.0.0.0/0", "::1", False),
        ("fd00::/8", "fd12::1", True),
    ],
)
def test_addresses_and_networks(network, address, within):
    assert allows((Entry(1, "ip", network),), 1, [Identity("ip", address)]) is within


def test_what_follows_from_a_password_is_not_shown():
    assert without_digests((Entry(1, *ANN), *OPEN_ACL)) == (Entry(1, "digest", "ann:x"), *OPEN_ACL)
