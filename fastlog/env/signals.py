"""The signals that ask a process to stop: the first asks politely, the second ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
EXIT_CODE_OF_A_SIGNAL: Final = 128


def on_stop_request(call_from_thread: Callable[..., object], stop: Callable[[], object]) -> None:
    """Call `stop()` on the reactor's next turn at the first SIGTERM or SIGINT; end the process without more ado at the next."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(EXIT_CODE_OF_A_SIGNAL + number)
        asked = True
        call_from_thread(stop)

    for number in STOP_SIGNALS:
        signal.signal(number, handle)


def stop_on_termination() -> None:
    """Have SIGTERM raise KeyboardInterrupt as SIGINT does, so that a command ends in good order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
