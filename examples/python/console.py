"""What the programs beside this file share: their command line, and lines that become messages."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Protocol


class Producer(Protocol):
    """Sends messages to one topic, and prints what became of each."""

    def send_message(self, key: str, value: str) -> None:
        """Send a message without waiting for it."""

    def close(self) -> None:
        """Wait until all that was sent has been answered."""


class Consumer(Protocol):
    """Prints every record of one topic that falls to it as a member of the group my-group."""

    def run(self) -> None:
        """Print records until `stop`, then commit what was printed and leave the group."""

    def stop(self) -> None:
        """Have `run` return."""


def arguments(description: str) -> argparse.Namespace:
    """Return `what` is to be done, `bootstrap` and `topic`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["produce", "consume"])
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", metavar="HOST:PORT")
    parser.add_argument("--topic", default="my-topic")
    return parser.parse_args()


def messages() -> Iterator[tuple[str, str]]:
    """Yield a key and a value for each line of standard input: its first word, and what follows."""
    for line in sys.stdin:
        key, _, value = line.rstrip("\n").partition(" ")
        yield key, value


def run(description: str, new_producer: Callable[[str, str], Producer], new_consumer: Callable[[str, str], Consumer]) -> None:
    """Produce until the input ends, or consume until SIGINT (Ctrl-C) or SIGTERM."""
    given = arguments(description)
    if given.what == "produce":
        producer = new_producer(given.bootstrap, given.topic)
        for key, value in messages():
            producer.send_message(key, value)
        producer.close()
        return
    consumer = new_consumer(given.bootstrap, given.topic)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: consumer.stop())
    consumer.run()
