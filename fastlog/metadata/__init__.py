"""What the cluster is: its immutable image, how it lies in the coordinator, and the controller that changes it.

`image` is the state, `layout` its paths and JSON (Kafka's), `placement` and `controller` are pure decisions, `driver` carries
them out through a `CoordinatorClient`, `registration` and `producer_ids` are a broker's own dealings with the coordinator.
"""
