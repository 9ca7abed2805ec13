"""A producer and a consumer with aiokafka.

    python examples/python/aiokafka_logs.py produce     each line: its first word is the key, what follows the value
    python examples/python/aiokafka_logs.py consume     prints records until Ctrl-C

It is what `examples/java` is in Java.
"""

import asyncio
import signal
import traceback

import console
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError


class LoggingProducer:
    """Sends messages to one topic, and prints what became of each."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.topic = topic
        self.producer = AIOKafkaProducer(bootstrap_servers=bootstrap, key_serializer=str.encode, value_serializer=str.encode)

    async def send_message(self, key: str, value: str) -> None:
        """Send a message; other tasks run while the broker has not answered."""
        try:
            metadata = await self.producer.send_and_wait(self.topic, value, key)
        except KafkaError:
            traceback.print_exc()
        else:
            print(f"sent: partition={metadata.partition} offset={metadata.offset}", flush=True)


class LoggingConsumer:
    """Prints every record of one topic that falls to it as a member of the group my-group."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id="my-group",
            auto_offset_reset="earliest",
            key_deserializer=bytes.decode,
            value_deserializer=bytes.decode,
        )
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        """Print records until `stop`, then commit what was printed and leave the group."""
        async with self.consumer:
            while not self.stopped.is_set():
                polled = await self.consumer.getmany(timeout_ms=1000)
                for records in polled.values():
                    for one in records:
                        place = f"partition={one.partition} offset={one.offset}"
                        print(f"received: {place} key={one.key} value={one.value}", flush=True)

    def stop(self) -> None:
        """Have `run` return."""
        self.stopped.set()


async def main() -> None:
    """Produce until the input ends, or consume until SIGINT (Ctrl-C) or SIGTERM."""
    given = console.arguments(__doc__)
    if given.what == "produce":
        producer = LoggingProducer(given.bootstrap, given.topic)
        async with producer.producer:
            for key, value in console.messages():
                await producer.send_message(key, value)
        return
    consumer = LoggingConsumer(given.bootstrap, given.topic)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, consumer.stop)
    await consumer.run()


if __name__ == "__main__":
    asyncio.run(main())
