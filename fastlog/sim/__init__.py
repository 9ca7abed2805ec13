"""A deterministic simulator: brokers, clients, disks and wires in one process, everything decided by one seed.

The code under test is the product's own: the real `Reactor`, `Node`, storage and compiled core run over the simulated versions
of the seam (`fastlog.env`). What the world does to them -- latency, lost connections, failing disks, killed processes, lost
machines -- is drawn from `entropy.Entropy`, never from the real one, so a seed replays exactly, on any machine and Python.

One noun a file: `entropy` (the draw), `trace` (what happened, and its hash), `scheduler` (one virtual time for all), `process`
(what a kill ends), `clock`, `disk`, `drive`, `network`, `flusher` (the seam's simulated versions), `machine` (what outlives a
process), `fault` (which misfortunes, when), `violation` (what a run ends with), `world` (what every run has), `run` (many seeds).
A world of logs: `broker`, `peer`, `producer`, `consumer` (the workload on the real wire protocol), `ondisk`, `checker` (what must
hold), `log_world`. A world of a coordinator: `coordinator/`; of consumer groups: `groups/`. No sets are iterated here, no real
clock is read, no thread is started.
"""
