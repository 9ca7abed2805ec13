"""A broker as the script sees it: requests by message or by bytes, and what became of them. Plain blocking sockets."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

from fastlog.wire.api import APIS, api
from fastlog.wire.frames import decode_response, encode_request
from fastlog.wire.messages.create_topics import CreateTopicsResponse
from fastlog.wire.messages.list_offsets import ListOffsetsRequest
from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse

ANSWER_WITHIN_S = 60
SILENT_AFTER_S = 3
"""How long is waited for an answer of a broker that is known to give none."""
SETTLED_WITHIN_S = 120
CLIENT_ID = "truth"
LATEST = -1
CLOSED = "closed"
"""What stands for the answer of a request whose connection was closed in place of an answer."""


class Peer:
    """One broker. `ids` are the topic ids that its answers told, by name."""

    def __init__(self, bootstrap: str) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._address = (host, int(port))
        self._connection: socket.socket | None = None
        self._correlation_id = 0
        self.ids: dict[str, bytes] = {}
        self.remembered: dict[str, Any] = {}
        """What an answer gave and later requests repeat, such as a fetch session's."""
        self._beside: list[Peer] = []

    def beside(self) -> Peer:
        """Return the same broker over another connection, for what is answered late; `end` closes it."""
        self._beside.append(Peer(":".join(map(str, self._address))))
        return self._beside[-1]

    def close(self) -> None:
        """Close the connection; what comes next has another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def end(self) -> None:
        """Close everything."""
        for other in self._beside:
            other.close()
        self.close()

    def ask(self, request: Any, version: int, *, answers: bool = True, may_be_silent: bool = False) -> Any:
        """Send a message; return the answer's message, None where none is due or, with `may_be_silent`, none comes, or CLOSED."""
        self._correlation_id += 1
        try:
            data = encode_request(request, version, self._correlation_id, CLIENT_ID)
            frame = self.send(data, answers=answers, may_be_silent=may_be_silent)
        except TimeoutError:
            self.close()
            if may_be_silent:
                return None
            raise AssertionError(f"no answer within {ANSWER_WITHIN_S} s to version {version} of {request!r:.500}") from None
        if frame is None or frame == CLOSED:
            return frame
        correlation_id, message = decode_response(api(request.API_KEY).response_class, frame, version)
        assert correlation_id == self._correlation_id, "an answer to another request"
        if isinstance(message, CreateTopicsResponse):
            self.ids.update({topic.name: topic.topic_id for topic in message.topics if any(topic.topic_id)})
        return message

    def send(self, data: bytes, *, answers: bool = True, may_be_silent: bool = False) -> Any:
        """Send bytes; return the answer's frame without its size, None where none is due, or CLOSED."""
        if self._connection is None:
            self._connection = socket.create_connection(self._address)
        self._connection.settimeout(SILENT_AFTER_S if may_be_silent else ANSWER_WITHIN_S)
        try:
            self._connection.sendall(data)
            if not answers:
                return None
            head = self._receive(4)
            return self._receive(struct.unpack(">i", head)[0])
        except (ConnectionError, EOFError):
            self.close()
            return CLOSED

    def send_alone(self, data: bytes, key: int, version: int) -> Any:
        """Send bytes on a connection of their own; return the answer, CLOSED, or None when nothing comes.

        The answer is that of the API and version, or its frame where there is no such.
        """
        self.close()
        try:
            answer = self.send(data, may_be_silent=True)
            served = APIS.get(key)
            if not isinstance(answer, bytes) or served is None or not served.min_version <= version <= served.max_version:
                return answer
            return decode_response(served.response_class, answer, version)[1]
        except TimeoutError:
            return None
        finally:
            self.close()

    def _receive(self, count: int) -> bytes:
        assert self._connection is not None
        received = b""
        while len(received) < count:
            part = self._connection.recv(count - len(received))
            if not part:
                raise EOFError
            received += part
        return received

    def topics(self) -> dict[str, MetadataResponse.MetadataResponseTopic]:
        """Return what Metadata tells of every topic, and take note of their ids."""
        answer = self.ask(MetadataRequest(topics=None), 12)
        self.ids.update({topic.name: topic.topic_id for topic in answer.topics})
        return {topic.name: topic for topic in answer.topics}

    def settle(self, expected: dict[str, int]) -> None:
        """Wait until each topic has so many partitions whose leader serves them, or is gone where 0 are expected.

        Kafka answers before all of its own threads have heard of a change, and this is not about that.
        """
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while True:
            topics = self.topics()
            found = {name: len(topics[name].partitions) if name in topics else 0 for name in expected}
            if found == expected and self._are_served(expected):
                return
            assert time.monotonic() < deadline, f"{found} where {expected} is expected"
            time.sleep(0.02)

    def _are_served(self, counts: dict[str, int]) -> bool:
        asked = [
            ListOffsetsRequest.ListOffsetsTopic(
                name=name,
                partitions=[
                    ListOffsetsRequest.ListOffsetsPartition(partition_index=index, timestamp=LATEST) for index in range(count)
                ],
            )
            for name, count in counts.items()
            if count
        ]
        answer = self.ask(ListOffsetsRequest(replica_id=-1, topics=asked), 5)
        return all(one.error_code == 0 for topic in answer.topics for one in topic.partitions)
