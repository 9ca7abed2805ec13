"""Partitions: who leads, how far is replicated, what a reader may see."""
