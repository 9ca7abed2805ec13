"""The command line: one module a command, each imported when it is called.

`fastlog up` has a fraction of a second to be ready, so nothing heavy is imported before it is needed: a broker loads no client, a
client no broker, and neither numpy nor cramjam unless the data asks for it; a command that is called plainly (`plain`) not even
click.

Exit codes: 0 done, 1 it failed, 2 it was called wrongly (an unknown option, a value that cannot be read, a port in use, a
directory that another process holds). Either way one line on stderr says what and what to do about it. 130: interrupted.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

EXIT_INTERRUPTED: Final = 130
"""What a shell reports of a program that SIGINT ended."""
