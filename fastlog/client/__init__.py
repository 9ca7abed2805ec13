"""fastlog's own client: `Producer`, `Consumer` and `Admin` on a reactor, and `blocking` for programs without one.

    from fastlog.client.blocking import Client

    with Client("127.0.0.1:9092") as client:
        with client.producer(compression="zstd") as producer:
            producer.send("greetings", b"hello", key=b"world")
        for record in client.consumer([("greetings", 0)]).records(stop_at_end=True):
            print(record.offset, bytes(record.value))

It speaks Kafka's protocol to any broker. Everything but `blocking` runs on a `Reactor` that somebody else turns, and asks the
seam (`fastlog.env`) for sockets and time, so the simulator runs it unchanged. Nothing is imported here, so that a command which
only creates a topic loads no codec.
"""
