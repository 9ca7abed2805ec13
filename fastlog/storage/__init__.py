"""Logs on disk: segments, recovery, producer state, leader epochs, checkpoints, retention.

Knows offsets, files and time, never requests: nothing here imports `wire`. All I/O goes through `env.Disk` and `_core.File`.
"""
