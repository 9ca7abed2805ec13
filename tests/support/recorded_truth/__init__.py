"""One script of requests, put to a real Kafka and to fastlog, and their answers compared field by field."""
