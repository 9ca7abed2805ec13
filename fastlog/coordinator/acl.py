"""Who may do what with a znode: access control lists and the identities that a connection has. Pure.

Schemes are ZooKeeper's (programmer's guide, "ZooKeeper access control using ACLs"): `world` is everybody, `digest` a user with a
password, `ip` an address or a network; `auth` in a request stands for whoever the connection has authenticated itself as.
An empty tuple is no list: it is what an invalid one becomes, and the tree refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastlog.coordinator.jute import Reader, Writer
from fastlog.light import IntEnum, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


class Permission(IntEnum):
    """What an entry permits; the numbers are the protocol's."""

    READ = 1
    WRITE = 2
    CREATE = 4
    DELETE = 8
    ADMIN = 16


class Identity(NamedTuple):
    """Who a connection is, by one scheme."""

    scheme: str
    id: str


class Entry(NamedTuple):
    """What one identity may do."""

    permissions: int
    scheme: str
    id: str


Acl = tuple[Entry, ...]
Identities = Sequence[Identity]

ALL_PERMISSIONS: Final = 31
OPEN_ACL: Final[Acl] = (Entry(ALL_PERMISSIONS, "world", "anyone"),)
"""Everybody may do everything; one object, however many znodes have it."""
READ_ONLY_ACL: Final[Acl] = (Entry(int(Permission.READ), "world", "anyone"),)


_LEAST_ENTRY_BYTES: Final = 12
_ENTRY_OVERHEAD_BYTES: Final = 24
_BITS: Final = r"\+?[0-9]{1,9}"
_LEADING_ZEROS: Final = r"(?<![0-9])0+(?=[0-9])"


def write_acl(out: Writer, acl: Acl) -> None:
    """Append a list as jute has it."""
    out.integer(len(acl))
    for permissions, scheme, name in acl:
        out.integer(permissions)
        out.string(scheme)
        out.string(name)


def _read_entry(fields: Reader) -> Entry:
    return Entry(fields.integer(), fields.string(), fields.string(or_none=True))


def read_acl(fields: Reader) -> Acl:
    """Read a list; an absent one is an empty one."""
    return tuple(fields.vector(_read_entry, _LEAST_ENTRY_BYTES, or_none=True))


def shared(entries: Iterable[Entry]) -> Acl:
    """Return a list as a tuple; the open one is always the same object."""
    acl = tuple(entries)
    return OPEN_ACL if acl == OPEN_ACL else acl


def resolve(entries: Sequence[Entry], identities: Identities) -> Acl:
    """Return the list that a request's entries stand for, `auth` replaced and duplicates left out; empty when it is invalid."""
    found: dict[Entry, None] = {}
    for entry in entries:
        if entry.scheme == "auth":
            own = [Entry(entry.permissions, *one) for one in identities if one.scheme == "digest"]
            if not own:
                return ()
            found.update(dict.fromkeys(own))
        elif _is_valid(entry):
            found[entry] = None
        else:
            return ()
    return shared(found)


def bytes_of_auth(entries: Iterable[Entry], identities: Identities) -> int:
    """Return about how many bytes `resolve` puts in the place of `auth`, never less."""
    count = sum(entry.scheme == "auth" for entry in entries)
    return count * sum(_ENTRY_OVERHEAD_BYTES + len(one.id.encode()) for one in identities) if count else 0


def _is_valid(entry: Entry) -> bool:
    if entry.scheme == "world":
        return entry.id == "anyone"
    if entry.scheme == "digest":
        _, _, digest = entry.id.rstrip(":").partition(":")  # as Java splits
        return digest != "" and ":" not in digest
    return entry.scheme == "ip" and _network(entry.id) is not None


def allows(acl: Acl, permission: int, identities: Identities) -> bool:
    """Tell whether one of the identities, or everybody, has the permission (one of several, when several bits are set)."""
    for permissions, scheme, name in acl:
        if permissions & permission:
            if scheme == "world":
                return True
            for identity in identities:
                if identity.scheme == scheme and (identity.id == name or (scheme == "ip" and _is_within(identity.id, name))):
                    return True
    return False


def without_digests(acl: Acl) -> Acl:
    """Return the list as it is shown to those who may not change it: users, but not what follows from their passwords."""
    return tuple(entry._replace(id=entry.id.partition(":")[0] + ":x") if entry.scheme == "digest" else entry for entry in acl)


def digest_identity(credentials: bytes) -> Identity:
    """Return who somebody with the credentials `user:password` is."""
    import base64  # noqa: PLC0415
    import hashlib  # noqa: PLC0415 - with it comes OpenSSL, which most brokers never need

    user = credentials.partition(b":")[0].decode(errors="replace")
    digest = base64.b64encode(hashlib.sha1(credentials, usedforsecurity=False).digest()).decode()
    return Identity("digest", f"{user}:{digest}")


def user_name(identity: Identity) -> str:
    """Return the name by which an identity is shown."""
    return identity.id.partition(":")[0] if identity.scheme == "digest" else identity.id


def _network(text: str) -> tuple[int, int, int] | None:
    """Return (version, first address, bits that count) of an address or a network; None when it is neither."""
    import ipaddress  # noqa: PLC0415 - few trees have such lists, and these imports are a third of a start
    import re  # noqa: PLC0415

    address, separator, bits = text.partition("/")
    if separator and not re.fullmatch(_BITS, bits):
        return None
    try:
        parsed = ipaddress.ip_address(re.sub(_LEADING_ZEROS, "", address) if "." in address else address)
        prefix = int(bits) if separator else parsed.max_prefixlen
    except ValueError:
        return None
    if not 0 <= prefix <= parsed.max_prefixlen:
        return None
    return parsed.version, int(parsed) >> (parsed.max_prefixlen - prefix), parsed.max_prefixlen - prefix


def _is_within(address: str, network: str) -> bool:
    one, many = _network(address), _network(network)
    return one is not None and many is not None and one[0] == many[0] and one[1] >> many[2] == many[1]
