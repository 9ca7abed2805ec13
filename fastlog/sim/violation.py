"""What a run ends with when something happened that may never happen, and where it is kept until the run notices."""

from __future__ import annotations

from typing import NoReturn


class Violation(Exception):
    """Something that may never happen has happened: `kind` is the anomaly's name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Verdict:
    """The first violation of a run. What checks a run's events is a subclass."""

    def __init__(self) -> None:
        self.violation: Violation | None = None

    def fail(self, kind: str, message: str) -> NoReturn:
        """Keep and raise a violation: some code between here and the run may swallow exceptions."""
        self.violation = self.violation or Violation(kind, message)
        raise self.violation

    def mistake(self, error: BaseException) -> None:
        """Note an exception that a program let escape: a mistake, whatever it did to its files and connections."""
        self.violation = self.violation or Violation("mistake", f"{type(error).__name__}: {error}")
        if self.violation is not error:
            self.violation.__cause__ = error
