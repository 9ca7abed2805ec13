"""A producer and a consumer with kafka-python.

    python examples/python/kafka_python_logs.py produce     each line: its first word is the key, what follows the value
    python examples/python/kafka_python_logs.py consume     prints records until Ctrl-C

It is what `examples/java` is in Java.
"""

import threading
import traceback
from typing import Any

import console
from kafka import KafkaConsumer, KafkaProducer


class LoggingProducer:
    """Sends messages to one topic, and prints what became of each."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, key_serializer=str.encode, value_serializer=str.encode)

    def send_message(self, key: str, value: str) -> None:
        """Send a message without waiting for it; the callbacks run in the producer's own thread."""
        self.producer.send(self.topic, value, key).add_callback(self.sent).add_errback(self.failed)

    def sent(self, metadata: Any) -> None:
        """The broker has taken a message."""
        print(f"sent: partition={metadata.partition} offset={metadata.offset}", flush=True)

    def failed(self, error: BaseException) -> None:
        """A message could not be delivered."""
        traceback.print_exception(error)

    def close(self) -> None:
        """Wait until all that was sent has been answered."""
        self.producer.close()


class LoggingConsumer:
    """Prints every record of one topic that falls to it as a member of the group my-group."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id="my-group", auto_offset_reset="earliest")
        self.stopped = threading.Event()

    def run(self) -> None:
        """Print records until `stop`, then commit what was printed and leave the group."""
        while not self.stopped.is_set():
            for records in self.consumer.poll(timeout_ms=1000).values():
                for one in records:
                    key, value = (one.key or b"").decode(), (one.value or b"").decode()
                    print(f"received: partition={one.partition} offset={one.offset} key={key} value={value}", flush=True)
        self.consumer.close()

    def stop(self) -> None:
        """Have `run` return."""
        self.stopped.set()


if __name__ == "__main__":
    console.run(__doc__, LoggingProducer, LoggingConsumer)
