"""fastlog: a Kafka-compatible log broker with a compiled core.

This package module stays empty of imports on purpose: `from fastlog import _core` must cost only the compiled core,
and `fastlog up` must be ready in a fraction of a second. Import the room you need: `fastlog.client`, `fastlog.node`, ...
"""

__version__ = "0.1.0"
