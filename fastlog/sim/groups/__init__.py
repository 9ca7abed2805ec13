"""Worlds of consumer groups: a broker on a simulated machine, the product's own members in others, and what must hold.

One noun a file: `observed` (the client's way to the groups, with the checker looking on), `worker` (a process with one member
after another), `checker` (what must hold), `world` (one run).
"""
