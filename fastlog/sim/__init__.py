"""A deterministic simulator: brokers, clients, disks and wires in one process, everything decided by one seed.

The code under test is the product's own: the real `Reactor`, `Node`, storage and compiled core run over the simulated versions
of the seam (`fastlog.env`). What the world does to them -- latency, lost connections, failing disks, killed processes, lost
machines -- is drawn from `entropy.Entropy`, never from the real one, so a seed replays exactly, on any machine and Python.

One noun a file: `entropy` (the draw), `trace` (what happened, and its hash), `scheduler` (one virtual time for all), `process`
(what a kill ends), `clock`, `disk`, `network`, `flusher` (the seam's simulated versions), `fault` (which misfortunes, when),
`peer`, `producer`, `consumer` (the workload on the real wire protocol), `checker` (what must hold), `world` (puts one
run together), `run` (many seeds). No sets are iterated here, no real clock is read, no thread is started.
"""
