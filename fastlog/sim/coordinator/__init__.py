"""Worlds of coordinators: the product's own coordinator on a simulated machine, its own client in others, and what must hold.

One noun a file: `program` (the server as a process), `journal_reader` (what it has written, read from the drive), `znodes` (what
its transactions must have made of the tree, computed apart), `watch` (one watch and what it was told), `worker` (a client and its
workload), `checker` (what must hold), `world` (one run).
"""
