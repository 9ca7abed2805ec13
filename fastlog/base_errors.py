"""The base of fastlog's errors, and what a person did wrong. Kafka's errors are in `errors`, which loads a hundred classes.

This module imports nothing of fastlog.
"""

from __future__ import annotations

import errno


class FastlogError(Exception):
    """Base of every error that fastlog raises on purpose."""


class UsageError(FastlogError):
    """Something a person gave is wrong: one line that says what, where, and what to do. Exit code 2."""


def cannot_listen(who: str, host: str, port: int, error: OSError) -> UsageError:
    """Say of an address that could not be bound which it is, why, and what to do; `who` is what was to listen there."""
    advice = "choose an address of this machine"
    if error.errno == errno.EADDRINUSE:
        advice = "stop what uses that port, or choose another one"
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = "choose a port that anybody may use"
    return UsageError(f"{who} cannot listen on {host or '*'}:{port} ({error.strerror or error}): {advice}")


def cannot_use(directory: str, error: OSError) -> UsageError:
    """Say of a directory that a start cannot read or write which it is, why, and what to do."""
    advice = "choose another"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "make room, or choose another"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "make it writable, or choose another"
    return UsageError(f"{directory} cannot be used ({error.strerror or error}): {advice}")
