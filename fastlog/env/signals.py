"""The signals that ask a process to stop: the first asks politely, the second ends it at once."""

from __future__ import annotations

import os
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType
    from typing import Final
else:
    import _signal as signal  # `signal` itself only puts enumerations upon it


STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
EXIT_CODE_OF_A_SIGNAL: Final = 128


def on_stop_request(call: Callable[[Callable[[], object]], object], stop: Callable[[], object]) -> None:
    """Have `stop` called by `call` (a reactor's `call_from_thread`) at the first SIGTERM or SIGINT; end the process without more
    ado at the next.
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(EXIT_CODE_OF_A_SIGNAL + number)
        asked = True
        call(stop)

    for number in STOP_SIGNALS:
        signal.signal(number, handle)
