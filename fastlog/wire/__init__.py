"""Kafka's wire protocol, sans I/O: bytes to messages and back.

    from fastlog.wire import api, frames
    from fastlog.wire.messages.metadata import MetadataRequest, MetadataResponse

    MetadataRequest(topics=None).encode(12)        # -> bytes
    MetadataResponse.decode(data, 12).brokers      # -> list of MetadataResponse.MetadataResponseBroker
    api.request_class(3)                           # -> MetadataRequest, imported when asked for

`schema` has the base classes and the rules, `compiler` makes codecs, `messages/` is generated, `api` is the table of APIs,
`frames` are headers and sizes. Imports only `fastlog.errors`; knows no socket, no topic, no policy.
"""
