"""A client that behaves: it produces one record at a time and measures how long each takes."""

from __future__ import annotations

import socket
import struct
import time

from fastlog._core import BatchBuilder
from fastlog.wire.frames import decode_response, encode_request
from fastlog.wire.messages.produce import ProduceRequest, ProduceResponse

VERSION = 9
TIMEOUT_S = 30.0


class HealthyClient:
    """One connection, requests one after another."""

    def __init__(self, port: int, topic: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        builder = BatchBuilder()
        builder.append(1, b"key", bytes(100))
        request = ProduceRequest(acks=1, timeout_ms=10_000)
        request.topic_data = [
            ProduceRequest.TopicProduceData(
                name=topic, partition_data=[ProduceRequest.PartitionProduceData(index=0, records=builder.build())]
            )
        ]
        self._frame = encode_request(request, VERSION, 1, "healthy")

    def produce(self) -> float:
        """Produce a record; return how many seconds it took."""
        began = time.perf_counter()
        self._socket.sendall(self._frame)
        (size,) = struct.unpack(">i", self._socket.recv(4, socket.MSG_WAITALL))
        answer = self._socket.recv(size, socket.MSG_WAITALL)
        took = time.perf_counter() - began
        _, response = decode_response(ProduceResponse, answer, VERSION)
        assert response.responses[0].partition_responses[0].error_code == 0
        return took

    def latencies(self, seconds: float, pause_s: float) -> list[float]:
        """Produce for a while with pauses; return the seconds that each took."""
        found = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found.append(self.produce())
            time.sleep(pause_s)
        return found

    def close(self) -> None:
        self._socket.close()
