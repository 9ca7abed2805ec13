"""The image that a broker has now. The only mutable thing in this room that others read."""

from __future__ import annotations

from collections.abc import Callable

from fastlog.metadata.image import Image


class ClusterView:
    """Holds the newest image and tells who wants to know of each new one, in the order of asking."""

    def __init__(self, image: Image) -> None:
        self.image = image
        self._listeners: list[Callable[[Image, Image], object]] = []

    def on_change(self, listener: Callable[[Image, Image], object]) -> None:
        """Call `listener(before, now)` after every change."""
        self._listeners.append(listener)

    def publish(self, image: Image) -> None:
        """Make `image` the newest one."""
        before, self.image = self.image, image
        for listener in self._listeners:
            listener(before, image)
