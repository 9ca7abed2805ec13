"""The ZooKeeper-like service that holds the cluster's metadata: a tree of znodes, its journal, and the client's protocol.

`tree` and `watches` are pure; `journal` makes the tree's transactions durable; `client` is what brokers see; `local` joins
them in one process. Names, error codes, versions and watch rules are ZooKeeper's.
"""
