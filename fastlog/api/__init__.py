"""What clients speak to: connections, the registry of APIs, parked requests, and one handler module per API.

May import `replication` and what is below it, and `wire`. `connection` knows order, limits and bytes; `registry` knows keys,
versions and errors; handlers know one API each, and none of them knows sockets.
"""
