"""Directories that are there to stay, over any `Disk`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastlog.env import Disk


def make_directories_durably(disk: Disk, path: str) -> None:
    """Make a directory and its missing parents, and see to it that a lost machine keeps their names.

    All names on the way are synced, also those that were there: who made them may have died before. A parent that this process
    may not open was made by somebody else. OSError as the disk reports it.
    """
    disk.make_directories(path)
    parent = path.rstrip("/")
    while parent:
        head, separator, _ = parent.rpartition("/")
        try:  # noqa: SIM105 - a start has no other use for contextlib
            disk.sync_directory(head or (separator or "."))
        except PermissionError:
            pass
        parent = head
