"""The core's sources, one noun a file; `_core.pyx` includes them in reading order."""
