"""What the coordinator refuses, under ZooKeeper's names and codes (ZooKeeper programmer's guide, "ZooKeeper error codes")."""

from __future__ import annotations

from collections.abc import Sequence

from fastlog.base_errors import FastlogError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Final


class CoordinatorError(FastlogError):
    """Base of the coordinator's errors; `code` is what ZooKeeper's protocol sends for it, `path` the znode it is about."""

    code: ClassVar[int] = -1

    def __init__(self, path: str = "", detail: str = "") -> None:
        name = type(self).__name__
        super().__init__(": ".join(part for part in (f"{name} {path}" if path else name, detail) if part))
        self.path = path


class BadArguments(CoordinatorError):
    """A path that is not one, or a request that is too large."""

    code = -8


class MarshallingError(CoordinatorError):
    """The body of a request is not what its type says."""

    code = -5


class Unimplemented(CoordinatorError):
    """The request's type is not known."""

    code = -6


class NoNode(CoordinatorError):
    """The znode, or the parent of the one to be created, is not there."""

    code = -101


class NoAuth(CoordinatorError):
    """The znode's access control list does not permit this."""

    code = -102


class BadVersion(CoordinatorError):
    """The znode's version is not the expected one: somebody else wrote it."""

    code = -103


class NoChildrenForEphemerals(CoordinatorError):
    """An ephemeral znode cannot have children."""

    code = -108


class NodeExists(CoordinatorError):
    """The znode to be created is there already."""

    code = -110


class NotEmpty(CoordinatorError):
    """The znode to be deleted has children."""

    code = -111


class SessionExpired(CoordinatorError):
    """The session is over, and its ephemeral znodes are gone."""

    code = -112


class InvalidACL(CoordinatorError):
    """An access control list is empty, or an entry names nobody."""

    code = -114


class AuthFailed(CoordinatorError):
    """The credentials are not accepted; the connection is closed after this."""

    code = -115


class NoWatcher(CoordinatorError):
    """There is no such watch to be removed."""

    code = -121


class ReconfigDisabled(CoordinatorError):
    """One server is the whole service: there is no ensemble whose members could be changed."""

    code = -123


class ConnectionLoss(CoordinatorError):
    """The coordinator cannot be reached or can no longer write; whether the last request was carried out is not known."""

    code = -4


class MultiFailed(CoordinatorError):
    """One operation of a multi failed, so none was carried out; `index` says which, `error` why."""

    code = -2

    def __init__(self, index: int, error: CoordinatorError) -> None:
        super().__init__(error.path, f"operation {index}: {error}")
        self.index = index
        self.error = error


class Refused(CoordinatorError):
    """The coordinator gave an error code that has no class of its own here."""

    def __init__(self, path: str, error_code: int) -> None:
        super().__init__(path, f"error code {error_code}")
        self.error_code = error_code


_BY_CODE: Final = {one.code: one for one in CoordinatorError.__subclasses__() if one not in (MultiFailed, Refused)}


def error_for_code(code: int, path: str) -> CoordinatorError:
    """Return the error that an answer's code stands for."""
    known = _BY_CODE.get(code)
    return Refused(path, code) if known is None else known(path)


def codes_of_failed_multi(failed: MultiFailed, operations: Sequence[object]) -> list[int]:
    """Return one code per operation as ZooKeeper answers them: 0 (rolled back) before the culprit, -2 (not tried) after it."""
    after = len(operations) - failed.index - 1
    return [0] * failed.index + [failed.error.code] + [MultiFailed.code] * after
