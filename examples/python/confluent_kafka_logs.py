"""A producer and a consumer with confluent-kafka.

    python examples/python/confluent_kafka_logs.py produce     each line: its first word is the key, what follows the value
    python examples/python/confluent_kafka_logs.py consume     prints records until Ctrl-C

It is what `examples/java` is in Java.
"""

import threading

import console
from confluent_kafka import Consumer, KafkaError, Message, Producer


class LoggingProducer:
    """Sends messages to one topic, and prints what became of each."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        # Java's way from a key to a partition, so that both put a key on the same one.
        self.producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.call_back)
        self.thread.start()

    def call_back(self) -> None:
        """Callbacks run in whoever polls."""
        while not self.closing.is_set():
            self.producer.poll(1)

    def send_message(self, key: str, value: str) -> None:
        """Send a message without waiting for it."""
        self.producer.produce(self.topic, value, key, on_delivery=self.answered)

    def answered(self, error: KafkaError | None, message: Message) -> None:
        """The broker has taken a message, or it could not be delivered."""
        if error is not None:
            print(f"not sent: {error}", flush=True)
        else:
            print(f"sent: partition={message.partition()} offset={message.offset()}", flush=True)

    def close(self) -> None:
        """Wait until all that was sent has been answered."""
        self.closing.set()
        self.thread.join()
        self.producer.flush()


class LoggingConsumer:
    """Prints every record of one topic that falls to it as a member of the group my-group."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "my-group", "auto.offset.reset": "earliest"})
        self.consumer.subscribe([topic])
        self.stopped = threading.Event()

    def run(self) -> None:
        """Print records until `stop`, then commit what was printed and leave the group."""
        while not self.stopped.is_set():
            record = self.consumer.poll(1)
            if record is None:
                continue
            if record.error():
                print(f"not read: {record.error()}", flush=True)
                continue
            key, value = (record.key() or b"").decode(), (record.value() or b"").decode()
            print(f"received: partition={record.partition()} offset={record.offset()} key={key} value={value}", flush=True)
        self.consumer.close()

    def stop(self) -> None:
        """Have `run` return."""
        self.stopped.set()


if __name__ == "__main__":
    console.run(__doc__, LoggingProducer, LoggingConsumer)
